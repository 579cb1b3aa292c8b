"""Water in pixels and in polygons: the same answers, and more water never floods less."""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.errors import MissingFileError, RunFolderError, UsageError
from geoseg.impact import pixelflood
from geoseg.impact.flood import FLOODED, PERMANENT, UNKNOWN, cut_into_segments
from geoseg.impact.houses import measure_buildings
from geoseg.impact.metric import find_metric_crs
from geoseg.impact.opening import open_flood, read_features, read_polygons
from geoseg.impact.options import FloodInput, ImpactOptions
from geoseg.impact.pixelflood import PixelFlood, WaterRule
from geoseg.impact.shapeflood import make_shape_flood
from tests.doubles import CRS, ArraySource, write_raster

GRID = Affine(5, 0, 337_200, 0, -5, 3_058_800)
SHAPE = (12, 14)
BINARY = WaterRule(path="water.tif", values=None, nodata=None)
STATES = st.sampled_from([0, 1])


def pixel_flood(water: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None) -> PixelFlood:
    raster = ArraySource(pixels=water[None], valid=np.ones(water.shape, bool) if valid is None else valid)
    return PixelFlood(name="water", raster=raster, geobox=GeoBox(water.shape, GRID, CRS), rule=BINARY)  # type: ignore[arg-type]


def ground(shape: shapely.Geometry) -> shapely.Geometry:
    """Place a shape in pixels on the ground."""
    return shapely.transform(shape, lambda points: np.column_stack(GRID @ tuple(points.T)))


HOUSES = np.array(
    [ground(shapely.affinity.rotate(shapely.box(x, y, x + 2.3, y + 1.7), 20 * x)) for x in range(1, 12, 3) for y in range(1, 10, 3)], object
)
PATHS = ([(0, 0.5), (6.2, 7), (13, 3)], [(2.25, 11), (2.25, 0)], [(-3, 5), (17, 5.5)])
LINES = np.array([ground(shapely.LineString(p)) for p in PATHS], object)


@settings(max_examples=15, deadline=None)
@given(arrays(np.uint8, SHAPE, elements=STATES))
def test_pixels_and_polygons_give_the_same_areas_and_stretches(water: NDArray[np.uint8]) -> None:
    pixels = pixel_flood(water)
    drawn = next(iter(pixels.patches()))
    shapes = make_shape_flood("water", pixels.crs, shapely.union_all(drawn.geometry.to_numpy()), None)
    if water.any():
        one, other = pixels.measure(HOUSES), shapes.measure(HOUSES)
        assert one.flooded_m2 == pytest.approx(other.flooded_m2, abs=0.05)
        segments = cut_into_segments(LINES[:2], pixels.crs)
        found, expected = pixels.cut(segments), shapes.cut(segments)
        assert found.sum_m(2) == pytest.approx(expected.sum_m(2), abs=1e-3)
        assert found.longest_m(2) == pytest.approx(expected.longest_m(2), abs=1e-3)


@settings(max_examples=15, deadline=None)
@given(arrays(np.uint8, SHAPE, elements=STATES), arrays(np.uint8, SHAPE, elements=STATES))
def test_more_water_never_floods_fewer_buildings_or_less_road(water: NDArray[np.uint8], more: NDArray[np.uint8]) -> None:
    table = gpd.GeoDataFrame(geometry=HOUSES, crs=CRS)
    segments = cut_into_segments(LINES, CRS)
    less, worse = pixel_flood(water), pixel_flood(water | more)
    states = [measure_buildings(table, flood, ImpactOptions(), CRS)["state"].to_numpy() == "flooded" for flood in (less, worse)]  # type: ignore[arg-type]
    assert (states[0] <= states[1]).all()
    lengths = [flood.cut(segments).of(FLOODED) for flood in (less, worse)]
    assert (lengths[0].sum_m(3) <= lengths[1].sum_m(3) + 1e-6).all()
    assert (lengths[0].longest_m(3) <= lengths[1].longest_m(3) + 1e-6).all()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    water = (np.random.default_rng(3).random(SHAPE) < 0.6).astype(np.uint8)
    segments = cut_into_segments(LINES, CRS)
    whole = pixel_flood(water).cut(segments)
    shores = np.concatenate(list(pixel_flood(water).shores(1e-9)))
    monkeypatch.setattr(pixelflood, "_BLOCK_PX", 5)
    parts = pixel_flood(water).cut(segments)
    assert parts.line.tolist() == whole.line.tolist()
    assert parts.from_m == pytest.approx(whole.from_m)
    assert parts.to_m == pytest.approx(whole.to_m)
    small = np.concatenate(list(pixel_flood(water).shores(1e-9)))
    assert set(map(tuple, small.round(3))) == set(map(tuple, shores.round(3)))


def test_what_lies_outside_the_raster_or_without_data_is_unknown() -> None:
    valid = np.ones(SHAPE, bool)
    valid[:, :4] = False
    flood = pixel_flood(np.ones(SHAPE, np.uint8), valid)
    segments = cut_into_segments(LINES[2:], CRS)
    found = flood.cut(segments)
    # 3 px left of it, 4 px without data, 10 px of water, 3 px right of it
    assert found.state.tolist() == [UNKNOWN, FLOODED, UNKNOWN]
    total = segments.length_m.sum()
    assert (found.to_m - found.from_m) / total == pytest.approx([7 / 20, 10 / 20, 3 / 20])
    house = np.array([ground(shapely.box(3, 2, 5, 3)), ground(shapely.box(13, 2, 15, 3))], object)
    areas = flood.measure(house)
    assert areas.unknown_m2 / areas.whole_m2 == pytest.approx([0.5, 0.5], abs=1e-3)
    assert areas.flooded_m2 / areas.whole_m2 == pytest.approx([0.5, 0.5], abs=1e-3)


def test_water_of_before_is_permanent_and_unknown_where_before_has_no_data(tmp_path: Path) -> None:
    after, before = np.ones((1, *SHAPE), np.uint8), np.zeros((1, *SHAPE), np.uint8)
    after[0, 0] = 0
    before[0, :, :5], before[0, :, 9:] = 1, 9
    write_raster(tmp_path / "after.tif", after, transform=GRID, crs=CRS)
    write_raster(tmp_path / "before.tif", before, transform=GRID, crs=CRS, nodata=9)
    with open_flood(FloodInput(path=tmp_path / "after.tif", before=tmp_path / "before.tif")) as flood:
        states = flood.read(Window(0, 0, SHAPE[1], SHAPE[0]))  # type: ignore[attr-defined]
    assert (states[0] == 0).all(), "dry is dry, whatever was before"
    assert np.unique(states[1:], axis=0).tolist() == [[PERMANENT] * 5 + [FLOODED] * 4 + [UNKNOWN] * 5]
    wet = gpd.GeoDataFrame(geometry=[ground(shapely.box(0, 1, 14, 12))], crs=CRS)
    wet.to_file(tmp_path / "after.gpkg")
    with open_flood(FloodInput(path=tmp_path / "after.gpkg", before=tmp_path / "before.tif")) as flood:
        drawn = next(iter(flood.patches())).dissolve("state").area
    assert (drawn / 25).to_dict() == pytest.approx({"flooded": 44, "permanent": 55, "unknown": 55}, rel=1e-6)
    wet.to_file(tmp_path / "before.gpkg")
    with open_flood(FloodInput(path=tmp_path / "after.tif", before=tmp_path / "before.gpkg")) as flood:
        states = flood.read(Window(0, 0, SHAPE[1], SHAPE[0]))  # type: ignore[attr-defined]
    assert (states[1:] == PERMANENT).all()


def test_water_is_named_by_class_value_or_depth(tmp_path: Path) -> None:
    classes = np.arange(SHAPE[0] * SHAPE[1], dtype=np.int16).reshape(1, *SHAPE) % 3
    write_raster(tmp_path / "classes.tif", classes, transform=GRID, crs=CRS)
    whole = Window(0, 0, SHAPE[1], SHAPE[0])
    with open_flood(FloodInput(path=tmp_path / "classes.tif", water="2", nodata=1)) as flood:
        states = flood.read(whole)  # type: ignore[attr-defined]
    assert np.array_equal(states, np.array([0, UNKNOWN, FLOODED])[classes[0]])
    with open_flood(FloodInput(path=tmp_path / "classes.tif")) as flood, pytest.raises(UsageError, match="holds 1, 2 beside 0"):
        flood.read(whole)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="no class 'lake'"), open_flood(FloodInput(path=tmp_path / "classes.tif", water="lake")):
        pass
    depth = np.where(classes == 2, 0.3, -0.1).astype(np.float32)
    write_raster(tmp_path / "depth.tif", depth, transform=GRID, crs=CRS)
    with open_flood(FloodInput(path=tmp_path / "depth.tif")) as flood:
        assert np.array_equal(flood.read(whole) == FLOODED, classes[0] == 2)  # type: ignore[attr-defined]
    named = FloodInput(path=tmp_path / "depth.tif", water="2")
    with open_flood(named) as flood, pytest.raises(UsageError, match=r"holds fractions, such as -0\.1, which are depths or shares"):
        flood.read(whole)  # type: ignore[attr-defined]
    whole_numbers = write_raster(tmp_path / "whole.tif", classes.astype(np.float32), transform=GRID, crs=CRS)
    with open_flood(FloodInput(path=whole_numbers, water="2")) as flood:
        assert np.array_equal(flood.read(whole) == FLOODED, classes[0] == 2)  # type: ignore[attr-defined]


def write_run(folder: Path) -> Path:
    """As much of a finished run as a flood needs."""
    folder.mkdir()
    kinds = (("land", "surface"), ("water", "surface"), ("building", "building"))
    rows = [{"value": value, "name": name, "color": "#102030", "kind": kind} for value, (name, kind) in enumerate(kinds)]
    told = {"classes": rows, "counts": {}, "timing_s": {}}
    (folder / "summary.json").write_text(json.dumps(told))
    classes = np.ones((1, *SHAPE), np.uint8)
    # a house whose roof hides the water
    classes[0, 4:8, 4:8] = 2
    write_raster(folder / "classes.tif", classes, transform=GRID, crs=CRS)
    house = gpd.GeoDataFrame({"instance_id": [1]}, geometry=[ground(shapely.box(4, 4, 8, 8))], crs=CRS)
    house.to_file(folder / "features.gpkg", layer="buildings")
    return folder


def test_a_roof_in_water_is_flooded_though_it_hides_the_water(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with open_flood(FloodInput(path=run)) as flood:
        table = read_polygons(run, "buildings", flood.crs)
        metric = find_metric_crs(flood.bounds, flood.crs)
        found = measure_buildings(table, flood, ImpactOptions(), metric).iloc[0]
        bare = measure_buildings(table, flood, ImpactOptions(around_m=0), metric).iloc[0]
        shores = list(flood.shores(1.0))
    assert (found["state"], bare["state"]) == ("flooded", "dry")
    assert found["flooded_share"] == 0
    # the water does not end at the house
    assert shores == []
    assert found["around_share"] == pytest.approx(1)
    with pytest.raises(UsageError, match="made no roads"):
        read_features(run, "roads", CRS)
    with pytest.raises(UsageError, match="classes land, water, building"), open_flood(FloodInput(path=run, water="mud")):
        pass


def test_a_run_that_is_not_finished_is_no_flood_and_has_no_buildings(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    told = json.loads((run / "summary.json").read_text()) | {"quick": {"state": "refining"}}
    (run / "summary.json").write_text(json.dumps(told))
    for _ in ("first map", "cut off"):
        with pytest.raises(RunFolderError, match="is not finished"), open_flood(FloodInput(path=run)):
            pass
        with pytest.raises(RunFolderError, match="is not finished"):
            read_polygons(run, "buildings", CRS)
        (run / "run.toml").touch()
        (run / "summary.json").unlink(missing_ok=True)


def test_files_that_hold_no_water_are_named(tmp_path: Path) -> None:
    gpd.GeoDataFrame({"class": ["a"]}, geometry=[shapely.Point(337_210, 3_058_790)], crs=CRS).to_file(tmp_path / "points.gpkg")
    with pytest.raises(UsageError, match="holds no polygon"), open_flood(FloodInput(path=tmp_path / "points.gpkg")):
        pass
    with pytest.raises(MissingFileError, match="There is no vector file"), open_flood(FloodInput(path=tmp_path / "none.gpkg")):
        pass
    with pytest.raises(UsageError, match="1 features and no polygon"):
        read_polygons(tmp_path / "points.gpkg", "buildings", CRS)


def test_large_polygons_are_cut_without_losing_any_area() -> None:
    angle = np.linspace(0, 2 * np.pi, 3000)[:-1]
    radius = 100 + 20 * np.sin(40 * angle)
    star = shapely.Polygon(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]) + np.array([337_200, 3_058_800]))
    flood = make_shape_flood("star", CRS, star, None)
    assert len(flood.parts) > 4
    assert shapely.get_num_coordinates(flood.parts).max() <= 512
    assert shapely.area(flood.parts).sum() == pytest.approx(star.area, rel=1e-9)


def test_beyond_what_was_looked_at_nothing_is_known(tmp_path: Path) -> None:
    gpd.GeoDataFrame(geometry=[ground(shapely.box(0, 0, 6, 12))], crs=CRS).to_file(tmp_path / "area.gpkg")
    gpd.GeoDataFrame(geometry=[ground(shapely.box(3, 0, 14, 12))], crs=CRS).to_file(tmp_path / "water.gpkg")
    write_raster(tmp_path / "water.tif", (np.arange(14) >= 3).astype(np.uint8)[None, None].repeat(12, 1), transform=GRID, crs=CRS)
    house = np.array([ground(shapely.box(2, 2, 10, 4))], object)
    segments = cut_into_segments(np.array([ground(shapely.LineString([(2, 3.5), (10, 3.5)]))], object), CRS)
    for name in ("water.gpkg", "water.tif"):
        with open_flood(FloodInput(path=tmp_path / name, area=tmp_path / "area.gpkg")) as flood:
            areas, found = flood.measure(house), flood.cut(segments)
        assert areas.flooded_m2 / areas.whole_m2 == pytest.approx([3 / 8], abs=1e-3)
        assert areas.unknown_m2 / areas.whole_m2 == pytest.approx([4 / 8], abs=1e-3)
        assert found.state.tolist() == [FLOODED, UNKNOWN]
        assert found.to_m - found.from_m == pytest.approx([15, 20], abs=0.05)


def test_beyond_a_coast_of_many_corners_nothing_is_known_and_it_is_indexed() -> None:
    angle = np.linspace(0, 2 * np.pi, 2000)[:-1]
    radius = 5 + 0.2 * np.sin(60 * angle)
    seen = ground(shapely.Polygon(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]) + 5))
    water = ground(shapely.box(0, 0, 14, 12))
    flood = make_shape_flood("coast", CRS, water, None, seen)
    houses = np.array([ground(shapely.box(x, 4, x + 2, 6)) for x in (4, 9, 20)], object)
    areas = flood.measure(houses)
    unknown = shapely.area(shapely.difference(houses, seen)) / shapely.area(houses)
    assert unknown[1] == pytest.approx(0.5, abs=0.1)
    assert areas.unknown_m2 / areas.whole_m2 == pytest.approx(unknown, abs=1e-6)
    assert areas.flooded_m2 / areas.whole_m2 == pytest.approx(1 - unknown, abs=1e-6)
    # else every house and line would look at all corners
    assert shapely.is_prepared(flood.seen)
