"""What appears in a folder is segmented once, in its order, and gathered; what is not whole is left alone."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from geoseg.config import RunConfig
from geoseg.errors import MissingFileError, WriteError
from geoseg.events import Event, Finished, FirstMap, SourceChanged, Warned
from geoseg.io.vector import list_layers, read_layer
from geoseg.model.predictor import NeighborhoodPredictor, double_spec
from geoseg.pipeline import segment_raster
from geoseg.watch import watcher
from geoseg.watch.watcher import WatchOptions, watch_folder
from tests.doubles import Listening, always, configure, draw_blobs, write_package, write_raster

NEAR = NeighborhoodPredictor(spec=double_spec())
AT_ONCE = WatchOptions(settle_s=0.0, every_s=0.01, once=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_package(tmp_path / "package")
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def draw(path: Path, seed: int = 1) -> Path:
    return write_raster(path, draw_blobs(70, 90, seed=seed), nodata=0)


def run_once(folder: Path, options: WatchOptions = AT_ONCE, listener: Any = None, **values: Any) -> Listening:
    def make(raster: str, output: Path) -> RunConfig:
        return configure(Path(raster), folder.parent / "package", output, outputs=("classes", "landcover"), **values)

    heard = Listening()

    def hear(event: Event) -> None:
        heard(event)
        if listener is not None:
            listener(event)

    watch_folder(folder, folder.parent / "out", make, options, hear, always(NEAR))
    return heard


def book_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["source"]: row for row in json.loads((folder.parent / "out" / "watch.json").read_text())["sources"]}


def ended(heard: Listening, state: str = "done") -> list[str]:
    return [event.source for event in heard.of(SourceChanged) if event.state == state]


def sources_in(folder: Path) -> dict[str, int]:
    table = read_layer(folder.parent / "out" / "watch.gpkg", "landcover")
    return {str(name): int(count) for name, count in table["source"].value_counts().items()}


def expected(folder: Path, *names: str) -> dict[str, int]:
    return {name: list_layers(folder.parent / "out" / name / "features.gpkg")["landcover"] for name in names}


def test_each_raster_is_segmented_once_and_all_are_gathered_in_degrees(folder: Path) -> None:
    draw(folder / "b.tif"), draw(folder / "a.tif", 2)
    (folder / "a.tfw").write_text("beside a raster")
    (folder / "notes.doc").write_text("no raster")
    (folder / ".hidden.tif").write_bytes(b"x")
    assert ended(run_once(folder)) == ["b.tif", "a.tif"]
    assert sources_in(folder) == expected(folder, "a", "b")
    table = read_layer(folder.parent / "out" / "watch.gpkg", "landcover")
    assert table.crs.to_epsg() == 4326
    book = book_of(folder)
    assert {name: row["state"] for name, row in book.items()} == {"a.tif": "done", "b.tif": "done"}
    assert book["a.tif"]["run"] == "a"
    west, south, east, north = book["a.tif"]["bounds"]
    left, bottom, right, top = table[table["source"] == "a"].total_bounds
    assert west <= left < right <= east
    assert south <= bottom < top <= north
    again = run_once(folder)
    assert not again.of(Finished)
    assert sources_in(folder) == expected(folder, "a", "b")


def test_a_damaged_raster_is_reported_and_tried_again_when_it_has_changed(folder: Path) -> None:
    whole = draw(folder / "late.tif").read_bytes()
    (folder / "late.tif").write_bytes(whole[: len(whole) // 2])
    draw(folder / "good.tif", 2)
    heard = run_once(folder)
    assert (ended(heard, "failed"), ended(heard)) == (["late.tif"], ["good.tif"])
    assert "not whole" in book_of(folder)["late.tif"]["error"]
    assert not run_once(folder).of(SourceChanged)
    (folder / "late.tif").write_bytes(whole)
    assert ended(run_once(folder)) == ["late.tif"]
    assert sources_in(folder) == expected(folder, "good", "late")


def test_a_raster_that_is_replaced_is_segmented_again_in_place_of_the_old_one(folder: Path) -> None:
    draw(folder / "a.tif")
    run_once(folder)
    before = (folder.parent / "out" / "a" / "classes.tif").read_bytes()
    write_raster(folder / "a.tif", draw_blobs(80, 60, seed=9), nodata=0)
    assert ended(run_once(folder)) == ["a.tif"]
    assert (folder.parent / "out" / "a" / "classes.tif").read_bytes() != before
    assert sources_in(folder) == expected(folder, "a")


def test_rasters_of_one_name_keep_folders_of_their_own(folder: Path) -> None:
    draw(folder / "a.tif")
    run_once(folder)
    draw(folder / "a.tiff", 2)
    draw(folder / "watch.json.tif", 3)
    run_once(folder)
    names = {source: row["name"] for source, row in book_of(folder).items()}
    assert names["a.tif"] == "a"
    assert names["a.tiff"].startswith("a-")
    assert names["watch.json.tif"].startswith("watch.json-")
    assert sources_in(folder) == expected(folder, *names.values())


def test_a_folder_of_pictures_is_one_mosaic_and_waits_for_the_last_of_them(folder: Path) -> None:
    (folder / "flight").mkdir()
    draw(folder / "flight" / "1.tif")
    part = folder / "flight" / "2.tif.part"
    shutil.copy(draw(folder.parent / "2.tif", 2), part)
    assert ended(run_once(folder)) == []
    part.rename(part.with_suffix(""))
    assert ended(run_once(folder)) == ["flight"]
    assert sources_in(folder) == expected(folder, "flight")


def test_what_arrives_while_another_is_segmented_comes_in_its_order(folder: Path) -> None:
    draw(folder / "a.tif"), draw(folder / "b.tif")
    (folder.parent / "order.txt").write_text("# bridges first\nbridge*\n\n")

    def deliver(event: Event) -> None:
        if isinstance(event, SourceChanged) and (event.source, event.state) == ("a.tif", "running"):
            draw(folder / "bridge_7.tif", 3)

    options = WatchOptions(settle_s=0.0, every_s=0.0, once=True, rule="name", order=folder.parent / "order.txt")
    assert ended(run_once(folder, options, deliver)) == ["a.tif", "bridge_7.tif", "b.tif"]


def test_a_raster_that_changes_while_it_is_segmented_is_segmented_again(folder: Path) -> None:
    draw(folder / "a.tif")
    changed = []

    def change(event: Event) -> None:
        if isinstance(event, Finished) and not changed:
            changed.append(draw(folder / "a.tif", 5))

    heard = run_once(folder, listener=change)
    assert len(heard.of(Finished)) == 2
    assert ended(heard) == ["a.tif"]
    assert sources_in(folder) == expected(folder, "a")


def test_layers_that_could_not_be_gathered_are_gathered_later(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(folder / "a.tif")
    gather, tries = watcher.gather_layers, []

    def refuse_once(*arguments: Any) -> int:
        tries.append(arguments)
        if len(tries) == 1:
            raise WriteError("watch.gpkg is held by another program.")
        return gather(*arguments)

    monkeypatch.setattr(watcher, "gather_layers", refuse_once)
    heard = run_once(folder)
    assert [event.message for event in heard.of(Warned)] == ["watch.gpkg is held by another program."]
    assert (len(tries), ended(heard)) == (2, ["a.tif"])
    assert sources_in(folder) == expected(folder, "a")


def test_ctrl_c_ends_it_and_the_next_start_goes_on(folder: Path) -> None:
    draw(folder / "a.tif"), draw(folder / "b.tif")

    def stop(event: Event) -> None:
        if isinstance(event, SourceChanged) and (event.source, event.state) == ("b.tif", "running"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_once(folder, WatchOptions(settle_s=0.0, every_s=0.01, rule="name"), stop)
    assert {name: row["state"] for name, row in book_of(folder).items()} == {"a.tif": "done", "b.tif": "waiting"}
    assert ended(run_once(folder)) == ["b.tif"]


def test_a_folder_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(MissingFileError, match="There is no folder"):
        run_once(folder / "nowhere")
    with pytest.raises(MissingFileError, match="--order"):
        run_once(folder, WatchOptions(order=folder / "none.txt"))


def test_with_quick_a_coarse_map_of_each_comes_first(folder: Path) -> None:
    draw(folder / "a.tif"), draw(folder / "b.tif", 2)
    heard = run_once(folder, WatchOptions(settle_s=0.0, every_s=0.01, once=True, quick=True))
    assert [type(event) for event in heard if isinstance(event, FirstMap | Finished)] == [FirstMap, Finished] * 2
    assert sources_in(folder) == expected(folder, "a", "b")


def test_pipes_and_runs_are_left_alone(folder: Path) -> None:
    draw(folder / "a.tif")
    os.mkfifo(folder / "pipe")
    run = segment_raster(configure(folder / "a.tif", folder.parent / "package", folder / "run"), load=always(NEAR))
    assert run.is_dir()
    assert ended(run_once(folder)) == ["a.tif"]
    assert set(book_of(folder)) == {"a.tif"}


def test_a_finished_run_that_is_not_its_own_is_never_replaced(folder: Path) -> None:
    draw(folder / "a.tif")
    other = draw(folder.parent / "other.tif", 5)
    run = segment_raster(configure(other, folder.parent / "package", folder.parent / "out" / "a"), load=always(NEAR))
    before = (run / "classes.tif").read_bytes()
    for _ in range(2):
        assert ended(run_once(folder)) == []
        assert "did not make" in book_of(folder)["a.tif"]["error"]
        draw(folder / "a.tif", 3)
    assert (run / "classes.tif").read_bytes() == before


def test_a_table_that_cannot_be_written_ends_a_command_that_is_to_end(folder: Path) -> None:
    draw(folder / "a.tif")
    (folder.parent / "out").mkdir()
    (folder.parent / "out" / "watch.gpkg").write_bytes(b"no database")
    with pytest.raises(WriteError, match=r"watch\.gpkg could not take a"):
        run_once(folder)
    (folder.parent / "out" / "watch.gpkg").unlink()
    assert ended(run_once(folder)) == ["a.tif"]


def test_a_name_that_is_no_text_is_reported(folder: Path) -> None:
    draw(folder.parent / "a.tif").rename(folder / os.fsdecode(b"caf\xe9.tif"))
    run_once(folder)
    assert ["not UTF-8" in row["error"] for row in book_of(folder).values()] == [True]


def test_an_order_takes_names_with_brackets_as_they_are(folder: Path) -> None:
    draw(folder / "a.tif"), draw(folder / "z[1].tif")
    (folder.parent / "order.txt").write_text("z[1].tif\n")
    assert ended(run_once(folder, replace(AT_ONCE, rule="name", order=folder.parent / "order.txt"))) == ["z[1].tif", "a.tif"]
