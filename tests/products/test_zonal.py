"""Areas of classes in zones: those of whole pixels, of parts of pixels, and of the ellipsoid in every CRS."""

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Geod
from rasterio.windows import Window

from geoseg.errors import UsageError
from geoseg.io.ground import row_areas_m2
from geoseg.io.polygons import read_zones
from geoseg.io.vector import append_layer
from geoseg.pixels.classes import ClassScheme, LandClass
from geoseg.products import zonal
from geoseg.products.zonal import measure_zones
from tests.doubles import CRS, TRANSFORM

SCHEME = ClassScheme(classes=tuple(LandClass(value=v, name=f"c{v}", color="#102030") for v in (0, 3, 254)))
RNG = np.random.default_rng(4)


def measure(classes: NDArray[np.uint8], geobox: GeoBox, shapes: list[Any]) -> gpd.GeoDataFrame:
    def read(window: Window) -> NDArray[np.uint8]:
        return classes[window.toslices()]

    return measure_zones(read, SCHEME, geobox, gpd.GeoDataFrame({"name": range(len(shapes))}, geometry=shapes, crs=geobox.crs))


@pytest.mark.parametrize(
    ("transform", "crs"),
    [
        (TRANSFORM, CRS),
        (Affine(0.5, 0, 337_200, 0, 0.5, 3_058_700), CRS),
        (Affine(0.001, 0, 12, 0, -0.001, 61), "EPSG:4326"),
        (Affine(30, 0, 9_500_000, 0, -30, 8_000_000), "EPSG:3857"),
    ],
    ids=["metres", "south-up", "degrees", "web mercator"],
)
def test_zones_that_divide_the_raster_share_its_pixels_out(transform: Affine, crs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zonal, "_BLOCK_PX", 16)
    classes = RNG.choice(np.array([0, 3, 254, 255], np.uint8), (37, 53))
    geobox = GeoBox(classes.shape, transform, crs)
    box = shapely.box(*geobox.boundingbox.bbox)
    # a slanted border cuts through pixels and blocks
    middle = shapely.LineString([(box.bounds[0] - 1, box.bounds[1] - 1), (box.bounds[2] + 1, box.bounds[3] + 1)])
    halves = list(shapely.get_parts(shapely.ops.split(box, middle)))
    table = measure(classes, geobox, halves)
    areas = np.broadcast_to(row_areas_m2(geobox)[:, None], classes.shape)
    for value in SCHEME.values:
        assert table[f"c{value}_m2"].sum() == pytest.approx(areas[classes == value].sum(), rel=1e-6, abs=0.02)
    assert (table[[f"c{value}_m2" for value in SCHEME.values]].sum(axis=1) - table["mapped_m2"]).abs().max() < 0.02
    assert table["zone_m2"].sum() == pytest.approx(areas.sum(), rel=2e-3)
    assert (table["mapped_m2"] > 0.3 * table["mapped_m2"].sum()).all()


def test_zones_of_many_vertices_are_clipped_to_blocks_and_measure_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among them a courtyard that holds whole blocks, a zone along the borders of pixels, and one in two parts."""
    monkeypatch.setattr(zonal, "_BLOCK_PX", 16)
    geobox = GeoBox((60, 70), Affine(1, 0, 337_000, 0, -1, 3_058_060), CRS)
    classes = RNG.choice(np.array([0, 3, 77, 254, 255], np.uint8), (60, 70))
    angle = np.linspace(0, 2 * np.pi, 900)[:-1]
    middle = np.array([337_035, 3_058_030])
    star = middle + (22 + 5 * np.sin(40 * angle))[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    ring = shapely.Polygon(star, [middle + 0.8 * (star - middle)])
    pixels = shapely.segmentize(shapely.box(337_016, 3_058_012, 337_048, 3_058_044), 0.25)
    parts = shapely.MultiPolygon([shapely.segmentize(shapely.box(337_000 + x, 3_058_001, 337_009 + x, 3_058_059), 0.25) for x in (1, 55)])
    shapes = [ring, pixels, parts, shapely.box(337_003, 3_058_003, 337_020, 3_058_017)]
    sizes: list[int] = []

    def count(shape: Any) -> Any:
        sizes.append(int(shapely.get_num_coordinates(shape)))
        return shapely.geometry.mapping(shape)

    monkeypatch.setattr(zonal, "mapping", count)
    clipped = measure(classes, geobox, shapes)
    monkeypatch.setattr(zonal, "_MANY_VERTICES", 10_000)
    most = max(sizes)
    whole = measure(classes, geobox, shapes)
    np.testing.assert_allclose(clipped.drop(columns="geometry"), whole.drop(columns="geometry"), atol=0.011)
    assert (whole.loc[:2, "mapped_m2"] > 200).all()
    assert most < 0.5 * max(sizes), "what is far from a block is not converted"


def test_values_that_are_no_class_are_mapped_and_have_no_column() -> None:
    geobox = GeoBox((1, 4), Affine(10, 0, 337_200, 0, -10, 3_058_800), CRS)
    table = measure(np.array([[0, 77, 78, 255]], np.uint8), geobox, [shapely.box(*geobox.boundingbox.bbox)])
    pixel_m2 = row_areas_m2(geobox)[0]
    found = table.loc[0, ["mapped_m2", "c0_m2", "c3_m2", "c254_m2"]].tolist()
    assert found == pytest.approx([3 * pixel_m2, pixel_m2, 0, 0], rel=1e-4)


def test_areas_in_degrees_are_those_of_the_ellipsoid() -> None:
    geobox = GeoBox((200, 200), Affine(0.01, 0, 20, 0, -0.01, 68), "EPSG:4326")
    zone = shapely.Polygon([(20.123, 66.31), (21.7, 66.2), (21.5, 67.9), (20.4, 67.7)])
    table = measure(np.full((200, 200), 3, np.uint8), geobox, [zone])
    dense = shapely.segmentize(zone, 0.001)
    true = abs(Geod(ellps="WGS84").geometry_area_perimeter(dense)[0])
    assert table["c3_m2"][0] == pytest.approx(true, rel=1e-4)
    assert table["zone_m2"][0] == pytest.approx(true, rel=1e-4)


def test_a_pixel_counts_by_the_part_that_lies_inside() -> None:
    geobox = GeoBox((2, 2), Affine(10, 0, 337_200, 0, -10, 3_058_800), CRS)
    table = measure(np.array([[0, 3], [255, 3]], np.uint8), geobox, [shapely.box(337_205, 3_058_785, 337_215, 3_058_800)])
    area = row_areas_m2(geobox)[0]
    assert table.loc[0, ["c0_m2", "c3_m2", "c254_m2"]].tolist() == pytest.approx([0.5 * area, 0.75 * area, 0.0], rel=1e-4)
    assert table["mapped_m2"][0] == pytest.approx(1.25 * area, rel=1e-4)


def test_zones_that_are_no_polygons_or_lie_elsewhere_are_refused(tmp_path: Path) -> None:
    geobox = GeoBox((100, 100), TRANSFORM, CRS)
    points = gpd.GeoDataFrame(geometry=[shapely.Point(337_210, 3_058_790)] * 3, crs=CRS)
    points.to_file(tmp_path / "points.gpkg")
    with pytest.raises(UsageError, match="holds 3 features and no polygon"):
        read_zones(tmp_path / "points.gpkg", geobox)
    gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 5, 5)], crs=CRS).to_file(tmp_path / "away.gpkg")
    with pytest.raises(UsageError, match="None of the 1 zones"):
        read_zones(tmp_path / "away.gpkg", geobox)


def test_zones_in_another_crs_share_their_borders_still(tmp_path: Path) -> None:
    geobox = GeoBox((200, 200), Affine(1000, 0, 400_000, 0, -1000, 5_200_000), "EPSG:32632")
    shapes = [shapely.box(9, 45, 9.5, 46), shapely.box(9.5, 45, 10, 46), shapely.box(9, 46, 10, 46.5)]
    gpd.GeoDataFrame(geometry=shapes, crs="EPSG:4326").to_file(tmp_path / "zones.gpkg")
    zones = read_zones(tmp_path / "zones.gpkg", geobox)
    outline = shapely.box(9, 45, 10, 46.5)
    gpd.GeoDataFrame(geometry=[outline], crs="EPSG:4326").to_file(tmp_path / "whole.gpkg")
    (whole,) = read_zones(tmp_path / "whole.gpkg", geobox).geometry
    west, east, north = zones.geometry
    assert west.intersection(east).area < 1e-3
    assert west.union(east).intersection(north).area < 50
    # the edges that end on the middle of another one are cut at other places, a few centimetres aside
    assert shapely.union_all(zones.geometry.to_numpy()).symmetric_difference(whole).area < 50
    (measured,) = measure(np.zeros((200, 200), np.uint8), geobox, [whole])["zone_m2"]
    true = abs(Geod(ellps="WGS84").geometry_area_perimeter(shapely.segmentize(outline, 0.001))[0])
    assert measured == pytest.approx(true, rel=1e-6)


def test_an_empty_zone_has_no_area_and_a_spike_takes_no_zone_away(tmp_path: Path) -> None:
    geobox = GeoBox((100, 100), TRANSFORM, CRS)
    left, bottom, right, top = geobox.boundingbox.bbox
    spiked = shapely.Polygon([(left, bottom), (right, bottom), (right, top), (right, top + 9), (right, top), (left, top)])
    gpd.GeoDataFrame(geometry=[spiked], crs=CRS).to_file(tmp_path / "zones.geojson")
    (repaired,) = read_zones(tmp_path / "zones.geojson", geobox).geometry
    shapes = [shapely.Polygon(), repaired, shapely.box(left, bottom, right, top), shapely.Polygon()]
    table = measure(np.zeros((100, 100), np.uint8), geobox, shapes)
    whole = table["mapped_m2"].max()
    assert table["mapped_m2"].tolist() == pytest.approx([0, whole, whole, 0], rel=1e-6)
    assert table["zone_m2"].tolist() == pytest.approx([0, whole, whole, 0], rel=1e-3)


def test_columns_that_a_geopackage_cannot_hold_twice_are_left_out(tmp_path: Path) -> None:
    geobox = GeoBox((9, 9), TRANSFORM, CRS)
    shape = shapely.box(*geobox.boundingbox.bbox)
    gpd.GeoDataFrame({"geom": ["a"], "C0_M2": [1], "n": [2]}, geometry=[shape], crs=CRS).to_file(tmp_path / "zones.geojson")
    table = measure_zones(
        lambda window: np.zeros((window.height, window.width), np.uint8), SCHEME, geobox, read_zones(tmp_path / "zones.geojson", geobox)
    )
    append_layer(tmp_path / "features.gpkg", "zones", table)
    assert table.columns[:3].tolist() == ["n", "geometry", "zone_m2"]


def test_classes_that_are_called_as_columns_are_do_not_take_their_place() -> None:
    names = {0: "zone", 3: "Mapped", 5: "mapped_class"}
    scheme = ClassScheme(classes=tuple(LandClass(value=value, name=name, color="#102030") for value, name in names.items()))
    geobox = GeoBox((2, 4), TRANSFORM, CRS)
    classes = np.array([[0, 0, 0, 255], [3, 5, 5, 255]], np.uint8)
    zones = gpd.GeoDataFrame(geometry=[shapely.box(*geobox.boundingbox.bbox)], crs=CRS)
    table = measure_zones(lambda window: classes[window.toslices()], scheme, geobox, zones)
    pixel_m2 = table["zone_m2"][0] / 8
    found = table[["mapped_m2", "zone_class_m2", "Mapped_class_m2", "mapped_class_class_m2"]].to_numpy()[0] / pixel_m2
    np.testing.assert_allclose(found, [6, 3, 1, 2], rtol=0.01)
