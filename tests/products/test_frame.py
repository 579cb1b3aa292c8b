"""Angles on the plane are those of the ground in every row of a grid, and pixels come back."""

import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from geoseg.io.ground import pixel_step_m
from geoseg.products.features import to_ground
from geoseg.products.frame import GroundFrame

DEGREES = GeoBox((40_000, 900), Affine(1e-4, 0, 12.0, 0, -1e-4, 52.0), "EPSG:4326")
"""Four degrees from north to south."""
MERCATOR = GeoBox((4000, 900), Affine(100, 0, 1_300_000, 0, -100, 6_800_000), "EPSG:3857")
UTM = GeoBox((4000, 900), Affine(0.5, 0, 337_200, 0, -0.5, 3_058_800), "EPSG:32645")
ROTATED = GeoBox((4000, 900), Affine.translation(337_200, 3_058_800) @ Affine.rotation(30) @ Affine.scale(0.5, -0.5), "EPSG:32645")
WORLD = GeoBox((1800, 3600), Affine(0.1, 0, -180, 0, -0.1, 90), "EPSG:4326")


def corner_deg(polygon: shapely.Polygon) -> float:
    a, b, c = np.asarray(polygon.exterior.coords)[:3]
    (x1, y1), (x2, y2) = a - b, c - b
    return float(np.degrees(np.arccos((x1 * x2 + y1 * y2) / np.hypot(x1, y1) / np.hypot(x2, y2))))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("geobox", [DEGREES, MERCATOR, UTM, ROTATED], ids=["degrees", "mercator", "utm", "rotated"])
def test_a_right_angle_on_the_plane_is_right_on_the_ground(geobox: GeoBox, share: float) -> None:
    frame, row = GroundFrame.of(geobox), share * geobox.shape[0]
    (middle,) = frame.to_metres(np.array([shapely.Point(450, row)], object))
    side = 40 * pixel_step_m(geobox)[0]
    turned = shapely.affinity.rotate(shapely.box(middle.x, middle.y, middle.x + side, middle.y + side), 45)
    pixels = frame.to_pixels(np.array([turned], object))
    (ground,) = to_ground(pixels, geobox)
    lon, lat = shapely.get_coordinates(ground.centroid)[0]
    near = shapely.transform(ground, lambda xy: xy - (lon, lat))
    if geobox is not ROTATED:
        # metres of the ellipsoid where the house stands; web mercator is that of a sphere, and no true map of angles
        width, height = pixel_step_m(geobox, row)
        near = shapely.transform(near, lambda xy: xy * (width, height) / geobox.transform.a)
    assert corner_deg(near) == pytest.approx(90, abs=0.02)
    (back,) = frame.to_pixels(frame.to_metres(pixels))
    assert shapely.hausdorff_distance(back, pixels[0]) < 1e-6


def test_the_poles_and_what_lies_beyond_the_grid_have_a_place() -> None:
    frame = GroundFrame.of(WORLD)
    edges = np.array([shapely.LineString([(0, -5), (0, 0), (0, 900), (0, 1800), (0, 1805)])], object)
    (moved,) = frame.to_metres(edges)
    heights = shapely.get_coordinates(moved)[:, 1]
    assert np.isfinite(heights).all()
    assert (np.diff(heights) > 0).all()
    (back,) = frame.to_pixels(np.array([moved], object))
    np.testing.assert_allclose(shapely.get_coordinates(back), shapely.get_coordinates(edges[0]), atol=1e-6)
