"""A drawn valley: flooded houses, cut roads and places cut off are exactly those of the formula that it was drawn by."""

import json
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from PIL import Image
from pyproj import Transformer

from geoseg.errors import UsageError
from geoseg.impact.files import check_output
from geoseg.impact.measure import measure_impact
from geoseg.impact.options import FloodInput, ImpactInputs, ImpactOptions
from geoseg.impact.tables import Impact
from tests.doubles import call_geoseg, write_raster
from tests.impact.valley import CRS, CUT, HIGH_M, LEFT, TOP, WIDE_M, Valley, draw_valley, place, place_xy

ORIGIN = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(*place_xy(150, 100))


@pytest.fixture(scope="module")
def valley(tmp_path_factory: pytest.TempPathFactory) -> Valley:
    return draw_valley(tmp_path_factory.mktemp("valley"))


def inputs_of(valley: Valley, **more: object) -> ImpactInputs:
    flood = FloodInput(path=valley.flood, before=valley.before)
    given = ImpactInputs(flood=flood, buildings=valley.buildings, roads=valley.roads, zones=valley.zones, origins=(ORIGIN,))
    return replace(given, **{"dem": valley.dem, "population": valley.population} | more)


@pytest.fixture(scope="module")
def impact(valley: Valley) -> Impact:
    return measure_impact(inputs_of(valley), valley.flood.parent / "out")


def state_of(table: gpd.GeoDataFrame, state: str) -> set[str]:
    return set(table[table["state"] == state]["name"])


def test_flooded_buildings_are_those_of_the_truth(valley: Valley, impact: Impact) -> None:
    truth = valley.houses[valley.houses["share"] >= 0.1]
    assert len(truth) > 30
    assert state_of(impact.buildings, "flooded") == set(truth["name"])
    assert state_of(impact.buildings, "dry") == set(valley.houses["name"]) - set(truth["name"])
    # pixels of 1 m follow the shore to a fraction of a pixel
    assert (impact.buildings["flooded_share"] - valley.houses["share"]).abs().max() < 0.02


def test_cut_roads_are_those_of_the_truth_and_the_bridge_is_none(impact: Impact) -> None:
    assert state_of(impact.roads, "cut") == CUT
    assert state_of(impact.roads, "cut off") == {"lane"}
    bridge = impact.roads[impact.roads["name"] == "high bridge"].iloc[0]
    assert (bridge["state"], bool(bridge["bridge"])) == ("open", True)
    assert bridge["flooded_m"] > 50


def test_the_place_cut_off_is_the_hamlet_and_the_forest_that_never_had_a_road_is_not_blamed(valley: Valley, impact: Impact) -> None:
    cut_off = impact.buildings[impact.buildings["access"] == "cut off"]
    assert set(cut_off["name"]) == set(valley.houses[valley.houses["hamlet"]]["name"])
    assert impact.places["buildings"].tolist() == [6]
    assert (cut_off["place_id"] == 1).all()
    # 20 m of its road beyond the water, and 110 m of the lane
    assert impact.places["road_m"][0] == pytest.approx(130, abs=1)
    assert set(impact.roads[impact.roads["name"] == "forest"]["state"]) == {"open"}


def test_depths_at_walls_are_right_to_five_centimetres(valley: Valley, impact: Impact) -> None:
    wet = impact.buildings["state"] == "flooded"
    assert (impact.buildings["depth_max_m"] - valley.houses["deepest"])[wet].abs().max() < 0.05
    assert impact.buildings["depth_max_m"][~wet].isna().all()
    assert (impact.buildings["depth_mean_m"] <= impact.buildings["depth_max_m"])[wet].all()


@pytest.mark.parametrize(
    ("min_cut_m", "expected"), [(1.0, {"west": 1, "east": 1}), (10.0, {"west": 1, "east": 0}), (99.0, {"west": 0, "east": 0})]
)
def test_a_zone_in_which_a_cut_road_only_has_puddles_counts_no_cut(
    valley: Valley, tmp_path: Path, min_cut_m: float, expected: dict[str, int]
) -> None:
    water = np.zeros((1, HIGH_M, WIDE_M), np.uint8)
    water[:, 195:206, 200:240] = 1
    water[:, 195:206, 400:403] = 1
    flood = FloodInput(path=write_raster(tmp_path / "flood.tif", water, transform=Affine(1, 0, LEFT, 0, -1, TOP), crs=CRS))
    asked = inputs_of(valley, flood=flood, buildings=None, dem=None, population=None, origins=())
    found = measure_impact(asked, options=ImpactOptions(min_cut_m=min_cut_m))
    assert dict(zip(found.zones["district"], found.zones["cut_roads"], strict=True)) == expected
    assert (found.zones["flooded_road_m"] > 2).all()


def test_zones_add_up_to_the_whole(impact: Impact) -> None:
    zones, houses = impact.zones, impact.buildings
    for name, state in (("flooded_buildings", "flooded"), ("unknown_buildings", "unknown")):
        on_border = len(houses) - zones["buildings"].sum()
        assert 0 <= (houses["state"] == state).sum() - zones[name].sum() <= on_border
    assert zones["flooded_road_m"].sum() == pytest.approx(impact.roads["flooded_m"].sum(), abs=0.1)
    assert zones["road_m"].sum() == pytest.approx(impact.roads["length_m"].sum(), abs=0.1)
    assert zones["people"].sum() == pytest.approx(960, abs=0.01)
    assert zones.set_index("district")["cut_off_buildings"]["east"] == 6


def test_nobody_is_lost_between_buildings_and_empty_pixels(impact: Impact) -> None:
    people = impact.totals["people"]
    near = people["in_buildings"] + people["without_building"]
    assert people["in_buildings"] == pytest.approx(impact.buildings["people"].sum(), abs=0.1)
    # every pixel of the bounds of all houses holds ten
    left, bottom, right, top = impact.buildings.total_bounds - np.array([LEFT, TOP, LEFT, TOP])
    columns, rows = np.ceil(right / 50) - np.floor(left / 50), np.ceil(-bottom / 50) - np.floor(-top / 50)
    assert near == pytest.approx(10 * columns * rows, abs=0.2)


def test_everything_stands_in_files(valley: Valley, impact: Impact) -> None:
    out = valley.flood.parent / "out"
    layers = {"flood", "buildings", "roads", "cuts", "places", "zones", "layer_styles"}
    assert set(gpd.list_layers(out / "impact.gpkg")["name"]) == layers
    flood = gpd.read_file(out / "impact.gpkg", layer="flood")
    assert set(flood["state"]) == {"flooded", "permanent"}
    assert flood["area_m2"].sum() == pytest.approx(impact.zones[["flooded_m2", "permanent_m2"]].sum().sum(), rel=1e-4)
    styles = gpd.read_file(out / "impact.gpkg", layer="layer_styles").set_index("f_table_name")["styleQML"]
    assert 'value="cut off"' in styles["roads"]
    table = pd.read_csv(out / "buildings.csv")
    assert len(table) == len(valley.houses)
    assert table["lat"].between(27.6, 27.7).all()
    told = json.loads((out / "impact.json").read_text())
    cuts = pd.read_csv(out / "cuts.csv")
    # the cross road on both sides of the river, the hamlet's and the mill's
    assert len(cuts) == 4
    assert set(cuts["edge_id"]) == set(impact.roads[impact.roads["state"] == "cut"]["edge_id"])
    assert told["buildings"]["flooded"] == (table["state"] == "flooded").sum()
    page = (out / "impact.html").read_text()
    assert page.count("data:image/png") == 2
    assert "road flooded" in set(impact.buildings["access"])


def test_polygons_in_another_crs_flood_the_same(valley: Valley, impact: Impact, tmp_path: Path) -> None:
    drawn = gpd.read_file(valley.flood.parent / "out" / "impact.gpkg", layer="flood").to_crs("EPSG:3857")
    drawn.to_file(tmp_path / "after.fgb")
    drawn[drawn["state"] == "permanent"].to_file(tmp_path / "before.fgb")
    # nobody looked beyond the frame, so that the water does not end there
    gpd.GeoDataFrame(geometry=[place(shapely.box(0, 0, WIDE_M, HIGH_M))], crs=CRS).to_file(tmp_path / "frame.fgb")
    flood = FloodInput(path=tmp_path / "after.fgb", before=tmp_path / "before.fgb", area=tmp_path / "frame.fgb")
    other = measure_impact(inputs_of(valley, flood=flood, population=None))
    assert other.buildings.crs.to_epsg() == 3857
    for column in ("state", "access", "place_id"):
        assert other.buildings[column].tolist() == impact.buildings[column].tolist()
    assert (other.buildings["flooded_share"] - impact.buildings["flooded_share"]).abs().max() < 1e-3
    assert (other.buildings["flooded_m2"] - impact.buildings["flooded_m2"]).abs().max() < 0.2
    assert other.roads["state"].tolist() == impact.roads["state"].tolist()
    assert (other.roads["flooded_m"] - impact.roads["flooded_m"]).abs().max() < 0.1
    assert (other.buildings["depth_max_m"] - impact.buildings["depth_max_m"]).abs().max() < 0.05
    assert other.zones["flooded_m2"].sum() == pytest.approx(impact.zones["flooded_m2"].sum(), rel=1e-3)


def test_without_bridges_and_water_of_before_every_road_over_water_is_cut_and_that_is_said(valley: Valley) -> None:
    flood = FloodInput(path=valley.flood)
    found = measure_impact(
        inputs_of(valley, flood=flood, dem=None, population=None, zones=None), options=ImpactOptions(bridge_column="none")
    )
    assert state_of(found.roads, "cut") == CUT | {"high bridge"}
    assert any("--flood-before" in warning for warning in found.warnings)
    # the east bank is a place now
    assert len(found.places) == 2
    assert found.places["buildings"][0] > 40


def test_where_the_flood_has_no_data_nothing_is_claimed(valley: Valley, tmp_path: Path) -> None:
    states = np.zeros((1, 40, 60), np.uint8)
    states[0, :, 30:] = 255
    grid = Affine(10, 0, LEFT, 0, -10, TOP)
    write_raster(tmp_path / "half.tif", states, transform=grid, crs=CRS, nodata=255)
    found = measure_impact(ImpactInputs(flood=FloodInput(path=tmp_path / "half.tif"), buildings=valley.buildings, roads=valley.roads))
    east = valley.houses.geometry.bounds["minx"] > LEFT + 300
    west = valley.houses.geometry.bounds["maxx"] < LEFT + 300
    assert set(found.buildings["state"][east]) == {"unknown"}
    assert set(found.buildings["state"][west]) == {"dry"}
    assert found.totals["roads"]["cut"] == 0
    cross = found.roads[found.roads["name"] == "cross"].iloc[0]
    assert cross["unknown_m"] == pytest.approx(140, abs=0.2)


def test_the_command_says_what_it_found_and_refuses_to_overwrite(
    valley: Valley, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("impact", "--flood", valley.flood, "--roads", valley.roads, "-o", tmp_path / "out", "--progress", "none")
    assert call_geoseg(monkeypatch, *words, "--from", f"{ORIGIN[0]},{ORIGIN[1]}") == 0
    assert "3 of 14 roads cut, 1 places cut off" in capsys.readouterr().out
    assert call_geoseg(monkeypatch, *words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert call_geoseg(monkeypatch, *words, "--overwrite", "--from", "nowhere") == 2
    assert "LON,LAT" in capsys.readouterr().err
    assert call_geoseg(monkeypatch, "impact", "--flood", valley.flood, "-o", tmp_path / "none") == 2
    assert "--buildings, --roads or --zones" in capsys.readouterr().err


def test_features_far_from_the_flood_are_refused(valley: Valley, tmp_path: Path) -> None:
    valley.houses.set_geometry(valley.houses.translate(50_000)).to_file(tmp_path / "far.gpkg")
    with pytest.raises(UsageError, match="lie far from the flood"):
        measure_impact(ImpactInputs(flood=FloodInput(path=valley.flood), buildings=tmp_path / "far.gpkg"))


def test_origins_come_from_files_too_and_one_in_water_reaches_nothing(valley: Valley, tmp_path: Path) -> None:
    for name, spot in (("dry", (150, 100)), ("wet", (318, 100))):
        points = gpd.GeoDataFrame(geometry=[shapely.Point(*place_xy(*spot), 12.5)], crs=CRS)
        points.to_crs("EPSG:4326").to_file(tmp_path / f"{name}.geojson")
    given = inputs_of(valley, dem=None, population=None, buildings=None, zones=None, origins=(tmp_path / "dry.geojson",))
    assert state_of(measure_impact(given).roads, "cut off") == {"lane"}
    drowned = measure_impact(replace(given, origins=(tmp_path / "wet.geojson",)))
    assert any("--from" in warning for warning in drowned.warnings)
    assert state_of(drowned.roads, "open") == {"forest"}
    both = measure_impact(replace(given, origins=(tmp_path / "wet.geojson", tmp_path / "dry.geojson")))
    assert state_of(both.roads, "cut off") == {"lane"}


def test_heights_of_corners_and_columns_of_the_same_name_do_no_harm(valley: Valley, tmp_path: Path) -> None:
    houses = valley.houses.assign(State="old", fid=range(len(valley.houses)))
    houses.set_geometry(gpd.GeoSeries(shapely.force_3d(houses.geometry.to_numpy(), 7.0), crs=CRS)).to_file(tmp_path / "3d.gpkg")
    flood = FloodInput(path=valley.flood, before=valley.before)
    measure_impact(ImpactInputs(flood=flood, buildings=tmp_path / "3d.gpkg"), tmp_path / "out")
    found = gpd.read_file(tmp_path / "out" / "impact.gpkg", layer="buildings")
    assert set(found["state"]) == {"flooded", "dry"}
    assert not found.geometry.has_z.any()
    assert not (tmp_path / "out" / "roads.csv").exists()


def test_a_run_that_found_no_roads_has_an_impact_on_its_buildings_and_a_warning(valley: Valley, tmp_path: Path) -> None:
    gpd.read_file(valley.buildings).to_file(tmp_path / "features.gpkg", layer="buildings")
    gpd.read_file(valley.roads).iloc[:0].to_file(tmp_path / "features.gpkg", layer="roads")
    given = ImpactInputs(flood=FloodInput(path=valley.flood), buildings=tmp_path, roads=tmp_path, origins=(ORIGIN,))
    found = measure_impact(given, tmp_path / "out")
    assert found.roads is None
    assert (found.buildings["state"] == "flooded").any()
    assert "found no roads" in found.warnings[0]
    assert json.loads((tmp_path / "out" / "impact.json").read_text())["warnings"] == list(found.warnings)
    with pytest.raises(UsageError, match="found no roads"):
        measure_impact(replace(given, buildings=None))


def test_an_impact_is_not_written_into_a_run(tmp_path: Path) -> None:
    (tmp_path / "run.toml").touch()
    with pytest.raises(UsageError, match="holds a run"):
        check_output(tmp_path, overwrite=True)


def test_the_pictures_show_water_and_houses(valley: Valley, impact: Impact) -> None:
    import base64
    import io
    import re

    page = (valley.flood.parent / "out" / "impact.html").read_text()
    first = re.search(r"data:image/png;base64,([^\"]+)", page)
    assert first is not None
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(first[1]))).convert("RGB")).astype(int)
    red = (np.abs(picture - np.array([0xC0, 0x39, 0x2B])).max(axis=-1) < 12).mean()
    blue = ((picture[..., 2] > 180) & (picture[..., 0] < 140)).mean()
    assert red > 0.005
    assert blue > 0.05
