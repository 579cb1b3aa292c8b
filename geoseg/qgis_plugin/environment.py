"""Python environments that have geoseg: where they may be, what is wrong with one, what its processes may inherit from QGIS.

Python 3.9, which QGIS 3.22 has on Windows, must read all files of this plugin.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "GEOSEG_PYTHON"
"""Environment variable that names the Python to use, before any setting."""
SETTING = "geoseg/python"
"""Where QGIS keeps the Python that the user chose."""
OLDEST_VERSION = "0.6.0"
"""The oldest geoseg that this plugin can drive."""
WINDOWS = "geoseg does not run on Windows itself. Use a QGIS on Linux, for example inside the Windows Subsystem for Linux (WSL)."
"""Said before gigabytes are installed that cannot work."""

_QGIS_ONLY = {
    "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "PYTHONPLATLIBDIR", "__PYVENV_LAUNCHER__",
    "PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH", "GEOTIFF_CSV", "QT_PLUGIN_PATH", "QML2_IMPORT_PATH", "QGIS_PREFIX_PATH",
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH", "DYLD_INSERT_LIBRARIES",
    "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV",
}  # fmt: skip
_QUESTION = """
import json, sys
found = {"python": sys.version.split()[0], "system": sys.platform}
try:
    import geoseg
    found["version"] = geoseg.__version__
    if sys.argv[1:] == ["device"]:
        from geoseg.model.device import count_gpus
        gpus = count_gpus()
        found["device"] = "CPU: no NVIDIA driver answers"
        if gpus:
            import torch
            if torch.cuda.is_available():
                found["device"] = "GPU: " + torch.cuda.get_device_name(0)
            else:
                built = torch.version.cuda or "no CUDA"
                found["device"] = f"CPU: there is a GPU, but torch {torch.__version__}, built with {built}, cannot use it"
except Exception as exc:
    found["problem"] = f"{type(exc).__name__}: {exc}"
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Environment:
    """A Python, and whether geoseg works in it."""

    python: str
    """Its executable."""
    version: str | None = None
    """Version of geoseg; None without one."""
    problem: str | None = None
    """Why it cannot be used and what to do, in one sentence or two; None if it can."""
    device: str | None = None
    """``GPU: its name``, or ``CPU: why``; None if nobody asked."""


def clean_variables(variables: Mapping[str, str], python: str = "") -> dict[str, str]:
    """Return the variables for a process of another Python: nothing that QGIS set for its own Python, GDAL, PROJ and Qt.

    Args:
        variables: Those of QGIS, usually ``os.environ``.
        python: The executable; its folder leads the path, as an activated environment has it.
    """
    clean = {name: value for name, value in variables.items() if name.upper() not in _QGIS_ONLY}
    # an AppImage keeps under this name what was set before it
    for name in ("LD_LIBRARY_PATH",):
        if variables.get(f"APPDIR_{name}"):
            clean[name] = variables[f"APPDIR_{name}"]
    paths = [part for part in clean.get("PATH", "").split(os.pathsep) if part and not _belongs_to_qgis(part, variables)]
    clean["PATH"] = os.pathsep.join([*_path_of(python), *paths])
    # pipes of Windows speak its code page otherwise; events come line by line; boxes and colors are for terminals
    clean.update({"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "TERM": "dumb"})
    return clean


def _belongs_to_qgis(folder: str, variables: Mapping[str, str]) -> bool:
    """Tell folders of the DLLs of QGIS on Windows, which must not meet those of another Python."""
    roots = [variables.get(name, "") for name in ("OSGEO4W_ROOT", "QGIS_PREFIX_PATH")]
    return os.name == "nt" and any(root and os.path.normcase(folder).startswith(os.path.normcase(root)) for root in roots)


def _path_of(python: str) -> list[str]:
    folder = os.path.dirname(python)
    if not folder:
        return []
    # conda keeps the libraries of its packages here
    beside = [os.path.join(folder, "Library", "bin"), os.path.join(folder, "Scripts")] if os.name == "nt" else []
    return [folder, *(path for path in beside if os.path.isdir(path))]


def check(python: str, timeout_s: float = 60.0, ask_device: bool = True) -> Environment:
    """Ask a Python which geoseg it has and what it computes on.

    Args:
        python: Its executable.
        timeout_s: How long it may take; on a cold disk a first import takes many seconds.
        ask_device: Also find out whether it can use a GPU, which may load torch.
    """
    if not os.path.isfile(python):
        return Environment(python, problem=f"There is no Python at {python}. Choose another one in the settings of geoseg, or create one.")
    try:
        command = [python, "-c", _QUESTION, *(["device"] if ask_device else [])]
        answer = subprocess.run(command, timeout=timeout_s, **quiet_process(python), capture_output=True, check=False)
        found = json.loads(answer.stdout.decode("utf-8", "replace").strip().rpartition("\n")[2])
    except subprocess.TimeoutExpired:
        return Environment(python, problem=f"{python} did not answer within {timeout_s:.0f} s. Try again, or choose another one.")
    except OSError as exc:
        return Environment(python, problem=f"{python} cannot be started: {exc}. Choose another Python.")
    except ValueError:
        said = answer.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return Environment(python, problem=f"{python} does not answer as a Python does: {said or 'it said nothing'}. Choose another one.")
    version = found.get("version")
    return Environment(python, version, _find_problem(python, found), found.get("device"))


def _find_problem(python: str, found: Mapping[str, str]) -> str | None:
    problem = found.get("problem", "")
    if found.get("system") == "win32":
        return WINDOWS
    if "No module named 'geoseg'" in problem:
        return f"{python} (Python {found.get('python')}) has no geoseg. Install it there, or choose another Python."
    if problem:
        return f"geoseg does not start in {python}: {problem}. Install it anew."
    version = found.get("version", "0")
    if _numbers(version) < _numbers(OLDEST_VERSION):
        return f"This plugin needs geoseg {OLDEST_VERSION} or newer; {python} has {version}. Update it there, or choose another Python."
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def quiet_process(python: str) -> dict[str, Any]:
    """Return how every process of an environment is started: clean variables, no console, nothing of the working directory."""
    return {
        "env": clean_variables(os.environ, python),
        "stdin": subprocess.DEVNULL,
        "cwd": os.path.dirname(python) or None,
        "creationflags": getattr(subprocess, "CREATE_NO_WINDOW", 0),
    }


def own_folder() -> Path:
    """Return the folder of the environment that the plugin makes."""
    home = Path.home()
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "geoseg" / "qgis"


def python_of(folder: Path) -> str | None:
    """Return the Python of an environment, or None if there is none: venv and conda, all systems."""
    for name in ("bin/python", "bin/python3", "Scripts/python.exe", "python.exe"):
        if (folder / name).is_file():
            return str(folder / name)
    return None


def find_environments(setting: str = "", timeout_s: float = 30.0) -> list[Environment]:
    """Find the Pythons of this machine that have geoseg, the one to use first.

    Those that the user named or the plugin made are listed even if something is wrong with them.

    Args:
        setting: The Python that the user chose in QGIS, if any.
        timeout_s: How long each may take to answer.
    """
    named = list(_named(setting))
    pythons: dict[str, str] = {}
    for python in [*named, *_guessed()]:
        # an environment calls its Python by several names
        pythons.setdefault(os.path.dirname(python), python)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda python: check(python, timeout_s, ask_device=False), pythons.values()))
    return [one for one in found if one.python in named or one.version is not None]


def pick_python(setting: str = "") -> str | None:
    """Return the Python to use: of the variable, else of the setting, else the plugin's own, else the first that has geoseg."""
    for python in _named(setting):
        return python
    return next((one.python for one in find_environments() if one.problem is None), None)


def _named(setting: str) -> Iterator[str]:
    yield from (name for name in (os.environ.get(VARIABLE, ""), setting) if name)
    own = python_of(own_folder())
    if own:
        yield own


def _guessed() -> Iterable[str]:
    """Yield Pythons of places where tools install geoseg: beside its command, pipx, uv, conda, and those of the path."""
    home = Path.home()
    command = shutil.which("geoseg")
    folders = [Path(command).resolve().parents[1]] if command else []
    folders += [Path(os.environ[name]) for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if os.environ.get(name)]
    folders += [home / ".local/share/uv/tools/geoseg", home / ".local/share/pipx/venvs/geoseg", home / ".local/pipx/venvs/geoseg"]
    folders += [home / "AppData/Roaming/uv/tools/geoseg", home / "pipx/venvs/geoseg"]
    listed = home / ".conda" / "environments.txt"
    if listed.is_file():
        folders += [Path(line.strip()) for line in listed.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    yield from (python for python in map(python_of, folders) if python)
    yield from (python for python in map(shutil.which, ("python3", "python")) if python)
