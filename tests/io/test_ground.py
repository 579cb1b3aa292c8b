"""Lengths and areas are metres on the ground in every CRS (law 10)."""

from collections.abc import Callable

import numpy as np
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer

from geoseg.io.ground import measure_areas, measure_lines, measure_polygons, pixel_size_m, pixel_step_m, row_areas_m2

GEOD = Geod(ellps="WGS84")


def grid(crs: str, lon: float, lat: float, pixel: float, shape: tuple[int, int]) -> GeoBox:
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    return GeoBox(shape, Affine(pixel, 0, x, 0, -pixel, y), crs)


def pixel_outline(geobox: GeoBox, row: int, points: int = 9) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitudes and latitudes around the pixel at the middle column, its sides cut into short pieces."""
    t = np.linspace(0, 1, points)
    left, col = geobox.shape[1] // 2, np.concatenate([t, np.ones(points), t[::-1], np.zeros(points)])
    down = np.concatenate([np.zeros(points), t, np.ones(points), t[::-1]])
    x, y = geobox.transform @ (left + col, row + down)
    return Transformer.from_crs(geobox.crs, "EPSG:4326", always_xy=True).transform(x, y)


GRIDS = {
    "degrees at the equator": grid("EPSG:4326", 10, 0.001, 1e-4, (40, 30)),
    "degrees at 27 north": grid("EPSG:4326", 85.5, 27.6, 1e-5, (40, 30)),
    "degrees at 60 north": grid("EPSG:4326", -150, 60, 1e-4, (400, 30)),
    "degrees at 45 south": grid("EPSG:4326", 170, -45, 1e-4, (400, 30)),
    "degrees at 85 north": grid("EPSG:4326", 0, 85, 1e-3, (40, 30)),
    "degrees of the whole world": grid("EPSG:4326", -180, 90, 0.25, (720, 1440)),
    "web mercator at 27 north": grid("EPSG:3857", 85.5, 27.6, 0.15, (40, 30)),
    "web mercator from 70 to 10 north": grid("EPSG:3857", 5, 70, 10_000, (1000, 100)),
    "a UTM zone's middle": grid("EPSG:32645", 87, 27, 2.0, (400, 300)),
    "a UTM zone's edge": grid("EPSG:32645", 84.01, 60, 30.0, (400, 30)),
    "sinusoidal, where pixels are sheared": grid("ESRI:54008", 85, 28, 463.3, (400, 300)),
}
every_grid = pytest.mark.parametrize("geobox", GRIDS.values(), ids=GRIDS.keys())


@every_grid
def test_row_areas_are_those_of_the_ellipsoid(geobox: GeoBox) -> None:
    areas = row_areas_m2(geobox)
    height = geobox.shape[0]
    assert areas.shape == (height,)
    for row in {0, 1, height // 7, height // 2, height - 2, height - 1}:
        exact = abs(GEOD.polygon_area_perimeter(*pixel_outline(geobox, row))[0])
        assert areas[row] == pytest.approx(exact, rel=0.005)


@pytest.mark.parametrize(
    "geobox",
    [
        grid("ESRI:54008", 80, 30, 463.3, (2400, 2400)),
        grid("EPSG:3413", -45, 84, 1000.0, (300, 3000)),
        GeoBox((400, 400), Affine(10_000, 0, -2_000_000, 0, -10_000, 2_000_000), "EPSG:3031"),
        GeoBox((400, 400), Affine(10_000, 0, -2_000_000, 0, -10_000, 2_000_000), "EPSG:6931"),
        GeoBox((300, 400), Affine.translation(84, 27) @ Affine.rotation(30) @ Affine.scale(1e-3, -1e-3), "EPSG:4326"),
    ],
    ids=["sinusoidal", "polar, 3000 km wide", "around a pole", "around the other, of equal areas", "turned, in degrees"],
)
def test_pixels_add_up_to_the_area_of_their_raster(geobox: GeoBox) -> None:
    height, width = geobox.shape
    outline = shapely.segmentize(shapely.box(0, 0, width, height), 1)
    whole = measure_areas(np.array([shapely.transform(outline, lambda xy: np.column_stack(geobox.transform @ tuple(xy.T)))]), geobox.crs)
    assert row_areas_m2(geobox).sum() * width == pytest.approx(whole[0], rel=1e-3)


def test_rows_that_reach_beyond_the_globe_have_the_areas_of_what_is_on_it() -> None:
    whole_world = GeoBox((180, 360), Affine(100_000, 0, -18_000_000, 0, -100_000, 9_000_000), "ESRI:54009")
    # a projection of equal areas
    np.testing.assert_allclose(row_areas_m2(whole_world)[12:-12], 1e10, rtol=0.03)


@pytest.mark.parametrize("crs", ["EPSG:3031", "EPSG:6931"])
def test_a_pixel_at_a_pole_has_its_size(crs: str) -> None:
    assert pixel_size_m(GeoBox((400, 400), Affine(10_000, 0, -2_000_000, 0, -10_000, 2_000_000), crs)) == pytest.approx(10_000, rel=0.05)


@every_grid
def test_pixel_sides_are_those_of_the_ellipsoid(geobox: GeoBox) -> None:
    row = geobox.shape[0] // 2
    lon, lat = pixel_outline(geobox, row, points=2)
    sides = GEOD.inv(lon[:-1], lat[:-1], lon[1:], lat[1:])[2]
    width, height = pixel_step_m(geobox, row + 0.5)
    assert width == pytest.approx((sides[0] + sides[4]) / 2, rel=0.005)
    assert height == pytest.approx(sides[2], rel=0.005)


@every_grid
def test_the_pixel_size_is_the_side_of_a_square_as_large_as_the_middle_pixel(geobox: GeoBox) -> None:
    exact = abs(GEOD.polygon_area_perimeter(*pixel_outline(geobox, geobox.shape[0] // 2))[0])
    assert pixel_size_m(geobox) == pytest.approx(np.sqrt(exact), rel=0.005)


def test_a_south_up_grid_measures_the_same() -> None:
    up = GRIDS["web mercator at 27 north"]
    a, _, c, _, e, f = tuple(up.transform)[:6]
    flipped = GeoBox(up.shape, Affine(a, 0, c, 0, -e, f + e * up.shape[0]), up.crs)
    np.testing.assert_allclose(row_areas_m2(flipped)[::-1], row_areas_m2(up), rtol=1e-9)


def square(crs: str, side_m: float, lon: float = 85.5, lat: float = 27.6) -> shapely.Polygon:
    """A square on the ground, drawn with geodesics."""
    corners = [GEOD.fwd(lon, lat, azimuth, side_m / np.sqrt(2))[:2] for azimuth in (45, 135, 225, 315)]
    to_crs = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    return shapely.Polygon([to_crs.transform(*corner) for corner in corners])


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32645", "EPSG:32644"])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_known_square_has_its_area_and_perimeter(crs: str, reverse: bool) -> None:
    outline = square(crs, 40)
    area, perimeter = measure_polygons(np.array([outline.reverse() if reverse else outline]), crs)
    assert area == pytest.approx([1600], rel=1e-4)
    assert perimeter == pytest.approx([160], rel=1e-4)


def test_holes_are_taken_off_and_their_outline_counts() -> None:
    court = shapely.Polygon(square("EPSG:3857", 40).exterior, [square("EPSG:3857", 10).exterior])
    area, perimeter = measure_polygons(np.array([court]), "EPSG:3857")
    assert area == pytest.approx([1600 - 100], rel=1e-4)
    assert perimeter == pytest.approx([160 + 40], rel=1e-4)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32645"])
def test_a_known_line_has_its_length(crs: str) -> None:
    points = [(85.5, 27.6), GEOD.fwd(85.5, 27.6, 70, 250)[:2]]
    to_crs = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    line = shapely.LineString([to_crs.transform(*p) for p in points])
    assert measure_lines(np.array([line]), crs) == pytest.approx([250], rel=1e-5)


@pytest.mark.parametrize("measure", [lambda g, crs: measure_polygons(g, crs)[0], measure_lines])
def test_nothing_measures_nothing(measure: Callable[..., NDArray[np.float64]]) -> None:
    assert measure(np.empty(0, object), "EPSG:3857").shape == (0,)


@pytest.mark.parametrize(
    ("crs", "corner", "unit"), [("EPSG:32645", (4e5, 3e6), 1.0), ("EPSG:4326", (85.0, 27.0), 1e-5), ("EPSG:2263", (1e6, 2e5), 1.0)]
)
def test_areas_of_many_polygons_are_those_of_geodesics(crs: str, corner: tuple[float, float], unit: float) -> None:
    rng = np.random.default_rng(1)
    hulls = shapely.convex_hull([shapely.MultiPoint(rng.uniform(0, 900, (9, 2))) for _ in range(20)])
    ring = np.array([shapely.difference(hull, shapely.buffer(shapely.centroid(hull), 60)) for hull in hulls])
    pair = shapely.MultiPolygon([shapely.box(0, 0, 100, 50), shapely.box(100, 50, 130, 100)])
    shapes = shapely.transform(np.array([*ring, pair]), lambda p: p * unit + corner)
    lonlat = shapely.transform(shapes, lambda p: np.column_stack(Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(*p.T)))
    exact = [abs(GEOD.geometry_area_perimeter(shapely.orient_polygons(g))[0]) for g in lonlat]
    around = [GEOD.geometry_length(shapely.boundary(g)) for g in lonlat]
    area, perimeter = measure_polygons(shapes, crs)
    np.testing.assert_allclose(area, exact, rtol=2e-5)
    np.testing.assert_allclose(perimeter, around, rtol=1e-9)


def test_a_polygon_around_the_pole_and_one_around_the_world_have_their_areas() -> None:
    cap = shapely.Polygon([(lon, 80.0) for lon in range(-180, 180, 1)])
    polar = shapely.transform(
        cap, lambda p: np.column_stack(Transformer.from_crs("EPSG:4326", "EPSG:3413", always_xy=True).transform(*p.T))
    )
    exact = abs(GEOD.geometry_area_perimeter(cap)[0])
    assert measure_polygons(np.array([polar]), "EPSG:3413")[0] == pytest.approx([exact], rel=1e-4)
    earth = 510_065_621_724_089
    assert measure_polygons(np.array([shapely.box(-180, -90, 180, 90)]), "EPSG:4326")[0] == pytest.approx([earth], rel=1e-9)


def test_the_area_of_an_outline_along_tiny_pixels_is_that_of_its_pixels() -> None:
    # eight hundred edges of 2 cm, thousands of kilometres from the equator
    steps = np.arange(400)
    x, y = np.repeat(steps, 2)[1:] * 0.02, np.repeat(steps, 2)[:-1] * 0.02
    stairs = shapely.Polygon([*zip(638_838.7 + x, 5_802_604.9 - y, strict=True), (638_838.7, 5_802_604.9 - y[-1])])
    square = shapely.box(638_838.7, 5_802_604.9, 638_838.72, 5_802_604.92)
    areas = measure_areas(np.array([stairs, square]), "EPSG:32633")
    # the scale of the projection there is 0.99984
    np.testing.assert_allclose(areas, [stairs.area / 0.99984**2, square.area / 0.99984**2], rtol=1e-4)
