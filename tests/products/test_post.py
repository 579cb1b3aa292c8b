"""Post-processing by name: in order, in metres, whatever the blocks; and refused before any work where it does not fit."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from scipy.ndimage import label

from geoseg.config import make_config
from geoseg.errors import ConfigError, RunFolderError
from geoseg.inference.planning import plan_run
from geoseg.model.predictor import NeighborhoodPredictor
from geoseg.pipeline import segment_raster
from geoseg.pixels.classes import NODATA_CLASS, ClassScheme, LandClass
from geoseg.pixels.filters import smooth_classes, take_majority
from geoseg.products import post
from geoseg.products.post import ClassRaster, apply_steps
from geoseg.redo import redo_objects
from geoseg.runfolder.verify import verify_run
from tests.doubles import CRS, TRANSFORM, always, configure, draw_blobs, read_all, read_band, write_package, write_raster

SCHEME = ClassScheme(classes=tuple(LandClass(value=v, name=n, color="#102030") for v, n in ((0, "water"), (1, "house"), (4, "check"))))
ALL: list[dict[str, Any]] = [
    {"step": "smooth", "radius_m": 1},
    {"step": "majority", "radius_m": 1.2},
    {"step": "opening", "name": "house", "radius_m": 1},
    {"step": "closing", "name": "house", "radius_m": 0.5},
    {"step": "sieve", "min_area_m2": 20},
    {"step": "enclosed", "name": "house", "inside": "water", "becomes": "check"},
    {"step": "merge", "classes": ["check"], "into": "water"},
]


def steps(*rows: dict[str, Any]) -> Any:
    return make_config({"raster": "a.tif", "output": "out", "post": rows}).post


def draw(folder: Path, classes: np.ndarray, probabilities: np.ndarray | None = None) -> ClassRaster:
    write_raster(folder / "classes.tif", classes[None], nodata=NODATA_CLASS)
    if probabilities is not None:
        write_raster(folder / "probabilities.tif", probabilities, nodata=NODATA_CLASS)
    stored = None if probabilities is None else folder / "probabilities.tif"
    return ClassRaster(classes=folder / "classes.tif", probabilities=stored, geobox=GeoBox(classes.shape, TRANSFORM, CRS), scheme=SCHEME)


@pytest.mark.parametrize("count", range(1, len(ALL) + 1))
def test_the_result_does_not_depend_on_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    rng = np.random.default_rng(count)
    stored = rng.integers(0, 251, (3, 70, 90)).astype(np.uint8)
    stored[:, :9, :40] = NODATA_CLASS
    raster = draw(tmp_path, np.where(stored[0] == NODATA_CLASS, NODATA_CLASS, 0).astype(np.uint8), stored)
    results = []
    for block_px in (1024, 17):
        monkeypatch.setattr(post, "_BLOCK_PX", block_px)
        made = apply_steps(raster, steps(*ALL[:count]), tmp_path)
        results.append(read_band(made))
        made.unlink()
    np.testing.assert_array_equal(*results)
    assert ((results[0] == NODATA_CLASS) == (stored[0] == NODATA_CLASS)).all()
    # nothing is left of what lay between
    assert {path.name for path in tmp_path.iterdir()} == {"classes.tif", "probabilities.tif"}


def test_steps_are_done_in_order_and_lengths_are_metres(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    stored = rng.integers(0, 251, (3, 40, 50)).astype(np.uint8)
    raster = draw(tmp_path, np.zeros((40, 50), np.uint8), stored)
    # pixels of half a metre
    made = read_band(apply_steps(raster, steps({"step": "smooth", "radius_m": 1}, {"step": "majority", "radius_m": 1}), tmp_path))
    np.testing.assert_array_equal(made, take_majority(smooth_classes(stored, SCHEME.values, 1 / 0.5000361), SCHEME.values, 2))


def test_small_patches_and_houses_in_water_are_replaced(tmp_path: Path) -> None:
    classes = np.full((40, 60), 0, np.uint8)
    classes[5:15, 5:15] = 1
    classes[20:22, 20:22] = 1
    classes[:, 40:] = 4
    classes[30:36, 36:46] = 1
    raster = draw(tmp_path, classes)
    sieved = read_band(apply_steps(raster, steps({"step": "sieve", "min_area_m2": 2}), tmp_path))
    assert label(sieved == 1)[1] == 2
    enclosed = {"step": "enclosed", "name": "house", "inside": "water", "becomes": "check"}
    made = read_band(apply_steps(raster, steps(enclosed), tmp_path))
    assert (made[5:15, 5:15] == 4).all()
    assert (made[20:22, 20:22] == 4).all()
    # ten of its 32 edges are to another class: on the shore
    assert (made[30:36, 36:46] == 1).all()
    half = read_band(apply_steps(raster, steps({**enclosed, "min_share": 0.4}), tmp_path))
    assert not (half == 1).any()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    return write_raster(folder / "blobs.tif", draw_blobs(150, 200, corner=60), nodata=0), write_package(folder / "double")


def test_a_run_writes_the_processed_map_whatever_its_chunks_and_goes_on_only_under_the_same_steps(
    inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    rows = [{"step": "majority", "radius_m": 2}, {"step": "sieve", "min_area_m2": 30}]
    asked = {"post": rows, "outputs": ("classes", "confidence", "evidence", "landcover", "buildings", "panoptic")}
    load = always(NeighborhoodPredictor(spec=plan_run(configure(*inputs, tmp_path / "a")).package.spec, radius_px=1))
    plain = segment_raster(configure(*inputs, tmp_path / "plain"), load=load)
    runs = [segment_raster(configure(*inputs, tmp_path / str(size), chunk_size=size, **asked), load=load) for size in (64, 200)]
    np.testing.assert_array_equal(*(read_all(run / "classes.tif") for run in runs))
    assert 0 < (read_band(plain / "classes.tif") != read_band(runs[0] / "classes.tif")).mean() < 0.3
    assert not verify_run(runs[0]).failed
    recorded = tomllib.loads((runs[0] / "run.toml").read_text())["run"]["post"]
    assert recorded == [rows[0] | {"radius_m": 2.0}, rows[1] | {"min_area_m2": 30.0, "connectivity": 4}]
    with pytest.raises(RunFolderError, match="post was"):
        segment_raster(configure(*inputs, tmp_path / "64", chunk_size=64, **{**asked, "post": rows[:1]}), load=load)
    before = json.loads((runs[0] / "summary.json").read_text())["classes"]
    redo_objects(runs[0], {"buildings": {"min_area_m2": 60}})
    assert json.loads((runs[0] / "summary.json").read_text())["classes"] == before


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"step": "opening", "name": "biulding", "radius_m": 1}, r"Step 1 of post \(opening\) names the class 'biulding'.*'building'"),
        ({"step": "smooth", "radius_m": 1}, "is made from probabilities"),
        ({"step": "majority", "radius_m": 0.1}, r"radius of 0\.1 m, which is 0\.2 pixels of 0\.5 m"),
        ({"step": "majority", "radius_m": 500}, "which is 1e.03 pixels"),
        ({"step": "majorty", "radius_m": 5}, "'majority', 'opening'"),
    ],
)
def test_steps_that_do_not_fit_are_refused_before_any_work(
    inputs: tuple[Path, Path], tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_run(configure(*inputs, tmp_path / "out", post=[row]))
