"""Segmented where one looks: the pixels of a run, the middle of the view first, what has left the view not at all."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geoseg.errors import RunFolderError
from geoseg.model.predictor import Keep, Predictor
from geoseg.pipeline import segment_raster
from geoseg.runfolder.folder import RunFolder
from geoseg.view import demand as module
from geoseg.view.demand import Demand, DemandRun, plan_demand
from geoseg.view.growing import GrowingRaster
from geoseg.view.rasters import Box, find_bounds
from tests.doubles import Logged, always, read_band
from tests.view.town import NEAR, configure_town


def wait_until(run: DemandRun, there: Callable[[Demand], bool]) -> Demand:
    end = time.monotonic() + 20
    while not there(told := run.tell()):
        assert time.monotonic() < end, told
        time.sleep(0.01)
    return told


@dataclass(slots=True)
class Gated:
    """A predictor that infers only when it may, and notes how often it did."""

    inner: Predictor
    gate: threading.Event = field(default_factory=threading.Event)
    calls: int = 0

    @property
    def spec(self) -> Any:
        return self.inner.spec

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        self.calls += 1
        assert self.gate.wait(20)
        return self.inner.predict(pixels, valid, keep)

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        raise NotImplementedError


def corner_of(plan: Any) -> Box:
    """A speck in the lower left tile."""
    west, south, east, north = find_bounds("town", plan.source.geobox)
    lon, lat = west + 0.05 * (east - west), south + 0.05 * (north - south)
    return lon, lat, lon + 1e-6, lat + 1e-6


def plan_of(tmp_path: Path, **options: Any) -> Any:
    return plan_demand(configure_town(tmp_path, chunk_size=None, tile_size=128, cache=tmp_path / "cache", **options), keep=False)


def test_what_comes_into_view_has_the_pixels_of_a_run(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert plan.tiles.tiles_per_chunk == 1
    run = DemandRun(plan, always(NEAR))
    with run.working():
        run.look(find_bounds("town", plan.source.geobox))
        told = wait_until(run, lambda d: d.done == d.chunks)
        assert told.in_view == told.chunks == 9
        (tmp_path / "work").mkdir()
        growing = GrowingRaster(run.folder.chunk_place, plan.tiles, plan.layers, tmp_path / "work")
        growing.refresh()
        with growing.raster_for(0.0)._dataset() as dataset:
            seen = dataset.read()
        growing.close()
    out = segment_raster(configure_town(tmp_path, tile_size=128), load=always(NEAR))
    np.testing.assert_array_equal(seen[0], read_band(out / "classes.tif"))
    np.testing.assert_array_equal(seen[1], read_band(out / "confidence.tif"))


def test_what_was_seen_is_kept_and_a_run_goes_on_with_it(tmp_path: Path) -> None:
    config = configure_town(tmp_path, chunk_size=None, tile_size=128)
    plan = plan_demand(config, keep=True)
    with (run := DemandRun(plan, always(NEAR))).working():
        run.look(corner_of(plan))
        wait_until(run, lambda d: d.done == 1)
    assert RunFolder(config.output).is_begun()
    again = DemandRun(plan_demand(config, keep=True), always(NEAR))
    with again.working():
        assert again.tell().done == 1
    counting = Logged(NEAR, tmp_path / "calls")
    segment_raster(again.plan.config, load=always(counting))
    assert counting.calls == plan.tiles.tile_count - 1


def test_the_middle_comes_first_and_what_has_left_the_view_is_not_made(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    gated = Gated(NEAR)
    run = DemandRun(plan, lambda: gated)
    west, south, east, north = find_bounds("town", plan.source.geobox)
    with run.working():
        run.look((west, south, east, north))
        told = wait_until(run, lambda d: d.busy == plan.chunks_at_once)
        rows, cols = plan.tiles.chunk_shape
        assert all(abs(row - (rows - 1) / 2) <= 1.5 and abs(col - (cols - 1) / 2) <= 1.5 for row, col in run._busy)
        assert told.waiting == told.chunks - told.busy
        run.look((west - 2, south, west - 1, north))
        assert run.tell().waiting == 0
        gated.gate.set()
        told = wait_until(run, lambda d: d.busy == 0)
    assert told.done == plan.chunks_at_once == gated.calls


def test_from_far_away_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_AT_ONCE", 4)
    plan = plan_of(tmp_path)
    with (run := DemandRun(plan, always(NEAR))).working():
        run.look(find_bounds("town", plan.source.geobox))
        told = run.tell()
    assert told.is_far
    assert (told.in_view, told.waiting, told.busy, told.done) == (told.chunks, 0, 0, 0)


def test_large_tiles_are_far_sooner_and_those_at_a_corner_never(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PX", 1)
    plan = plan_of(tmp_path)
    with (run := DemandRun(plan, always(NEAR))).working():
        run.look(find_bounds("town", plan.source.geobox))
        assert run.tell().is_far
        run.look(corner_of(plan))
        assert not run.tell().is_far


def test_a_tile_that_fails_is_tried_three_times_and_its_error_is_told(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    failing = Logged(NEAR, tmp_path / "calls", fails_from=0)
    with (run := DemandRun(plan, always(failing))).working():
        run.look(corner_of(plan))
        told = wait_until(run, lambda d: d.error is not None and d.waiting + d.busy == 0)
        run.look(corner_of(plan))
        assert run.tell().waiting == 0
    assert "the power is out" in told.error
    assert told.done == 0


def test_a_folder_is_one_maps_at_a_time(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    with DemandRun(plan, always(NEAR)).working(), pytest.raises(RunFolderError, match="Another geoseg command"):
        DemandRun(plan, always(NEAR)).working().__enter__()
