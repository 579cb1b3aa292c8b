"""A Python for the plugin, and the QGIS of the machine."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_SYSTEM_PATH = "/usr/bin:/bin"


def write_python(folder: Path, *, lines: str = "") -> str:
    """A Python that finds the geoseg of these tests: the plugin passes on no PYTHONPATH."""
    folder.mkdir(parents=True)
    path = folder / "python"
    path.write_text(f'#!/bin/sh\n{lines}\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n', encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    if os.name == "nt":
        pytest.skip("the environment of these tests is a shell script")
    return write_python(tmp_path_factory.mktemp("Umgebung ü") / "bin")


@pytest.fixture(scope="session")
def in_qgis(python: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Start a program of QGIS with an empty profile that has the plugin; ``profile`` is its folder."""
    process = shutil.which("qgis_process.bin", path=_SYSTEM_PATH) or shutil.which("qgis_process", path=_SYSTEM_PATH)
    system_python = shutil.which("python3", path=_SYSTEM_PATH)
    if process is None or system_python is None:
        pytest.skip("QGIS is not installed: apt-get install qgis")
    home = tmp_path_factory.mktemp("qgis ü")
    profile = home / "profiles" / "default"
    profile.mkdir(parents=True)
    variables = {
        "HOME": str(home),
        "PATH": _SYSTEM_PATH,
        "LANG": "C.UTF-8",
        "XDG_RUNTIME_DIR": str(home),
        "XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"],
        "QGIS_CUSTOM_CONFIG_PATH": str(home),
        "QT_QPA_PLATFORM": "offscreen",
        "GEOSEG_PYTHON": python,
        # what must not reach geoseg
        "PYTHONPATH": "/usr/share/qgis/python",
        "PROJ_LIB": "/usr/share/proj",
        "GDAL_DATA": "/usr/share/gdal",
    }
    found = subprocess.run([system_python, "-c", "import qgis.core"], env=variables, capture_output=True, check=False)
    if found.returncode:
        pytest.skip("QGIS has no Python: apt-get install python3-qgis")
    subprocess.run([python, "-m", "geoseg", "qgis", "install", "--profile", str(profile)], check=True, capture_output=True)

    def run(*words: object) -> "subprocess.CompletedProcess[str]":
        program, *arguments = (process, *words) if words[0] != "python" else (system_python, *words[1:])
        command = [program, *map(str, arguments)]
        return subprocess.run(command, env=variables, cwd=home, capture_output=True, text=True, timeout=240, check=False)

    run.plugins = profile / "python" / "plugins"  # type: ignore[attr-defined]
    return run
