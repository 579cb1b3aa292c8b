"""Grids are one where all of their corners are."""

from collections.abc import Callable

import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from geoseg.io.warp import same_grid

MakeGeobox = Callable[[int, int], GeoBox]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (Affine.identity(), True),
        (Affine.translation(0.005, -0.005), True),
        (Affine.translation(0.5, 0), False),
        # a millionth of a pixel each is a hundredth over ten thousand, a thousandth each is ten pixels
        (Affine.scale(1 + 9e-7), True),
        (Affine.scale(1.0009), False),
        (Affine.rotation(0.001), False),
    ],
)
def test_grids_are_compared_at_their_far_corners(make_geobox: MakeGeobox, change: Affine, same: bool) -> None:
    grid = make_geobox(10_000, 10_000)
    assert same_grid(grid, GeoBox(grid.shape, grid.transform @ change, grid.crs)) is same


def test_another_shape_or_crs_is_another_grid(make_geobox: MakeGeobox) -> None:
    grid = make_geobox(10, 20)
    assert not same_grid(grid, make_geobox(20, 10))
    assert not same_grid(grid, GeoBox(grid.shape, grid.transform, "EPSG:32646"))
