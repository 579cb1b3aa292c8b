"""Pythons that have geoseg, without QGIS; and the plugin as an island."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from geoseg import __version__
from geoseg.qgis_plugin import environment
from tests.qgis_plugin.conftest import ROOT

PLUGIN = ROOT / "geoseg" / "qgis_plugin"
_WITHOUT_QGIS = ("environment", "runner")
_IMPORT_ALONE = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "rasterio", "numpy", "geoseg", "pydantic", "typer"}:
            raise ImportError(f"the plugin imports {name}")

sys.meta_path.insert(0, Blocker())
sys.path.append(sys.argv[1])
import island
assert callable(island.classFactory)
import importlib
for name in sys.argv[2:]:
    importlib.import_module(f"island.{name}")
"""


def test_a_bare_python_imports_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "island").symlink_to(PLUGIN)
    command = [sys.executable, "-I", "-S", "-c", _IMPORT_ALONE, str(tmp_path), *_WITHOUT_QGIS]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("path", sorted(PLUGIN.rglob("*.py")), ids=lambda path: path.relative_to(PLUGIN).as_posix())
def test_the_plugin_imports_only_qgis_and_the_standard_library(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            continue
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            top = name.partition(".")[0]
            assert top in {"qgis", "processing"} or top in sys.stdlib_module_names, f"{path} imports {name}"
            assert not top.startswith("PyQt"), f"{path} imports {name}; qgis.PyQt works with Qt 5 and 6"


def test_a_python_with_geoseg_tells_its_version_and_device(python: str) -> None:
    found = environment.check(python)
    assert (found.version, found.problem) == (__version__, None)
    assert found.device is not None
    assert found.device.startswith(("GPU: ", "CPU: "))


def test_a_python_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 20\n")
    slow.chmod(0o755)
    assert "did not answer within 0 s" in str(environment.check(str(slow), timeout_s=0.3).problem)


def test_a_python_of_windows_is_refused(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho '" + '{"python": "3.12.1", "system": "win32", "version": "9.9.9"}' + "'\n")
    python.chmod(0o755)
    assert environment.check(str(python)).problem == environment.WINDOWS


def test_what_is_no_python_is_told(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho hello\necho 'no such option' >&2\n")
    other.chmod(0o755)
    assert "does not answer as a Python does: no such option" in str(environment.check(str(other)).problem)


def test_the_variable_comes_before_the_setting_and_the_setting_before_all_others(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environment.VARIABLE, python)
    assert environment.pick_python("/of/the/setting") == python
    monkeypatch.delenv(environment.VARIABLE)
    assert environment.pick_python("/of/the/setting") == "/of/the/setting"


def test_environments_are_found_where_tools_make_them(python: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(environment.VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    assert environment.find_environments() == []
    for folder in (environment.own_folder(), tmp_path / ".local/share/pipx/venvs/geoseg"):
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to(python)
    # the same environment by another name
    monkeypatch.setenv("PATH", str(tmp_path / ".local/share/pipx/venvs/geoseg/bin"))
    (tmp_path / ".local/share/pipx/venvs/geoseg/bin/python3").symlink_to(python)
    found = environment.find_environments("/gone/python")
    assert [(one.python, one.problem is None) for one in found] == [
        ("/gone/python", False),
        (str(environment.own_folder() / "bin/python"), True),
        (str(tmp_path / ".local/share/pipx/venvs/geoseg/bin/python"), True),
    ]


def test_variables_are_clean_and_the_environment_leads_the_path() -> None:
    given = {"PYTHONPATH": "a", "PYTHONHOME": "b", "PROJ_LIB": "c", "GDAL_DATA": "d", "HOME": "/home/ü", "PATH": "/usr/bin"}
    clean = environment.clean_variables(given, "/opt/env/bin/python")
    assert not {"PYTHONPATH", "PYTHONHOME", "PROJ_LIB", "GDAL_DATA"} & set(clean)
    assert clean["HOME"] == "/home/ü"
    assert clean["PATH"] == os.pathsep.join(["/opt/env/bin", "/usr/bin"])
