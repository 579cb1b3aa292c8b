"""Run lists: every form names the same rasters, in their order, under names that stay."""

import json
from pathlib import Path

import pytest

from geoseg.errors import MissingFileError, RasterError, UsageError
from geoseg.runs.runlist import read_run_list


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.tif", "b.TIF", "sub/a.tif", "notes.txt", "c.tif.aux.xml"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "images"


def test_a_folder_gives_all_its_rasters_and_nothing_else(folder: Path) -> None:
    items = read_run_list(str(folder))
    assert [Path(item.raster).relative_to(folder).as_posix() for item in items] == ["a.tif", "b.TIF", "sub/a.tif"]
    assert len({item.name for item in items}) == 3
    assert items[1].name == "b"


def test_a_pattern_gives_what_it_matches(folder: Path) -> None:
    assert [item.name for item in read_run_list(f"{folder}/*.tif")] == ["a"]
    assert len(read_run_list(f"{folder}/**/*.tif")) == 2


def test_files_of_one_name_keep_theirs_whatever_else_is_in_the_list(folder: Path) -> None:
    both = {item.raster: item.name for item in read_run_list(str(folder)) if item.name.startswith("a")}
    (folder / "other").mkdir()
    (folder / "other" / "a.tif").touch()
    more = {item.raster: item.name for item in read_run_list(str(folder))}
    assert both.items() <= more.items()


def test_text_lists_have_comments_and_start_from_their_folder(folder: Path) -> None:
    (folder / "list.txt").write_text("# these\na.tif  # first\n\nsub/a.tif\nhttps://there/x.tif?key=1\n/vsis3/bucket/y.tif\n")
    items = read_run_list(str(folder / "list.txt"))
    assert [item.raster for item in items] == [
        str(folder / "a.tif"),
        str(folder / "sub/a.tif"),
        "https://there/x.tif?key=1",
        "/vsis3/bucket/y.tif",
    ]
    assert [item.name for item in items[2:]] == ["x", "y"]


def test_tables_have_names_and_priorities(folder: Path) -> None:
    (folder / "list.csv").write_text("raster,name,priority\na.tif,later,\nsub/a.tif,first,2\nb.TIF,,1\n")
    assert [(item.name, item.priority) for item in read_run_list(str(folder / "list.csv"))] == [("first", 2), ("b", 1), ("later", 0)]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("list.txt", "", "names no raster"),
        ("list.csv", "file\na.tif\n", "has the columns file; raster"),
        ("list.csv", "raster,prio\na.tif,1\n", "has the columns raster, prio"),
        ("list.csv", "raster,priority\na.tif,high\n", "Line 2 .* priority 'high' is no number"),
        ("list.csv", "raster,name\n,x\n", "Line 2 .* names no raster"),
        ("list.csv", "raster,name\na.tif,x\nb.TIF,x\n", "'x' of .* is taken twice"),
        ("list.csv", "raster,name\na.tif,../x\n", "is no plain name"),
        ("list.txt", "a.tif\na.tif\n", "stands in the list twice"),
        ("list.txt", b"\xff\xfe\xfa", "could not be read"),
    ],
)
def test_what_cannot_be_read_is_said(folder: Path, name: str, content: str | bytes, said: str) -> None:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=said):
        read_run_list(str(folder / name))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no list .*none\.csv"):
        read_run_list(str(tmp_path / "none.csv"))
    with pytest.raises(UsageError, match=r"none-\*\.tif names no raster"):
        read_run_list(str(tmp_path / "none-*.tif"))


def write_items(path: Path, *items: object) -> str:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return str(path)


def item(called: object, **more: object) -> dict[str, object]:
    return {"type": "Feature", "id": called, "assets": {"data": {"href": "a.tif"}}, **more}


def test_ids_of_items_become_names_that_folders_may_have(tmp_path: Path) -> None:
    names = [found.name for found in read_run_list(write_items(tmp_path / "items.json", item("a/b"), item("a_b"), item(".."), item("c")))]
    assert names[2:] == ["item", "c"], "never the folder of the batch itself, or the one above"
    assert names[0] != names[1]
    assert all(name.startswith("a_b-") for name in names[:2])


@pytest.mark.parametrize("wrong", [1, item("a", links=[1]), item("a", links={"rel": "self"})])
def test_collections_that_hold_other_things_than_items_are_refused(tmp_path: Path, wrong: object) -> None:
    with pytest.raises(RasterError, match="no valid STAC"):
        read_run_list(write_items(tmp_path / "items.json", wrong))


@pytest.mark.parametrize(("row", "message"), [("a.tif,..,1", "no plain name"), ("a.tif,b,nan", "is no number")])
def test_names_above_the_folder_and_priorities_that_are_none_are_refused(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "list.csv").write_text(f"raster,name,priority\n{row}\n")
    with pytest.raises(UsageError, match=message):
        read_run_list(str(tmp_path / "list.csv"))
