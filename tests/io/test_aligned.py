"""Class rasters of others are read on the grid of a result."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from geoseg.errors import LabelError
from geoseg.io.aligned import open_on_grid
from tests.doubles import CRS, TRANSFORM, write_raster

GRID = GeoBox((40, 50), TRANSFORM, CRS)
VALUES = np.random.default_rng(1).integers(0, 5, (1, 40, 50)).astype(np.uint8)


def test_on_the_same_grid_pixels_are_the_file_s_own(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "labels.tif", VALUES, nodata=3)
    with open_on_grid(path, GRID, fill=-1) as read:
        got = read(Window(5, 10, 30, 20))
    expected = VALUES[0, 10:30, 5:35].astype(int)
    np.testing.assert_array_equal(got, np.where(expected == 3, -1, expected))


def test_a_coarser_raster_is_read_by_the_nearest_pixel_and_windows_do_not_matter(tmp_path: Path) -> None:
    coarse = VALUES[:, :10, :10]
    path = write_raster(tmp_path / "labels.tif", coarse, transform=TRANSFORM @ Affine.scale(4))
    with open_on_grid(path, GRID, fill=9) as read:
        whole = read(Window(0, 0, 50, 40))
        parts = np.hstack([read(Window(0, 0, 23, 40)), read(Window(23, 0, 27, 40))])
    np.testing.assert_array_equal(whole[:, :40], np.kron(coarse[0], np.ones((4, 4), int)))
    assert (whole[:, 40:] == 9).all(), "beyond the labels nothing is known"
    np.testing.assert_array_equal(parts, whole)


def test_what_an_alpha_band_hides_is_unknown_on_another_grid_too(tmp_path: Path) -> None:
    shown = np.stack([VALUES[0, :10, :10], np.full((10, 10), 255, np.uint8)])
    shown[1, :, :5] = 0
    transform = TRANSFORM @ Affine.scale(4)
    with rasterio.open(tmp_path / "labels.tif", "w", "GTiff", 10, 10, 2, CRS, transform, "uint8", alpha="yes") as dataset:
        dataset.write(shown)
    with open_on_grid(tmp_path / "labels.tif", GRID, fill=-1) as read:
        whole = read(Window(0, 0, 40, 40))
    assert (whole[:, :20] == -1).all()
    np.testing.assert_array_equal(whole[:, 20:], np.kron(shown[0, :, 5:], np.ones((4, 4), int)))


def test_a_fourth_band_without_values_hides_nothing(tmp_path: Path) -> None:
    pixels = np.concatenate([np.tile(VALUES + 1, (3, 1, 1)), np.zeros_like(VALUES)])
    path = write_raster(tmp_path / "labels.tif", pixels, nodata=0, photometric="RGB")
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.nir]
    with open_on_grid(path, GRID, fill=-1) as read:
        np.testing.assert_array_equal(read(Window(0, 0, 50, 40)), VALUES[0] + 1)


def test_shares_are_no_class_values(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "labels.tif", VALUES.astype(np.float32))
    with pytest.raises(LabelError, match="float32"), open_on_grid(path, GRID, fill=-1):
        pass


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_without_a_crs_shapes_must_agree(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "labels.tif", VALUES, transform=None, crs=None)
    with open_on_grid(path, GeoBox((40, 50), Affine.identity(), None), fill=-1) as read:
        np.testing.assert_array_equal(read(Window(0, 0, 50, 40)), VALUES[0])
    with (
        pytest.raises(LabelError, match=r"\(40, 50\).*\(30, 50\)"),
        open_on_grid(path, GeoBox((30, 50), Affine.identity(), None), fill=-1),
    ):
        pass
