"""The plugin as an archive and in a profile."""

import ast
import configparser
import os
import re
import stat
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from geoseg import __version__
from geoseg.errors import MissingFileError, UsageError, WriteError
from geoseg.events import StageDone
from geoseg.model.predictor import NeighborhoodPredictor, double_spec
from geoseg.model.spec import ModelSpec
from geoseg.packing.plugin import PLUGIN, pack_plugin, plugin_texts
from geoseg.packing.profiles import choose_profiles, install_plugin
from geoseg.packing.texts import collect_texts, write_ts
from geoseg.pipeline import segment_raster
from tests.doubles import Listening, always, call_geoseg, configure, draw_blobs, write_package, write_raster
from tests.qgis_plugin.conftest import ROOT

_REQUIRED = ("name", "description", "about", "version", "qgisMinimumVersion", "author", "email", "repository", "tracker")
"""Keys without which the plugin repository refuses an archive."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "geoseg.zip"
    pack_plugin(path, __version__)
    return path


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_in_the_place_of_the_archive_is_refused_and_nothing_is_left(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "plugin.zip").mkdir()
    with pytest.raises(UsageError, match=r"plugin\.zip is a folder"):
        pack_plugin(tmp_path / "plugin.zip", __version__, overwrite=overwrite)
    with pytest.raises(WriteError):
        pack_plugin(tmp_path / "none" / "plugin.zip", __version__)
    assert [path.name for path in tmp_path.rglob("*")] == ["plugin.zip"]


def read_metadata(archive: Path) -> "configparser.SectionProxy":
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    with zipfile.ZipFile(archive) as packed:
        parser.read_string(packed.read(f"{PLUGIN}/metadata.txt").decode())
    return parser["general"]


def test_the_archive_is_what_the_plugin_repository_accepts(archive: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        names = packed.namelist()
    assert {name.partition("/")[0] for name in names} == {PLUGIN}
    assert re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", PLUGIN)
    assert {f"{PLUGIN}/__init__.py", f"{PLUGIN}/metadata.txt", f"{PLUGIN}/LICENSE", f"{PLUGIN}/icon.svg"} <= set(names)
    assert {Path(name).suffix for name in names} <= {".py", ".txt", ".svg", ".ts", ".qm", ""}
    assert not [name for name in names if "__pycache__" in name or "/." in name]
    assert archive.stat().st_size < 20e6


def test_metadata_has_all_that_is_required(archive: Path) -> None:
    metadata = read_metadata(archive)
    assert all(metadata.get(key) for key in _REQUIRED)
    assert metadata["version"] == __version__
    assert (metadata["qgisMinimumVersion"], metadata["qgisMaximumVersion"], metadata["supportsQt6"]) == ("3.22", "4.99", "True")
    assert metadata["hasProcessingProvider"] == "yes"
    assert metadata["name"] == "geoseg - land cover, buildings, roads"
    for key in ("homepage", "repository", "tracker"):
        assert metadata[key].startswith("https://github.com/geoseg/geoseg")
    assert re.fullmatch(r"[^@\s]+@[^@\s]+\.[a-z]+", metadata["email"])


def test_the_licence_in_the_archive_is_that_of_geoseg(archive: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        assert packed.read(f"{PLUGIN}/LICENSE") == (ROOT / "LICENSE").read_bytes()


def test_equal_plugins_make_equal_archives(archive: Path, tmp_path: Path) -> None:
    assert pack_plugin(tmp_path / "again.zip", __version__) == len(zipfile.ZipFile(archive).namelist())
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_an_archive_is_not_replaced_unasked(archive: Path) -> None:
    with pytest.raises(UsageError, match="exists"):
        pack_plugin(archive, __version__)
    with pytest.raises(UsageError, match=r"ends in \.tar; expected \.zip"):
        pack_plugin(archive.with_suffix(".tar"), __version__)


def test_installing_replaces_an_older_plugin_and_keeps_other_settings(tmp_path: Path) -> None:
    ini = tmp_path / "QGIS" / "QGIS3.ini"
    ini.parent.mkdir()
    ini.write_bytes(b"[PythonPlugins]\nother=true\ngeoseg_qgis=false\n\n[app]\nname=\xfc\n")
    old = tmp_path / "python" / "plugins" / PLUGIN / "old.py"
    old.parent.mkdir(parents=True)
    old.write_text("")
    folder = install_plugin(tmp_path, __version__, "/opt/fü0/bin/python")
    assert not old.exists()
    assert (folder / "plugin.py").read_bytes() == (ROOT / "geoseg/qgis_plugin/plugin.py").read_bytes()
    assert stat.S_ISDIR(os.stat(folder / "algorithms").st_mode)
    assert ini.read_bytes().splitlines() == [
        *(b"[PythonPlugins]", b"geoseg_qgis=true", b"other=true", b"", b"[app]", b"name=\xfc", b""),
        *(b"[geoseg]", b'python="/opt/f\\xfc\\x30/bin/python"'),
    ]


def test_settings_keep_their_lines_their_link_and_their_permissions(tmp_path: Path) -> None:
    kept, ini = tmp_path / "kept.ini", tmp_path / "profile" / "QGIS" / "QGIS3.ini"
    ini.parent.mkdir(parents=True)
    # signs at which Python ends a line and Qt does not
    kept.write_bytes("[db]\npassword=a\u2028b\x85c\x0cd\n".encode())
    kept.chmod(0o600)
    ini.symlink_to(kept)
    install_plugin(tmp_path / "profile", __version__, "/opt/\U0001f600/python")
    assert ini.is_symlink()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "[db]\npassword=a\u2028b\x85c\x0cd\n" in kept.read_bytes().decode()
    # signs of Qt have 16 bits
    assert 'python="/opt/\\xd83d\\xde00/python"' in kept.read_text(encoding="utf-8")


def test_the_profile_is_the_default_one_or_the_one_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QGIS_CUSTOM_CONFIG_PATH", str(tmp_path))
    with pytest.raises(MissingFileError, match="No profile of QGIS was found"):
        choose_profiles(None)
    for name in ("default", "drone"):
        (tmp_path / "profiles" / name / "QGIS").mkdir(parents=True)
    assert [profile.name for profile in choose_profiles(None)] == ["default"]
    assert [profile.name for profile in choose_profiles("drone")] == ["drone"]
    assert choose_profiles(str(tmp_path)) == [tmp_path]
    with pytest.raises(UsageError, match="no profile 'boat'; it has default, drone"):
        choose_profiles("boat")


def test_the_commands_do_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call_geoseg(monkeypatch, "qgis", "install", "--profile", tmp_path) == 0
    assert str(tmp_path / "python" / "plugins" / PLUGIN) in capsys.readouterr().out
    assert call_geoseg(monkeypatch, "qgis", "package", "-o", tmp_path / "plugin.zip") == 0
    assert call_geoseg(monkeypatch, "qgis", "texts", "--language", "de", "-o", tmp_path / "geoseg_de.ts") == 0
    assert f"{len(plugin_texts())} texts" in capsys.readouterr().out


def test_texts_keep_their_translations(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text('tr("Run folder")\ntr("Band")\n')
    texts = collect_texts(tmp_path)
    root = ET.fromstring(write_ts(texts, "de"))
    for message in root.iter("message"):
        if message.findtext("source") == "Band":
            message.find("translation").text = "Kanal"  # type: ignore[union-attr]
    again = ET.fromstring(write_ts(texts, "de", ET.tostring(root, encoding="unicode")))
    assert {m.findtext("source"): m.findtext("translation") for m in again.iter("message")} == {"Run folder": "", "Band": "Kanal"}


def test_a_text_that_is_put_together_cannot_be_translated(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text('tr(f"Run {folder}")\n')
    with pytest.raises(UsageError, match="line 1: tr"):
        collect_texts(tmp_path)


@pytest.mark.parametrize(("content", "reason"), [(b"\xff\xfe", "can't decode byte 0xff"), (b"<svg/>", "holds <svg>"), (b"", "no element")])
def test_a_file_that_holds_no_translations_is_not_replaced(
    content: bytes, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.ts"
    path.write_bytes(content)
    assert call_geoseg(monkeypatch, "qgis", "texts", "--language", "de", "-o", path) == 2
    assert reason in capsys.readouterr().err
    assert path.read_bytes() == content


def test_the_stages_that_the_progress_row_counts_are_those_of_runs(tmp_path: Path) -> None:
    source = ast.parse((ROOT / "geoseg" / "qgis_plugin" / "progressrow.py").read_text(encoding="utf-8"))
    values = [node.value for node in source.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_STAGES"]
    counted = ast.literal_eval(values[0])
    raster = write_raster(tmp_path / "blobs.tif", draw_blobs(96, 96))
    double = double_spec().model_dump()
    road = {"value": 7, "name": "road", "color": "#fadc3c", "kind": "road"}
    roads = ModelSpec.model_validate(double | {"classes": [double["classes"][0], road], "heads": {"semantic": double["heads"]["semantic"]}})
    told: list[str] = []
    for name, spec in (("roads", roads), ("buildings", double_spec())):
        heard = Listening()
        package = write_package(tmp_path / f"{name}-model", spec)
        config = configure(raster, package, tmp_path / name, outputs=("classes", "landcover", name, "report"))
        segment_raster(config, heard, load=always(NeighborhoodPredictor(spec=spec)))
        told += [event.stage for event in heard.of(StageDone)]
    assert set(counted) == set(told)
