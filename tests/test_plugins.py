"""What installed packages add is found by name and loaded late; what is broken is said with the package's name."""

import sys
from pathlib import Path

import pytest

from geoseg.errors import ConfigError
from geoseg.plugins import WRITERS, load_plugin, plugin_names


def install(folder: Path, name: str, entries: str, code: str = "") -> None:
    """Lay an installed distribution into a folder, as pip does."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)
    (folder / f"{name}.py").write_text(code)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_plugin_is_loaded_when_it_is_asked_for_and_not_before(site: Path) -> None:
    install(site, "lazy_plugin", f"[{WRITERS}]\nshout = lazy_plugin:shout\n", "def shout():\n    return 'HEY'\n")
    assert "shout" in plugin_names(WRITERS)
    assert "lazy_plugin" not in sys.modules
    assert load_plugin(WRITERS, "shout")() == "HEY"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise RuntimeError('no licence')", "broken_plugin .*cannot be loaded: RuntimeError: no licence"),
        ("", "cannot be loaded: AttributeError"),
        ("thing = 3", "is a int; something to call was expected"),
    ],
)
def test_a_broken_plugin_is_an_error_that_names_its_package(site: Path, code: str, said: str) -> None:
    install(site, "broken_plugin", f"[{WRITERS}]\nbroken = broken_plugin:thing\n", code)
    sys.modules.pop("broken_plugin", None)
    with pytest.raises(ConfigError, match=said):
        load_plugin(WRITERS, "broken")


def test_two_packages_under_one_name_are_refused_with_both(site: Path) -> None:
    for name in ("one_plugin", "other_plugin"):
        install(site, name, f"[{WRITERS}]\nsame = {name}:f\n", "def f(): ...")
    with pytest.raises(ConfigError, match=r"2 packages add 'same'.*one_plugin.*other_plugin"):
        load_plugin(WRITERS, "same")


def test_an_unknown_name_is_an_error_that_lists_the_known_ones(site: Path) -> None:
    install(site, "some_plugin", f"[{WRITERS}]\nknown = some_plugin:f\n")
    with pytest.raises(ConfigError, match=r"adds 'unknown' to geoseg.writers .*known"):
        load_plugin(WRITERS, "unknown")
