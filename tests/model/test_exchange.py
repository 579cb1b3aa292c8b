"""Packages on their way: whole copies, and nothing from an archive that leads elsewhere."""

import stat
import zipfile
from pathlib import Path

import pytest

from geoseg.errors import MissingFileError, ModelError, WriteError
from geoseg.model import exchange
from geoseg.model.exchange import export_package, import_package
from geoseg.model.package import CARD_NAME, GRAPH_NAME, WEIGHTS_NAME, find_package, packages_below, write_card
from tests.doubles import contents, write_package


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_package(tmp_path / "package")


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["copy", "copy.zip", "below/copy.zip"])
def test_an_exported_package_comes_back_as_it_was(folder: Path, tmp_path: Path, name: str) -> None:
    exported = export_package(find_package(folder), tmp_path / "out" / name)
    back = import_package(exported, tmp_path / "back")
    assert back.spec == find_package(folder).spec
    assert back.weights.read_bytes() == (folder / WEIGHTS_NAME).read_bytes()
    assert contents(tmp_path / "back") == {CARD_NAME, WEIGHTS_NAME}
    assert not [left for left in contents(tmp_path) if ".geoseg-" in left]


def test_an_imported_model_may_get_another_name(folder: Path, tmp_path: Path) -> None:
    assert import_package(folder, tmp_path / "back", "other").spec.name == "other"
    assert find_package(tmp_path / "back").spec.created == find_package(folder).spec.created


def test_a_package_zipped_with_its_folder_is_taken_in_without_what_is_beside_it(folder: Path, tmp_path: Path) -> None:
    members = {f"package/{name}": (folder / name).read_bytes() for name in (CARD_NAME, WEIGHTS_NAME)}
    archive = write_zip(tmp_path / "a.zip", {**members, "package/extra.pkl": b"\x80\x04.", "package/run.py": b"print()"})
    import_package(archive, tmp_path / "back")
    assert contents(tmp_path / "back") == {CARD_NAME, WEIGHTS_NAME}


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..\\x", "C:/x"])
def test_an_archive_that_leads_out_of_its_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    members = {member: (folder / member).read_bytes() for member in (CARD_NAME, WEIGHTS_NAME)}
    with pytest.raises(ModelError, match="leads out of its folder"):
        import_package(write_zip(tmp_path / "a.zip", {**members, name: b"x"}), tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_links_are_refused_in_archives_and_folders(folder: Path, tmp_path: Path) -> None:
    info = zipfile.ZipInfo(WEIGHTS_NAME)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
        archive.write(folder / CARD_NAME, CARD_NAME)
    with pytest.raises(ModelError, match="link"):
        import_package(tmp_path / "a.zip", tmp_path / "back")
    (folder / WEIGHTS_NAME).rename(tmp_path / "elsewhere")
    (folder / WEIGHTS_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="link"):
        import_package(folder, tmp_path / "back")


def test_sizes_beyond_the_limit_are_refused_with_both_numbers(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = export_package(find_package(folder), tmp_path / "a.zip")
    monkeypatch.setattr(exchange, "SIZE_LIMIT_BYTES", 5)
    for source in (archive, folder):
        with pytest.raises(ModelError, match=r"GB; at most 0\.0 GB"):
            import_package(source, tmp_path / "back")


def test_a_damaged_package_is_not_taken_in(folder: Path, tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {CARD_NAME: (folder / CARD_NAME).read_bytes(), WEIGHTS_NAME: b"other"})
    with pytest.raises(ModelError, match="damaged"):
        import_package(archive, tmp_path / "back")
    (tmp_path / "b.zip").write_bytes(b"PK no zip")
    with pytest.raises(ModelError, match="no zip archive"):
        import_package(tmp_path / "b.zip", tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("members", [{}, {CARD_NAME: b"{}"}, {f"a/b/c/{CARD_NAME}": b"{}", WEIGHTS_NAME: b""}])
def test_an_archive_without_a_package_is_named(tmp_path: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(MissingFileError, match="no model package"):
        import_package(write_zip(tmp_path / "a.zip", members), tmp_path / "back")


def test_nothing_that_is_there_is_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for work in (lambda: import_package(folder, tmp_path / "there"), lambda: export_package(find_package(folder), tmp_path / "there")):
        with pytest.raises(WriteError, match="there already"):
            work()


def test_packages_below_a_folder_are_found(folder: Path, tmp_path: Path) -> None:
    other = write_package(tmp_path / "a" / "b")
    write_package(tmp_path / "a" / ".package-1")  # a training that was killed while it published
    assert packages_below(tmp_path) == [other, folder]
    with pytest.raises(MissingFileError, match="no model package"):
        packages_below(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["copy", "copy.zip"])
def test_the_graph_travels_with_the_package(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / GRAPH_NAME).write_bytes(b"a graph")
    write_card(folder, find_package(folder).spec)
    back = import_package(export_package(find_package(folder), tmp_path / "out" / name), tmp_path / "back", "other")
    assert back.graph is not None
    assert back.graph.read_bytes() == b"a graph"
    assert find_package(tmp_path / "back") == back


def test_a_graph_that_is_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"a graph")
    (folder / GRAPH_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="link"):
        import_package(folder, tmp_path / "back")
