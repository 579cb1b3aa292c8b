"""Input as people have it: spikes, capitals, depths from before, short lines, places far off, folders with files of their own."""

from itertools import pairwise
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine

from geoseg.errors import RasterError, RunFolderError, UsageError
from geoseg.impact.files import check_output
from geoseg.impact.measure import measure_impact
from geoseg.impact.options import FloodInput, ImpactInputs, ImpactOptions
from tests.doubles import CRS, write_raster

LEFT, BOTTOM = 337_000.0, 3_058_000.0
GRID = Affine(1, 0, LEFT, 0, -1, BOTTOM + 100)
WET, DRY = (210, 40, 220, 50), (10, 40, 20, 50)
"""Houses as boxes; water stands from 200 to 260 m."""


def on_ground(shape: shapely.Geometry) -> shapely.Geometry:
    return shapely.transform(shape, lambda points: points + np.array([LEFT, BOTTOM]))


def write_shapes(path: Path, *shapes: shapely.Geometry, **columns: list[object]) -> Path:
    gpd.GeoDataFrame(columns, geometry=[on_ground(shape) for shape in shapes], crs=CRS).to_file(path)
    return path


@pytest.fixture
def flood(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "flood.tif", draw_water(), transform=GRID, crs=CRS)


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    return write_shapes(tmp_path / "houses.gpkg", shapely.box(*WET), shapely.box(*DRY))


def draw_water() -> np.ndarray:
    water = np.zeros((1, 100, 400), np.uint8)
    water[0, :, 200:260] = 1
    return water


def states(inputs: ImpactInputs, **options: float) -> list[str]:
    return measure_impact(inputs, options=ImpactOptions(**options)).buildings["state"].tolist()


def test_depths_from_before_are_water_of_before(tmp_path: Path, houses: Path) -> None:
    now, then = draw_water() * np.float32(0.8), draw_water() * np.float32(0.3)
    then[0, 40:60, 215:] = np.nan
    write_raster(tmp_path / "now.tif", now, transform=GRID, crs=CRS)
    write_raster(tmp_path / "then.tif", then, transform=GRID, crs=CRS)
    found = measure_impact(ImpactInputs(flood=FloodInput(path=tmp_path / "now.tif", before=tmp_path / "then.tif"), buildings=houses))
    # half of the wet house lies where nothing is known of before
    assert found.buildings["permanent_share"].tolist() == [0.5, 0]
    assert found.buildings["unknown_share"].tolist() == [0.5, 0]


def test_features_without_a_shape_are_left_out_and_counted(tmp_path: Path, flood: Path) -> None:
    houses = write_shapes(tmp_path / "h.gpkg", shapely.box(*WET), shapely.Polygon())
    lines = gpd.GeoDataFrame(geometry=[on_ground(shapely.LineString([(150, 50), (300, 50)])), None, None], crs=CRS)
    lines.to_file(tmp_path / "r.gpkg")
    found = measure_impact(ImpactInputs(flood=FloodInput(path=flood), buildings=houses, roads=tmp_path / "r.gpkg"))
    assert found.buildings["state"].tolist() == ["flooded"]
    assert found.warnings[:2] == (
        "1 of the 2 features given with --buildings have no polygon and are left out.",
        "2 of the 3 features given with --roads have no line and are left out.",
    )


def test_two_classes_are_refused_also_where_no_block_holds_both(tmp_path: Path) -> None:
    classes = np.zeros((1, 100, 2048), np.uint8)
    classes[0, :, 100:200], classes[0, :, 1500:1600] = 1, 2
    write_raster(tmp_path / "two.tif", classes, transform=GRID, crs=CRS)
    houses = write_shapes(tmp_path / "houses.gpkg", shapely.box(110, 40, 120, 50), shapely.box(1510, 40, 1520, 50))
    with pytest.raises(UsageError, match="holds 1, 2 beside 0"):
        measure_impact(ImpactInputs(flood=FloodInput(path=tmp_path / "two.tif"), buildings=houses))


def test_polygons_with_spikes_are_polygons(tmp_path: Path, flood: Path) -> None:
    spiked = shapely.Polygon([(210, 40), (220, 40), (220, 50), (230, 50), (220, 50), (210, 50)])
    path = write_shapes(tmp_path / "spiked.gpkg", spiked, shapely.box(*DRY))
    assert states(ImpactInputs(flood=FloodInput(path=flood), buildings=path)) == ["flooded", "dry"]
    # as water, too
    assert states(ImpactInputs(flood=FloodInput(path=path), buildings=path)) == ["flooded", "flooded"]


def test_the_class_of_now_counts_before_where_polygons_have_classes(tmp_path: Path, houses: Path) -> None:
    kinds: dict[str, list[object]] = {"class": ["water", "forest"]}
    now = write_shapes(tmp_path / "now.gpkg", shapely.box(200, 0, 260, 100), shapely.box(0, 0, 50, 100), **kinds)
    then = write_shapes(tmp_path / "then.gpkg", shapely.box(200, 0, 205, 100), shapely.box(205, 0, 400, 100), **kinds)
    given = FloodInput(path=now, water="water", before=then)
    assert states(ImpactInputs(flood=given, buildings=houses)) == ["flooded", "dry"]


def test_columns_that_differ_by_capitals_are_both_written(tmp_path: Path, flood: Path) -> None:
    shapes = gpd.GeoDataFrame({"Name": ["a"], "name": ["b"]}, geometry=[on_ground(shapely.box(*WET))], crs=CRS)
    shapes.to_file(tmp_path / "houses.geojson")
    measure_impact(ImpactInputs(flood=FloodInput(path=flood), buildings=tmp_path / "houses.geojson"), tmp_path / "out")
    written = gpd.read_file(tmp_path / "out" / "impact.gpkg", layer="buildings")
    assert written[["Name", "name_2"]].to_numpy().tolist() == [["a", "b"]]


def test_a_road_in_short_lines_is_cut_like_one_in_a_long_line(tmp_path: Path, flood: Path) -> None:
    places = [0, 190, 215, 230, 250, 300]
    lines = [shapely.LineString([(a, 50), (b, 50)]) for a, b in pairwise(places)]
    roads = write_shapes(tmp_path / "roads.gpkg", *lines)
    given = ImpactInputs(flood=FloodInput(path=flood), roads=roads)
    # the longest of them lies 20 m in the water, and all together 60 m
    found = measure_impact(given, options=ImpactOptions(min_cut_m=50))
    assert found.roads["state"].tolist() == ["open", "cut", "cut", "cut", "cut"]
    assert measure_impact(given, options=ImpactOptions(min_cut_m=61)).totals["roads"]["cut"] == 0


def test_a_puddle_on_a_crossroads_is_as_long_as_the_way_through_it(tmp_path: Path) -> None:
    puddle = np.zeros((1, 100, 400), np.uint8)
    puddle[0, 40:60, 90:110] = 1
    write_raster(tmp_path / "puddle.tif", puddle, transform=GRID, crs=CRS)
    arms = [shapely.LineString([(100, 50), end]) for end in ((0, 50), (300, 50), (100, 0), (100, 100))]
    given = ImpactInputs(flood=FloodInput(path=tmp_path / "puddle.tif"), roads=write_shapes(tmp_path / "roads.gpkg", *arms))
    assert measure_impact(given, options=ImpactOptions(min_cut_m=25)).totals["roads"]["cut"] == 0
    assert measure_impact(given, options=ImpactOptions(min_cut_m=19)).totals["roads"]["cut"] == 4


def test_a_single_road_without_height_is_drawn(tmp_path: Path, flood: Path) -> None:
    roads = write_shapes(tmp_path / "roads.gpkg", shapely.LineString([(0, 50), (300, 50)]))
    measure_impact(ImpactInputs(flood=FloodInput(path=flood), roads=roads), tmp_path / "out")
    assert (tmp_path / "out" / "impact.html").exists()


@pytest.mark.parametrize("node", [None, "a"])
def test_lines_of_which_some_name_no_nodes_are_joined_where_they_meet(tmp_path: Path, flood: Path, node: str | None) -> None:
    lines = shapely.LineString([(0, 50), (100, 50)]), shapely.LineString([(100, 50), (180, 50)])
    roads = write_shapes(tmp_path / "roads.gpkg", *lines, from_node=[node, None], to_node=["b", "c"])
    found = measure_impact(ImpactInputs(flood=FloodInput(path=flood), roads=roads))
    assert found.roads["to_node"][0] == found.roads["from_node"][1]


def test_places_far_from_every_road_are_refused_or_left_out(tmp_path: Path, flood: Path) -> None:
    roads = write_shapes(tmp_path / "roads.gpkg", shapely.LineString([(0, 50), (300, 51)]))
    origins = write_shapes(tmp_path / "origins.gpkg", shapely.MultiPoint([(0, 50), (9000, 50)]))
    found = measure_impact(ImpactInputs(flood=FloodInput(path=flood), roads=roads, origins=(origins,)))
    assert "1 of the 2 places" in found.warnings[0]
    # latitude first
    with pytest.raises(UsageError, match="Longitude comes first"):
        measure_impact(ImpactInputs(flood=FloodInput(path=flood), roads=roads, origins=((27.63, 85.34),)))


def test_metres_are_those_of_the_place_however_far_the_flood_reaches(tmp_path: Path, houses: Path) -> None:
    write_raster(tmp_path / "world.tif", np.zeros((1, 18, 36), np.uint8), transform=Affine(10, 0, -180, 0, -10, 90), crs="EPSG:4326")
    roads = write_shapes(tmp_path / "roads.gpkg", shapely.LineString([(0, 0), (300, 0)]))
    found = measure_impact(ImpactInputs(flood=FloodInput(path=tmp_path / "world.tif"), buildings=houses, roads=roads))
    assert found.buildings["road_m"].to_numpy() == pytest.approx([40, 40], abs=0.05)


def test_buildings_that_the_population_does_not_reach_are_said(tmp_path: Path, flood: Path, houses: Path) -> None:
    write_raster(tmp_path / "people.tif", np.ones((1, 100, 100), np.float32), transform=GRID, crs=CRS)
    found = measure_impact(ImpactInputs(flood=FloodInput(path=flood), buildings=houses, population=tmp_path / "people.tif"))
    assert found.buildings["people"].tolist() == [0, 100]
    assert "1 of the 2 buildings lie beyond the population raster" in found.warnings[0]


def test_layers_that_point_elsewhere_are_refused_before_anything_is_opened(
    tmp_path: Path, flood: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = "<OGRVRTLayer name='a'><SrcDataSource>/vsicurl/http://127.0.0.1:9/a.geojson</SrcDataSource></OGRVRTLayer>"
    (tmp_path / "far.vrt").write_text(f"<OGRVRTDataSource>{inner}</OGRVRTDataSource>")
    monkeypatch.setattr("geoseg.io.vector.find_layers", lambda _: pytest.fail("opened"))
    with pytest.raises(RasterError, match="OGRVRTDataSource"):
        measure_impact(ImpactInputs(flood=FloodInput(path=flood), buildings=tmp_path / "far.vrt"))


@pytest.mark.parametrize("classes", ["null", '[{"value": 1}]', "[3]"])
def test_a_run_whose_classes_are_damaged_is_refused(tmp_path: Path, houses: Path, classes: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text(f'{{"classes": {classes}, "counts": {{}}, "timing_s": {{}}}}')
    with pytest.raises(RunFolderError, match="damaged"):
        measure_impact(ImpactInputs(flood=FloodInput(path=tmp_path / "run"), buildings=houses))


def test_files_of_ones_own_are_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "zones.csv").write_text("mine")
    with pytest.raises(UsageError, match=r"zones\.csv"):
        check_output(tmp_path, overwrite=False)
    check_output(tmp_path, overwrite=True)
