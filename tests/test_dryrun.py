"""The dry run: numbers, and nothing written."""

from dataclasses import replace
from pathlib import Path

import pytest

from geoseg.config import RunConfig
from geoseg.dryrun import estimate
from geoseg.errors import MissingFileError
from geoseg.model.package import write_card
from geoseg.model.predictor import ConstantPredictor, double_spec
from tests.doubles import Logged, always, configure, contents, draw_blobs, write_package, write_raster

CONSTANT = ConstantPredictor(spec=double_spec())


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    raster = write_raster(tmp_path / "blobs.tif", draw_blobs(200, 300))
    return configure(raster, write_package(tmp_path / "package"), tmp_path / "out", chunk_size=64)


def test_nothing_is_written(config: RunConfig, tmp_path: Path) -> None:
    before = contents(tmp_path)
    estimate(config, always(CONSTANT))
    assert contents(tmp_path) == before


def test_the_rows_tell_what_a_run_would_take(config: RunConfig) -> None:
    rows = dict(estimate(config, always(CONSTANT)).rows())
    assert rows["model"] == "double 1"
    assert rows["grid"].startswith("300 x 200 px of 0.5 m")
    # (208 - 64) / 32 and (304 - 64) / 32 steps, rounded up, and the first tile
    assert rows["tiles"] == "54 of 64 x 64 px, halo 16 px"
    assert rows["chunks"].startswith("15 of up to 2 x 2 tiles")
    assert rows["halo work"] == f"{54 * 64 * 64 / (200 * 300):.2f} x the raster's pixels"
    assert rows["memory"].endswith("GB")
    assert rows["disk"].startswith("0 MB")
    assert " s for inference" in rows["time"]


def test_a_plan_warns_of_pixels_that_are_too_coarse(config: RunConfig, tmp_path: Path) -> None:
    spec = double_spec().model_copy(update={"coarsest_m": 0.4})
    write_card(tmp_path / "package", spec)
    rows = dict(estimate(config, always(ConstantPredictor(spec=spec))).rows())
    assert "has pixels of 0.5 m on the ground; model 'double' knows up to 0.4 m" in rows["warning"]


def test_workers_are_told_that_one_scheduler_keeps_busy(config: RunConfig) -> None:
    made = estimate(config, always(CONSTANT))
    assert replace(made, tile_s=0.01).most_workers == 15, "no more than chunks"
    # 54 tiles in 15 chunks, and 2 ms of the scheduler for each chunk
    assert replace(made, tile_s=0.002).most_workers == int(0.002 * 54 / 15 / 0.002)
    assert replace(made, tile_s=1e-9).most_workers == 1
    assert dict(made.rows())["cluster"].startswith(f"up to {made.most_workers} workers")


def test_the_time_is_that_of_a_few_tiles_for_all_of_them(config: RunConfig, tmp_path: Path) -> None:
    logged = Logged(CONSTANT, tmp_path / "calls")
    made = estimate(config, always(logged))
    assert 2 <= logged.calls <= 8
    assert made.tile_s > 0
    assert made.inference_s == pytest.approx(made.tile_s * 54)


@pytest.mark.parametrize("shape", [(1, 1), (40, 40), (30, 500)])
def test_a_raster_of_any_shape_can_be_planned(config: RunConfig, tmp_path: Path, shape: tuple[int, int]) -> None:
    raster = write_raster(tmp_path / "odd.tif", draw_blobs(*shape))
    assert estimate(config.model_copy(update={"raster": str(raster)}), always(CONSTANT)).tile_s > 0


def test_a_raster_that_is_not_there_is_named(config: RunConfig) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.tif"):
        estimate(config.model_copy(update={"raster": "nowhere.tif"}), always(CONSTANT))
