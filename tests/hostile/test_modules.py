"""A folder that strangers filled may hold modules; none of them is run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from geoseg.interpreter import python_command

MODULE = "print('code of the folder was run'); raise SystemExit(9)"
START = """
import os, sys
from geoseg.allocator import restart_keeping_memory
restart_keeping_memory(["segment", "--help"])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("numpy", "typer", "json"):
        (tmp_path / f"{name}.py").write_text(MODULE)
    return tmp_path


def start(folder: Path, *arguments: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    # as the installed command does, which has its own folder on the path and not the working directory
    environment = {**clean, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONSAFEPATH": ""}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout


def test_a_command_that_starts_itself_anew_runs_no_module_of_the_working_directory(folder: Path) -> None:
    said = start(folder, "-P", "-c", START)
    assert "code of the folder" not in said
    assert "Segment RASTER" in said


def test_who_trusts_the_working_directory_goes_on_doing_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert python_command("-m", "geoseg")[1:] == ["-P", "-m", "geoseg"]
    monkeypatch.syspath_prepend(str(tmp_path))
    assert python_command("-m", "geoseg")[1:] == ["-m", "geoseg"]
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert python_command("-m", "geoseg")[1:] == ["-m", "geoseg"]
