"""Making a Python environment with geoseg: venv, then pip, with internet or without. Only the standard library."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .environment import WINDOWS, python_of, quiet_process
from .runner import LINE, Job, NotStartedError

OLDEST_PYTHON = (3, 11)
"""The oldest Python that geoseg works in."""
MARK = "made-by-geoseg.json"
"""File in an environment that the plugin made; only such a folder is ever replaced."""

_NEWEST_MINOR = 14
_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_ADDRESS = re.compile(r"(git\+)?(https?|ssh|file)://\S+")
_LIMIT = r"\s*[=<>!~]{1,3}\s*[\w.*+!-]+\s*"
_REQUIREMENT = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]*(\[[\w,. -]+\])?({_LIMIT}(,{_LIMIT})*)?")

OnLine = Callable[[str], None]


class CreationError(RuntimeError):
    """An environment could not be made; the message says why and what to do."""


@dataclass(frozen=True)
class Recipe:
    """What an environment is made of."""

    folder: Path
    """Where it is made; one that the plugin made earlier is replaced once the new one works."""
    source: str
    """What pip installs: a wheel, a folder with geoseg's source, an address, or a name of the package index."""
    base: str = ""
    """Executable of the Python to make it with; empty takes the newest one that is found."""
    wheels: str = ""
    """Folder of wheels; pip then takes everything from there and asks no index. Empty asks the index."""
    is_cpu_only: bool = False
    """Whether to take the smaller PyTorch, which knows no GPU."""


def create_environment(recipe: Recipe, on_line: OnLine, is_cancelled: Callable[[], bool] = lambda: False) -> str:
    """Make an environment and return its Python.

    What stood in the folder before comes back if anything goes wrong or the work is cancelled.

    Args:
        recipe: What to make.
        on_line: Takes each line that venv and pip say.
        is_cancelled: Asked ten times a second.

    Raises:
        CreationError: If the recipe cannot work, venv or pip fail, or the work was cancelled.
    """
    if os.name == "nt":
        raise CreationError(WINDOWS)
    source = check_source(recipe.source)
    wheels = _check_wheels(recipe.wheels)
    base = recipe.base or find_base()
    _check_base(base)
    earlier = _move_aside(recipe.folder)
    try:
        # should QGIS end meanwhile, the next creation knows whose this folder is, and that it is not whole
        recipe.folder.mkdir(exist_ok=True)
        _mark(recipe.folder, source, base, is_whole=False)
        _run([base, "-m", "venv", str(recipe.folder)], base, on_line, is_cancelled)
        python = python_of(recipe.folder)
        if python is None:
            raise CreationError(f"{base} made no Python in {recipe.folder}. Choose another Python to make it with.")
        _run([python, *pip_arguments(source, wheels, recipe.is_cpu_only)], python, on_line, is_cancelled)
        _mark(recipe.folder, source, base, is_whole=True)
    except BaseException:
        shutil.rmtree(recipe.folder, ignore_errors=True)
        if earlier is not None:
            earlier.rename(recipe.folder)
        raise
    if earlier is not None:
        shutil.rmtree(earlier, ignore_errors=True)
    return python


def _mark(folder: Path, source: str, base: str, is_whole: bool) -> None:
    mark = {"source": source, "base": base, "is_whole": is_whole}
    (folder / MARK).write_text(json.dumps(mark, indent=2), encoding="utf-8")


def _is_half_made(folder: Path) -> bool:
    try:
        return json.loads((folder / MARK).read_text(encoding="utf-8")).get("is_whole") is False
    except (OSError, ValueError):
        return False


def pip_arguments(source: str, wheels: str, is_cpu_only: bool) -> list[str]:
    """Return what follows the Python to install a source: ``-m pip install ...``."""
    quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    if wheels:
        # a folder of source is built, which needs setuptools; pip takes that from the wheels too
        return ["-m", "pip", "install", *quiet, "--no-index", "--find-links", wheels, source]
    return ["-m", "pip", "install", *quiet, *(["--extra-index-url", _CPU_INDEX] if is_cpu_only else []), source]


def check_source(source: str) -> str:
    """Return a source as pip takes it.

    Raises:
        CreationError: If it is neither a wheel, a folder of geoseg, an address nor a name.
    """
    text = source.strip()
    if not text:
        raise CreationError("Say what to install: a wheel (geoseg-....whl), the folder of geoseg's source, an address, or geoseg==VERSION.")
    path = Path(text).expanduser()
    if path.is_dir():
        if not (path / "pyproject.toml").is_file():
            raise CreationError(f"{path} is a folder without pyproject.toml, so it is not geoseg's source. Choose the folder that has one.")
        return str(path.resolve())
    if path.is_file():
        if not path.name.endswith((".whl", ".tar.gz", ".zip")):
            raise CreationError(f"{path.name} is neither a wheel (.whl) nor a source archive (.tar.gz, .zip). Choose one of those.")
        return str(path.resolve())
    if _ADDRESS.fullmatch(text) or _REQUIREMENT.fullmatch(text):
        return text
    raise CreationError(f"There is no file or folder {text}, and it is neither an address nor a name such as geoseg==1.0. Check it.")


def guess_source(plugin: Path) -> str:
    """Return the source that lies nearest to the plugin: a wheel that came with it, else the folder of source that it is part of.

    Nothing else is guessed: who owns a name in a package index may change, so that only the user may name one.
    """
    shipped = sorted(plugin.glob("geoseg-*.whl"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name.split("-")[1])])
    if shipped:
        return str(shipped[-1])
    root = plugin.resolve().parents[1]
    return str(root) if (root / "pyproject.toml").is_file() and (root / "geoseg").is_dir() else ""


def find_base() -> str:
    """Return the newest Python of this machine that geoseg works in.

    Raises:
        CreationError: If there is none.
    """
    for python in _bases():
        if _version_of(python) >= OLDEST_PYTHON:
            return python
    raise CreationError(f"No Python {_dotted(OLDEST_PYTHON)} or newer was found. Install one from python.org, or name it here.")


def _bases() -> Iterator[str]:
    names = [f"python3.{minor}" for minor in range(_NEWEST_MINOR, OLDEST_PYTHON[1] - 1, -1)]
    yield from (found for found in map(shutil.which, [*names, "python3", "python"]) if found)
    # QGIS on Windows and macOS: sys.executable is QGIS itself, its Python lies elsewhere
    yield from (found for prefix in (sys.base_prefix, sys.prefix) if (found := python_of(Path(prefix))))


def _version_of(python: str) -> tuple[int, int]:
    code = "import sys; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run([python, "-c", code], timeout=20, **quiet_process(python), capture_output=True, check=False)
        major, minor = answer.stdout.split()
        return int(major), int(minor)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return 0, 0


def _check_base(base: str) -> None:
    version = _version_of(base) if os.path.isfile(base) else (0, 0)
    if version == (0, 0):
        raise CreationError(f"{base} is no Python that answers. Choose its executable, for example /usr/bin/python3.")
    if version < OLDEST_PYTHON:
        raise CreationError(f"geoseg needs Python {_dotted(OLDEST_PYTHON)} or newer; {base} is {_dotted(version)}. Choose a newer one.")


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _check_wheels(wheels: str) -> str:
    folder = Path(wheels).expanduser() if wheels.strip() else None
    if folder is None:
        return ""
    if not any(folder.glob("*.whl")):
        raise CreationError(
            f"There are no wheels (.whl) in {folder}. Fill it on a machine with internet: pip download -d FOLDER geoseg.whl"
        )
    return str(folder.resolve())


def _move_aside(folder: Path) -> Path | None:
    """Make room for a new environment; return where the earlier one waits."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(folder.name + ".earlier")
    if _is_half_made(folder):
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists() or not any(folder.iterdir()):
        # the one that worked, if a creation was broken off
        return aside if (aside / MARK).is_file() else None
    if not (folder / MARK).is_file() and python_of(folder) is None:
        raise CreationError(f"{folder} holds files that are no environment of Python; nothing was changed. Choose a new folder.")
    if not (folder / MARK).is_file():
        raise CreationError(f"{folder} holds an environment that this plugin did not make; nothing was changed. Choose a new folder.")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        folder.rename(aside)
    except OSError as exc:
        raise CreationError(f"{folder} is in use: {exc}. Wait for its runs to end, or cancel them.") from exc
    return aside


def _run(command: list[str], python: str, on_line: OnLine, is_cancelled: Callable[[], bool]) -> None:
    said: list[str] = []

    def hear(event: dict[str, Any]) -> None:
        text = event["text"] if event["event"] == LINE else json.dumps(event)
        said.append(text)
        on_line(text)

    on_line("$ " + " ".join(command))
    try:
        result = Job(command, python, hear).wait(is_cancelled)
    except NotStartedError as exc:
        raise CreationError(str(exc)) from exc
    if result.cancelled:
        raise CreationError("Cancelled; nothing was changed.")
    if result.exit_code != 0:
        what = "pip" if "pip" in command else "venv"
        reasons = [line for line in said if line.upper().startswith("ERROR:")] or said[-8:]
        raise CreationError(f"{what} failed: {' '.join(reasons).strip() or result.error_text}{_advice(said)}")


def _advice(said: list[str]) -> str:
    text = "\n".join(said)
    if "ensurepip is not available" in text or "No module named venv" in text:
        return " Install the package of your system that has venv (python3-venv on Debian and Ubuntu)."
    if "No matching distribution" in text or "Could not find a version" in text:
        return " Check the internet connection and the name; without internet, name a folder of wheels."
    if "No space left" in text:
        return " Geoseg with PyTorch takes about 5.5 GB; make room, or take the PyTorch without GPU support."
    return ""
