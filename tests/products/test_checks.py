"""Rules single out features for a person to look at, and change nothing else."""

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize

from geoseg.checkrules import CheckRule
from geoseg.config import make_config
from geoseg.errors import ConfigError
from geoseg.events import Finished
from geoseg.inference.planning import plan_run
from geoseg.model.predictor import double_spec
from geoseg.pipeline import segment_raster
from geoseg.pixels.classes import ClassKind, ClassScheme, LandClass
from geoseg.products import zonal
from geoseg.products.checks import mark_features
from geoseg.redo import redo_objects
from geoseg.runfolder.verify import verify_run
from tests.doubles import CRS, TRANSFORM, Copying, Listening, always, configure, read_layer, write_package, write_raster

SCHEME = ClassScheme(
    classes=(
        LandClass(value=0, name="land", color="#102030"),
        LandClass(value=2, name="water", color="#1020f0"),
        LandClass(value=1, name="building", color="#f02030", kind=ClassKind.BUILDING),
    )
)
HALF = 40
"""Water begins at this column."""


def scene() -> tuple[np.ndarray, list[shapely.Polygon]]:
    """Two buildings on land, two in the water that share a wall, one across the shore; pixels."""
    boxes = [(5, 5, 15, 15), (5, 40, 9, 44), (60, 10, 70, 20), (70, 10, 80, 20), (HALF - 7, 60, HALF + 5, 70)]
    classes = np.zeros((90, 90), np.uint8)
    classes[:, HALF:] = 2
    for left, top, right, bottom in boxes:
        classes[top:bottom, left:right] = 1
    return classes, [shapely.box(*box) for box in boxes]


def table_of(shapes: list[shapely.Polygon], geobox: GeoBox) -> gpd.GeoDataFrame:
    placed = [shapely.transform(shape, lambda p: np.column_stack(geobox.transform @ (p[:, 0], p[:, 1]))) for shape in shapes]
    areas = [shape.area / 4 for shape in shapes]
    return gpd.GeoDataFrame({"area_m2": areas, "score": [0.9, 0.6, 0.9, 0.9, 0.9]}, geometry=placed, crs=CRS)


def rule(**fields: Any) -> CheckRule:
    return CheckRule.model_validate({"name": "odd", **fields})


@pytest.mark.parametrize("block_px", [1024, 13])
def test_a_building_in_water_stands_out_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch, block_px: int) -> None:
    monkeypatch.setattr(zonal, "_BLOCK_PX", block_px)
    classes, shapes = scene()
    geobox = GeoBox(classes.shape, TRANSFORM, CRS)
    rules = (
        rule(name="building in water", surrounded_by="water"),
        rule(name="small", smaller_m2=10),
        rule(name="wet", surrounded_by="water", min_share=0.4),
    )
    marked, found = mark_features(table_of(shapes, geobox), rules, lambda w: classes[w.toslices()], SCHEME, geobox)
    assert marked["check"].tolist() == ["", "small", "building in water; wet", "building in water; wet", "wet"]
    assert found == {"building in water": 2, "small": 1, "wet": 3}


def test_all_that_a_rule_says_must_be_true() -> None:
    classes, shapes = scene()
    geobox = GeoBox(classes.shape, TRANSFORM, CRS)
    rules = (rule(name="doubtful", smaller_m2=10, score_below=0.7), rule(name="neither", larger_m2=10, score_below=0.7))
    marked, found = mark_features(table_of(shapes, geobox), rules, lambda w: classes[w.toslices()], SCHEME, geobox)
    assert marked["check"].tolist() == ["", "doubtful", "", "", ""]
    assert found == {"doubtful": 1, "neither": 0}


def test_what_lies_around_is_measured_in_metres_on_the_ground_in_degrees() -> None:
    # 60 degrees north: a degree of longitude is half as long
    transform = Affine(1e-5, 0, 20, 0, -5e-6, 60)
    classes = np.zeros((80, 80), np.uint8)
    classes[30:50, 30:50] = 1
    classes[:, 56:] = 2
    geobox = GeoBox(classes.shape, transform, "EPSG:4326")
    house = shapely.box(30, 30, 50, 50)
    placed = shapely.transform(house, lambda p: np.column_stack(transform @ (p[:, 0], p[:, 1])))
    table = gpd.GeoDataFrame({"area_m2": [1.0], "score": [1.0]}, geometry=[placed], crs="EPSG:4326")
    # pixels are 0.558 m: the water begins 3.3 m east of the wall
    for around_m, is_near in ((3.0, False), (4.0, True)):
        rules = (rule(surrounded_by="water", around_m=around_m, min_share=0.01),)
        assert mark_features(table, rules, lambda w: classes[w.toslices()], SCHEME, geobox)[1] == {"odd": int(is_near)}


def test_roads_are_looked_at_beside_their_width() -> None:
    line = shapely.LineString([(5, 45), (85, 45)])
    classes = np.full((90, 90), 2, np.uint8)
    classes[rasterize([line.buffer(4)], classes.shape) == 1] = 0
    geobox = GeoBox(classes.shape, TRANSFORM, CRS)
    placed = shapely.transform(line, lambda p: np.column_stack(geobox.transform @ (p[:, 0], p[:, 1])))
    for width_m, count in ((4.0, 1), (1.0, 0)):
        table = gpd.GeoDataFrame({"score": [0.9], "width_m": [width_m]}, geometry=[placed], crs=CRS)
        rules = (rule(layer="roads", surrounded_by="water", around_m=1, min_share=0.9),)
        assert mark_features(table, rules, lambda w: classes[w.toslices()], SCHEME, geobox)[1] == {"odd": count}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checks")
    classes, _ = scene()
    raster = write_raster(folder / "image.tif", np.repeat((classes == 1).astype(np.uint8)[None], 3, axis=0))
    (folder / "run.toml").write_text('[[run.checks]]\nname = "small"\nsmaller_m2 = 10\n\n[run.objects.buildings]\nmin_area_m2 = 1\n')
    given = {"raster": str(raster), "model": str(write_package(folder / "model")), "output": folder / "run"}
    return segment_raster(make_config(given, folder / "run.toml"), load=always(Copying(double_spec())))


def test_a_run_fills_the_column_and_counts(run: Path) -> None:
    table = read_layer(run, "buildings")
    assert sorted(table["check"].fillna("")) == ["", "", "", "small"]
    assert json.loads((run / "summary.json").read_text())["counts"]["check: small"] == 1
    assert not verify_run(run).failed
    heard = Listening()
    segment_raster(make_config({}, run / "run.toml"), heard, load=always(Copying(double_spec())))
    assert [type(event) for event in heard] == [Finished]
    redo_objects(run, {"buildings": {"min_area_m2": 10}})
    assert (read_layer(run, "buildings")["check"].fillna("") == "").all()
    assert json.loads((run / "summary.json").read_text())["counts"]["check: small"] == 0


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([{"name": "a"}], "a rule needs surrounded_by"),
        ([{"name": "a", "layer": "roads", "larger_m2": 4}], "roads have no area"),
        ([{"name": "a", "surrounded_by": "grond"}], "did you mean 'ground'"),
        ([{"name": "a", "score_below": 0.5}] * 2, "the name of an earlier one"),
        ([{"name": "a", "score_below": 0.5, "layer": "roads"}], "not among the outputs"),
    ],
)
def test_rules_that_cannot_be_looked_at_are_refused_before_any_work(tmp_path: Path, rules: list[dict[str, Any]], message: str) -> None:
    raster = write_raster(tmp_path / "image.tif", np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(ConfigError, match=message):
        plan_run(configure(raster, write_package(tmp_path / "model"), tmp_path / "run", checks=rules, outputs=("classes", "buildings")))
