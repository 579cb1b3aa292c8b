"""A first map at once, usable results at any moment, and in the end the same result as without (law 2)."""

import json
import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely

from geoseg.arrays.run import open_run
from geoseg.config import RunConfig
from geoseg.errors import ChunkError, RunFolderError, UsageError
from geoseg.events import ChunkDone, Event, FirstMap, MapRefined
from geoseg.inference.planning import plan_run
from geoseg.model.predictor import NeighborhoodPredictor, double_spec
from geoseg.pipeline import segment_raster
from geoseg.quick import look
from geoseg.quick.look import QuickOptions, segment_quick
from geoseg.redo import redo_objects
from geoseg.runfolder.status import read_status
from geoseg.runtime.mapping import map_chunks
from tests.doubles import (
    CRS,
    TRANSFORM,
    Listening,
    Logged,
    always,
    bytes_of,
    call_geoseg,
    configure,
    draw_blobs,
    read_band,
    write_package,
    write_raster,
)

NEAR = NeighborhoodPredictor(spec=double_spec())
SHAPE = 300, 420
AT_ONCE = QuickOptions(every_s=0.0, share=1e9)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_raster(folder / "blobs.tif", draw_blobs(*SHAPE, corner=60), nodata=0)
    write_package(folder / "package")
    return folder


def configured(world: Path, output: Path, **values: Any) -> RunConfig:
    return configure(world / "blobs.tif", world / "package", output, chunk_size=128, **values)


@pytest.fixture
def config(world: Path, tmp_path: Path) -> RunConfig:
    """A run without objects, which take most of the time."""
    return configured(world, tmp_path / "out", outputs=("classes", "confidence"))


@pytest.fixture
def whole(world: Path, tmp_path: Path) -> RunConfig:
    return configured(world, tmp_path / "out")


@pytest.fixture(scope="module")
def plain(world: Path) -> Path:
    return segment_raster(configured(world, world / "plain"), load=always(NEAR))


def is_same(run: Path, plain: Path) -> bool:
    return all((run / f"{name}.tif").read_bytes() == (plain / f"{name}.tif").read_bytes() for name in ("classes", "confidence"))


class Looking(Listening):
    """Looks into the run folder with each event."""

    def __init__(self, output: Path, *kinds: type) -> None:
        super().__init__()
        self.output = output
        self.kinds = kinds
        self.seen: list[tuple[tuple[int, int], dict[str, Any]]] = []

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if isinstance(event, self.kinds):
            self.seen.append((read_band(self.output / "classes.tif").shape, json.loads((self.output / "summary.json").read_text())))


def test_a_quick_run_ends_as_a_plain_one_and_tells_how_far_its_first_map_agreed(whole: RunConfig, plain: Path) -> None:
    run = segment_quick(whole, load=always(NEAR), options=AT_ONCE)
    assert bytes_of(run) == bytes_of(plain)
    assert {path.name for path in run.iterdir()} == {path.name for path in plain.iterdir()}
    quick = json.loads((run / "summary.json").read_text())["quick"]
    assert quick["state"] == "refined"
    assert 0.5 < quick["agreement"] < 1
    assert not (run / ".work").exists()


def test_a_map_of_the_whole_raster_stands_at_any_moment(config: RunConfig) -> None:
    heard = Looking(config.output, FirstMap, MapRefined, ChunkDone)
    segment_quick(config, heard, always(NEAR), options=AT_ONCE)
    factor = heard.of(FirstMap)[0].factor
    assert factor >= 4
    shapes = [shape for shape, _ in heard.seen]
    assert shapes[0] == tuple(-(-n // factor) for n in SHAPE)
    assert shapes[-1] == SHAPE
    assert all(told["quick"]["state"] == "refining" for _, told in heard.seen)
    refined = [told["quick"]["chunks_done"] for _, told in heard.seen]
    assert refined == sorted(refined)
    assert refined[-1] > 0


def test_refined_maps_hold_chunks_that_are_done_and_elsewhere_the_first_map(config: RunConfig, plain: Path) -> None:
    tiles = plan_run(config).tiles
    first = np.zeros(0)
    checked = 0
    final = read_band(plain / "classes.tif")

    def check(event: Event) -> None:
        nonlocal first, checked
        if isinstance(event, FirstMap):
            first = read_band(config.output / "classes.tif").repeat(event.factor, 0).repeat(event.factor, 1)[: SHAPE[0], : SHAPE[1]]
        elif isinstance(event, MapRefined):
            now = read_band(config.output / "classes.tif")
            parts = [chunk.window.toslices() for chunk in tiles.chunks()]
            sharp = [np.array_equal(now[part], final[part]) for part in parts]
            assert all(is_sharp or np.array_equal(now[part], first[part]) for is_sharp, part in zip(sharp, parts, strict=True))
            assert event.done <= sum(sharp) < len(parts) or event.done >= len(parts) - 2
            checked += 1

    segment_quick(config, check, always(NEAR), options=AT_ONCE)
    assert checked > 5


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_chunks_has_no_influence(config: RunConfig, plain: Path, seed: int) -> None:
    def shuffled(job: Any, keys: Iterable[Any], *more: Any) -> Any:
        listed = list(keys)
        random.Random(seed).shuffle(listed)
        return map_chunks(job, listed, *more)

    assert is_same(segment_quick(config, load=always(NEAR), mapping=shuffled, options=AT_ONCE), plain)


@pytest.mark.parametrize("broken_at", [1, 12, 30])
def test_a_quick_run_that_was_broken_off_goes_on_with_or_without(config: RunConfig, plain: Path, tmp_path: Path, broken_at: int) -> None:
    logged = Logged(NEAR, tmp_path / "calls")
    with pytest.raises(ChunkError, match="the power is out"):
        segment_quick(config, load=always(replace(logged, fails_from=broken_at)), options=AT_ONCE)
    assert read_status(config.output).state == "stopped"
    before = len(list((config.output / ".work" / "chunks").rglob("*.tif")))
    heard = Listening()
    goes_on = segment_raster if broken_at == 12 else segment_quick
    assert is_same(goes_on(config, heard, always(logged)), plain)
    assert len(heard.of(ChunkDone)) == plan_run(config).tiles.chunk_count - before
    assert (broken_at > 1) == (before > 0)


@pytest.mark.parametrize(
    ("copied", "rasters"),
    [(1, ["classes.tif"]), (3, ["classes.tif", "confidence.tif"]), (4, ["classes.tif", "confidence.tif", "evidence.tif"])],
)
def test_a_first_map_that_was_cut_off_before_its_summary_is_not_taken_for_the_final_one(
    whole: RunConfig, plain: Path, monkeypatch: pytest.MonkeyPatch, copied: int, rasters: list[str]
) -> None:
    put, done = look.move_whole, []

    def cut_off(made: Path, path: Path) -> None:
        if len(done) == copied:
            raise KeyboardInterrupt
        put(made, path)
        done.append(path.name)

    monkeypatch.setattr(look, "move_whole", cut_off)
    monkeypatch.setattr(look, "write_whole", lambda *_: cut_off(Path(), Path()))
    with pytest.raises(KeyboardInterrupt):
        segment_quick(whole, load=always(NEAR), options=AT_ONCE)
    assert [name for name in done if name.endswith(".tif")] == rasters
    assert not (whole.output / "summary.json").exists()
    run = segment_raster(whole, load=always(NEAR))
    assert bytes_of(run) == bytes_of(plain)
    assert {path.name for path in run.iterdir()} == {path.name for path in plain.iterdir()}
    assert (run / "classes.tif.aux.xml").read_bytes() == (plain / "classes.tif.aux.xml").read_bytes()


def test_what_lies_in_the_first_area_comes_first_and_then_what_is_uncertain(config: RunConfig, tmp_path: Path) -> None:
    x, y = TRANSFORM @ (SHAPE[1] - 20, SHAPE[0] - 20)
    gpd.GeoDataFrame(geometry=[shapely.box(x, y - 2, x + 2, y)], crs=CRS).to_file(tmp_path / "first.gpkg")
    tiles, asked = plan_run(config).tiles, []

    def noting(job: Any, keys: Iterable[Any], *more: Any) -> Any:
        asked.append(list(keys))
        return map_chunks(job, asked[-1], *more)

    heard = Listening()
    segment_quick(config, heard, always(NEAR), noting, QuickOptions(first=tmp_path / "first.gpkg", every_s=1e9))
    assert asked[-1][0] == tuple(n - 1 for n in tiles.chunk_shape)
    # another chunk may be done by then
    assert [event.done <= 2 for event in heard.of(MapRefined)] == [True]
    with rasterio.open(config.output / "confidence.tif") as made:
        confidence = made.read(1).astype(float)
    confidence[confidence == 255] = np.nan
    means = [np.nanmean(confidence[tiles.chunk(*key).window.toslices()]) for key in asked[-1][1:]]
    # the first map is no perfect forecast
    assert np.mean(means[: len(means) // 2]) < np.mean(means[len(means) // 2 :])


def test_a_first_area_elsewhere_is_refused_before_anything_is_made(config: RunConfig, tmp_path: Path) -> None:
    gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs=CRS).to_file(tmp_path / "first.gpkg")
    with pytest.raises(UsageError, match="does not touch"):
        segment_quick(config, load=always(NEAR), options=QuickOptions(first=tmp_path / "first.gpkg"))
    assert not config.output.exists()


def test_a_first_map_is_shown_but_not_taken_for_a_finished_run(whole: RunConfig) -> None:
    def look(event: Event) -> None:
        if isinstance(event, FirstMap):
            run = open_run(whole.output)
            assert run.areas["pixels"].sum() == run.classes.size
            found = read_status(whole.output)
            assert found.state == "running"
            assert found.quick is not None
            assert found.quick["factor"] == event.factor
        elif isinstance(event, ChunkDone) and event.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_quick(whole, look, always(NEAR), options=AT_ONCE)
    assert gpd.read_file(whole.output / "features.gpkg", layer="landcover").area.sum() > 0
    with pytest.raises(RunFolderError, match="first map"):
        redo_objects(whole.output, {})
    assert read_status(whole.output).state == "stopped"


def test_products_that_were_not_asked_for_do_not_stay(config: RunConfig) -> None:
    asked = config.model_copy(update={"outputs": ("buildings",)})
    heard = Listening()
    segment_quick(asked, heard, always(NEAR), options=AT_ONCE)
    assert heard.of(FirstMap)
    assert {path.name for path in config.output.iterdir()} == {"features.gpkg", "instances.tif", "item.json", "run.toml", "summary.json"}


def test_first_without_quick_is_refused(config: RunConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code = call_geoseg(monkeypatch, "segment", config.raster, "-o", config.output, "--first", "aoi.gpkg")
    assert code == 2
    assert "Add --quick" in capsys.readouterr().err
