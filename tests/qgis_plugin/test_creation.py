"""Environments that the plugin makes."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from geoseg.qgis_plugin.creation import (
    MARK,
    CreationError,
    Recipe,
    check_source,
    create_environment,
    find_base,
    guess_source,
    pip_arguments,
)
from geoseg.qgis_plugin.environment import check, python_of
from tests.qgis_plugin.wheels import write_wheel

BASE = getattr(sys, "_base_executable", sys.executable)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("Ort der Prüfung")


@pytest.fixture(scope="module")
def made(place: Path) -> tuple[str, list[str]]:
    """An environment made without internet, and what was said."""
    lines: list[str] = []
    wheel = write_wheel(place)
    python = create_environment(Recipe(place / "made here", str(wheel), BASE, str(place)), lines.append)
    return python, lines


def test_a_wheel_becomes_an_environment_without_internet(made: tuple[str, list[str]], place: Path) -> None:
    python, lines = made
    assert python == python_of(place / "made here")
    assert check(python, ask_device=False).version == "9.8.7"
    assert json.loads((place / "made here" / MARK).read_text())["base"] == BASE
    assert any(line.startswith("Successfully installed geoseg-9.8.7") for line in lines)
    assert "--no-index" in next(line for line in lines if " pip " in line)


def test_windows_is_refused_before_anything_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(tmp_path / "new", str(write_wheel(tmp_path)), BASE)
    monkeypatch.setattr("geoseg.qgis_plugin.creation.os", SimpleNamespace(name="nt"))
    with pytest.raises(CreationError, match="does not run on Windows"):
        create_environment(recipe, print)
    assert not (tmp_path / "new").exists()


def write_base(folder: Path, pip: str) -> str:
    """A Python that makes environments whose own Python only does what pip shall do."""
    base = folder / "base"
    made = f'mkdir -p "$3/bin" && printf \'#!/bin/sh\\n{pip}\\n\' > "$3/bin/python" && chmod +x "$3/bin/python"'
    base.write_text(f'#!/bin/sh\nif [ "$2" = venv ]; then {made}; else echo 3 12; fi\n')
    base.chmod(0o755)
    return str(base)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_what_stood_there_comes_back_when_pip_fails(made: tuple[str, list[str]], place: Path, tmp_path: Path) -> None:
    base = write_base(tmp_path, "echo ERROR: No matching distribution found for torch >&2; exit 1")
    with pytest.raises(CreationError, match=r"pip failed: ERROR: No matching distribution.*name a folder of wheels"):
        create_environment(Recipe(place / "made here", str(place / "geoseg-9.8.7-py3-none-any.whl"), base), lambda _: None)
    assert check(made[0], ask_device=False).version == "9.8.7"
    assert not (place / "made here.earlier").exists()


def test_cancelling_ends_the_processes_and_brings_back_what_stood_there(made: tuple[str, list[str]], place: Path) -> None:
    began: list[float] = []

    def is_cancelled() -> bool:
        began.append(time.monotonic())
        return True

    with pytest.raises(CreationError, match="Cancelled; nothing was changed"):
        create_environment(Recipe(place / "made here", str(place / "geoseg-9.8.7-py3-none-any.whl"), BASE), lambda _: None, is_cancelled)
    assert time.monotonic() - began[0] < 10
    assert check(made[0], ask_device=False).version == "9.8.7"
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(place) not in running


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_a_creation_that_was_broken_off_is_begun_anew_and_the_one_that_worked_is_not_lost(tmp_path: Path) -> None:
    wheel = str(write_wheel(tmp_path))
    folder = tmp_path / "qgis"

    def make(pip: str) -> str:
        return create_environment(Recipe(folder, wheel, write_base(tmp_path, pip)), lambda _: None)

    make("echo first")
    first = (folder / "bin" / "python").read_text()
    # what a kill while pip runs leaves
    folder.rename(tmp_path / "qgis.earlier")
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    (folder / MARK).write_text(json.dumps({"source": wheel, "base": "", "is_whole": False}))
    with pytest.raises(CreationError, match="pip failed"):
        make("exit 1")
    assert (folder / "bin" / "python").read_text() == first
    make("echo second")
    assert "second" in (folder / "bin" / "python").read_text()
    assert not (tmp_path / "qgis.earlier").exists()


def test_an_unfinished_environment_says_so_while_it_is_made(tmp_path: Path) -> None:
    marks: list[bool] = []
    wheel = str(write_wheel(tmp_path))

    def hear(_: str) -> None:
        marks.append(json.loads((tmp_path / "new" / MARK).read_text())["is_whole"])

    create_environment(Recipe(tmp_path / "new", wheel, write_base(tmp_path, "echo done")), hear)
    assert set(marks) == {False}
    assert json.loads((tmp_path / "new" / MARK).read_text())["is_whole"] is True


@pytest.mark.parametrize("content", ["photo.jpg", "bin/python"])
def test_a_folder_that_is_not_the_plugins_is_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "mine" / content).parent.mkdir(parents=True)
    (tmp_path / "mine" / content).write_text("mine")
    with pytest.raises(CreationError, match="nothing was changed"):
        create_environment(Recipe(tmp_path / "mine", str(write_wheel(tmp_path)), BASE), lambda _: None)
    assert (tmp_path / "mine" / content).read_text() == "mine"


def test_pythons_that_are_none_or_too_old_are_refused_with_their_version(tmp_path: Path) -> None:
    wheel = str(write_wheel(tmp_path))
    with pytest.raises(CreationError, match="is no Python that answers"):
        create_environment(Recipe(tmp_path / "new", wheel, str(tmp_path / "python")), lambda _: None)
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\necho 3 9\n")
    old.chmod(0o755)
    with pytest.raises(CreationError, match=r"needs Python 3\.11 or newer; .*old is 3\.9"):
        create_environment(Recipe(tmp_path / "new", wheel, str(old)), lambda _: None)
    assert not (tmp_path / "new").exists()


def test_a_folder_without_wheels_is_refused(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CreationError, match=r"no wheels \(\.whl\) in .*empty"):
        create_environment(Recipe(tmp_path / "new", str(wheel), BASE, str(tmp_path / "empty")), lambda _: None)


@pytest.mark.parametrize(
    "source", ["geoseg==0.5.0", "geoseg[formats]>=0.5,<2", "git+https://example.org/geoseg.git", "https://example.org/g.whl"]
)
def test_names_and_addresses_go_to_pip_as_they_are(source: str) -> None:
    assert check_source(f" {source} ") == source
    assert pip_arguments(source, "", False)[-1] == source


@pytest.mark.parametrize(
    ("source", "said"),
    [("", "Say what to install"), ("--index-url=x", "There is no file or folder"), ("/no/such.whl", "There is no file or folder")],
)
def test_sources_that_pip_would_misunderstand_are_refused(source: str, said: str) -> None:
    with pytest.raises(CreationError, match=said):
        check_source(source)


def test_folders_and_files_are_sources_only_if_they_can_be_installed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CreationError, match=r"without pyproject\.toml"):
        check_source(str(tmp_path))
    with pytest.raises(CreationError, match=r"notes\.txt is neither a wheel"):
        check_source(str(tmp_path / "notes.txt"))
    (tmp_path / "pyproject.toml").write_text("")
    assert check_source(str(tmp_path)) == str(tmp_path)


def test_the_smaller_torch_comes_from_its_own_index_only_where_there_is_internet() -> None:
    assert "https://download.pytorch.org/whl/cpu" in pip_arguments("geoseg==1.0", "", True)
    assert "https://download.pytorch.org/whl/cpu" not in pip_arguments("geoseg==1.0", "/wheels", True)


def test_the_source_is_the_newest_wheel_beside_the_plugin_else_the_clone_that_it_is_part_of(tmp_path: Path) -> None:
    plugin = tmp_path / "geoseg" / "qgis_plugin"
    plugin.mkdir(parents=True)
    assert guess_source(plugin) == ""
    (tmp_path / "pyproject.toml").write_text("")
    assert guess_source(plugin) == str(tmp_path)
    write_wheel(plugin, "0.9.0")
    newest = write_wheel(plugin, "0.10.0")
    assert guess_source(plugin) == str(newest)


def test_some_python_of_this_machine_is_new_enough() -> None:
    code = "import sys; print(sys.version_info >= (3, 11))"
    assert subprocess.run([find_base(), "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "True"
