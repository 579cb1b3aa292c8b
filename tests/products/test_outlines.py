"""Building outlines of any vector file, straightened."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import UsageError
from geoseg.objects.options import RegularizeMethod, RegularizeOptions
from geoseg.products.outlines import OutlineOptions, regularize_file
from tests.doubles import call_geoseg

UTM = "EPSG:32645"
_AT = (337_200.0, 3_058_800.0)


def draw_house(turn_deg: float = 20, noise_m: float = 0.25, east_m: float = 0.0) -> shapely.Polygon:
    """An L of 20 m with walls that shake."""
    corners = np.array([(0, 0), (20, 0), (20, 8), (9, 8), (9, 15), (0, 15)], float)
    ring = np.asarray(shapely.segmentize(shapely.Polygon(corners), 1.0).exterior.coords)[:-1]
    ring += np.random.default_rng(7).uniform(-noise_m, noise_m, ring.shape)
    turn = np.radians(turn_deg)
    return shapely.Polygon(ring @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + _AT + (east_m, 0))


def write(path: Path, shapes: list[object], crs: str = UTM) -> Path:
    table = gpd.GeoDataFrame({"owner": [f"number {i}" for i in range(len(shapes))]}, geometry=gpd.GeoSeries(shapes, crs=UTM).to_crs(crs))
    table.to_file(path)
    return path


def corners_deg(polygon: shapely.Polygon) -> np.ndarray:
    """Angles at the corners of a polygon."""
    steps = np.diff(np.asarray(polygon.exterior.coords), axis=0)
    steps = np.vstack([steps, steps[:1]])
    turns = np.degrees(np.diff(np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))))
    return np.abs(turns)


@pytest.mark.parametrize("crs", [UTM, "EPSG:4326", "EPSG:3857"])
def test_corners_are_right_on_the_ground_in_every_crs(crs: str, tmp_path: Path) -> None:
    counts = regularize_file(write(tmp_path / "in.gpkg", [draw_house()], crs), tmp_path / "out.gpkg", OutlineOptions())
    assert counts["regularized"] == 1
    out = gpd.read_file(tmp_path / "out.gpkg")
    assert out.crs == crs
    (house,) = out.geometry.to_crs(UTM)
    assert len(house.exterior.coords) == 7
    np.testing.assert_allclose(corners_deg(house), 90, atol=1e-3)
    assert out["area_m2"][0] == pytest.approx(223, rel=0.03)
    assert out["perimeter_m"][0] == pytest.approx(70, rel=0.03)
    assert (out["owner"][0], out["status"][0]) == ("number 0", "regularized")


@settings(max_examples=5)
@given(turn=st.floats(0, 90), tolerance=st.floats(0.5, 3))
def test_no_outline_moves_farther_than_the_tolerance(turn: float, tolerance: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("outlines")
    options = OutlineOptions(drawing=RegularizeOptions(tolerance_m=tolerance))
    regularize_file(write(folder / "in.geojson", [draw_house(turn)]), folder / "out.gpkg", options)
    (before,), (after,) = (gpd.read_file(folder / name).geometry.to_crs(UTM) for name in ("in.geojson", "out.gpkg"))
    assert shapely.hausdorff_distance(before.exterior, after.exterior, densify=0.1) <= tolerance * 1.001 + 1e-3


def test_multipolygons_stay_together_and_parts_are_straightened_each(tmp_path: Path) -> None:
    pair = shapely.MultiPolygon([draw_house(), draw_house(east_m=60)])
    counts = regularize_file(write(tmp_path / "in.gpkg", [pair, draw_house(east_m=120)]), tmp_path / "out.fgb", OutlineOptions())
    out = gpd.read_file(tmp_path / "out.fgb")
    assert (counts["regularized"], sorted(len(shape.geoms) for shape in out.geometry)) == (2, [1, 2])


def test_circles_take_round_outlines_only(tmp_path: Path) -> None:
    tank = shapely.Point(_AT).buffer(9, quad_segs=4)
    options = OutlineOptions(drawing=RegularizeOptions(method=RegularizeMethod.CIRCLE))
    counts = regularize_file(write(tmp_path / "in.gpkg", [tank, draw_house(east_m=60)]), tmp_path / "out.gpkg", options)
    assert counts == {"regularized": 0, "circle": 1, "simplified": 1, "unchanged": 0}


def test_columns_of_the_result_replace_those_of_any_capitals_and_others_stay(tmp_path: Path) -> None:
    columns = {"STATUS": ["old"], "Area_M2": [1.0], "Name": ["a"], "name": ["b"], "fid": [7]}
    gpd.GeoDataFrame(columns, geometry=[draw_house()], crs=UTM).to_file(tmp_path / "in.geojson")
    regularize_file(tmp_path / "in.geojson", tmp_path / "out.gpkg", OutlineOptions())
    out = gpd.read_file(tmp_path / "out.gpkg")
    assert set(out.columns) == {"Name", "name_2", "fid", "area_m2", "perimeter_m", "status", "geometry"}
    assert (out["status"][0], out["Name"][0], out["name_2"][0], out["fid"][0]) == ("regularized", "a", "b", 7)


def test_names_that_a_shapefile_cuts_off_alike_are_told_apart(tmp_path: Path) -> None:
    table = gpd.GeoDataFrame({"population_2001": [5], "population_2011": [6]}, geometry=[draw_house()], crs=UTM)
    table.to_file(tmp_path / "in.gpkg")
    regularize_file(tmp_path / "in.gpkg", tmp_path / "out.shp", OutlineOptions())
    assert gpd.read_file(tmp_path / "out.shp")[["population", "populati_2"]].to_numpy().tolist() == [[5, 6]]


def test_a_spike_takes_no_outline_away(tmp_path: Path) -> None:
    ring = np.asarray(draw_house(turn_deg=0).exterior.coords)
    spiked = shapely.Polygon(np.concatenate([ring[:1], ring[:1] - (9, 0), ring]))
    assert not spiked.is_valid
    regularize_file(write(tmp_path / "in.gpkg", [spiked, draw_house(east_m=60)]), tmp_path / "out.gpkg", OutlineOptions())
    out = gpd.read_file(tmp_path / "out.gpkg")
    assert out.geom_type.tolist() == ["Polygon", "Polygon"]
    assert out["area_m2"].to_numpy() == pytest.approx(223, rel=0.03)


def test_other_shapes_are_counted_and_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "in.gpkg", [shapely.Point(_AT), shapely.Point(_AT)])
    with pytest.raises(UsageError, match="holds 2 shapes that are no polygons, the first a Point in row 1"):
        regularize_file(path, tmp_path / "out.gpkg", OutlineOptions())


def test_of_several_layers_one_has_to_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "in.gpkg", [draw_house()])
    gpd.read_file(path).to_file(path, layer="landcover", mode="a")
    with pytest.raises(UsageError, match=r"holds the layers in, landcover\. Say which"):
        regularize_file(path, tmp_path / "out.gpkg", OutlineOptions())
    assert regularize_file(path, tmp_path / "out.gpkg", OutlineOptions(layer="in"))["regularized"] == 1


def test_tables_without_shapes_are_no_layers_to_choose_from(tmp_path: Path) -> None:
    path = write(tmp_path / "in.gpkg", [draw_house()])
    pyogrio.write_dataframe(pd.DataFrame({"style": ["red"]}), path, layer="layer_styles", append=True)
    assert regularize_file(path, tmp_path / "out.gpkg", OutlineOptions())["regularized"] == 1


def test_polygons_without_an_area_are_left_out_and_keep_nobody_from_being_straightened(tmp_path: Path) -> None:
    flat = shapely.Polygon([_AT, (_AT[0] + 1, _AT[1] + 1), (_AT[0] + 2, _AT[1] + 2)])
    regularize_file(write(tmp_path / "in.gpkg", [flat, draw_house()]), tmp_path / "out.gpkg", OutlineOptions())
    assert gpd.read_file(tmp_path / "out.gpkg")["owner"].tolist() == ["number 1"]
    with pytest.raises(UsageError, match="holds no polygon with an area among its 1 features"):
        regularize_file(write(tmp_path / "flat.gpkg", [flat]), tmp_path / "none.gpkg", OutlineOptions())


def test_what_lies_far_from_the_others_is_straightened_in_its_own_zone(tmp_path: Path) -> None:
    # two houses that share a wall in Hawaii, and many in Ohio, in degrees
    def place(crs: str, east_m: float, north_m: float) -> gpd.GeoSeries:
        pair = [draw_house(turn_deg=0, noise_m=0), draw_house(turn_deg=0, noise_m=0, east_m=20)]
        moved = [shapely.transform(house, lambda xy: xy - _AT + (east_m, north_m)) for house in pair]
        return gpd.GeoSeries(moved, crs=crs).to_crs("EPSG:4326")

    away = place("EPSG:32604", 280_000, 2_200_000)
    near = [place("EPSG:32617", 300_000 + 100 * i, 4_400_000) for i in range(9)]
    table = gpd.GeoDataFrame(geometry=pd.concat([away, *near], ignore_index=True))
    table.to_file(tmp_path / "in.gpkg")
    regularize_file(tmp_path / "in.gpkg", tmp_path / "out.gpkg", OutlineOptions())
    out = gpd.read_file(tmp_path / "out.gpkg")
    for crs, rows in (("EPSG:32604", slice(0, 2)), ("EPSG:32617", slice(2, None))):
        for house in out.geometry.iloc[rows].to_crs(crs):
            turns = corners_deg(house)
            # a corner of the neighbor may lie on a wall
            np.testing.assert_allclose(np.where(turns < 45, turns, turns - 90), 0, atol=1e-3)
            assert house.area == pytest.approx(20 * 15 - 11 * 7, rel=0.01)
    one, other = out.geometry.iloc[:2]
    assert one.touches(other)


def test_the_command_takes_what_analysts_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "in.gpkg", [draw_house()])
    words = (
        "--method",
        "RIGHT_ANGLES_AND_DIAGONALS",
        "--diagonal-penalty",
        "0",
        "--corner-price",
        "0.2",
        "--min-radius",
        "1",
        "--max-radius",
        "50",
    )
    assert call_geoseg(monkeypatch, "regularize", path, "-o", tmp_path / "out.gpkg", *words) == 0
    assert gpd.read_file(tmp_path / "out.gpkg")["status"].tolist() == ["regularized"]


def test_the_command_counts_and_does_not_replace_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("regularize", write(tmp_path / "in.gpkg", [draw_house()]), "-o", tmp_path / "out.gpkg")
    assert call_geoseg(monkeypatch, *words, "--method", "any_angle") == 0
    assert "1 outlines (1 regularized)" in capsys.readouterr().out
    assert call_geoseg(monkeypatch, *words) == 2
    assert "exists. Name another file" in capsys.readouterr().err
