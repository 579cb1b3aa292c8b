"""Coarse pictures of imagery: the same pixels where nothing has to be left out, and every kind of imagery in its place."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.windows import Window

from geoseg.errors import RunError
from geoseg.io.raster import RasterOptions, RasterSource, open_raster, place_source
from geoseg.io.sampled import coarse_shape, read_coarse
from geoseg.io.sources.arrangement import Arrangement
from geoseg.io.sources.gather import gather_imagery
from tests.doubles import CRS, draw_blobs, write_raster

EAST = Affine(0.5, 0, 337_200 + 30, 0, -0.5, 3_058_800)


def gather(*paths: Path, **arranged: bool) -> RasterSource:
    return place_source(gather_imagery(tuple(map(str, paths)), RasterOptions(), Arrangement(**arranged), ()), None)


def gray(value: int, shape: tuple[int, int] = (40, 60), bands: int = 1) -> NDArray[np.uint8]:
    return np.full((bands, *shape), value, np.uint8)


@pytest.mark.parametrize("window", [Window(0, 0, 61, 47), Window(13, 7, 30, 20), Window(60, 46, 1, 1)])
def test_a_window_that_is_small_enough_is_read_as_it_is(tmp_path: Path, window: Window) -> None:
    source = open_raster(write_raster(tmp_path / "a.tif", draw_blobs(47, 61, corner=20), nodata=0))
    pixels, valid = read_coarse(source, window, 100)
    exact, there = source.read(window)
    np.testing.assert_array_equal(valid, there)
    np.testing.assert_array_equal(pixels[:, valid], exact[:, there])


def test_a_large_window_is_read_with_fewer_pixels_in_their_places(tmp_path: Path) -> None:
    pixels = np.repeat(np.repeat(draw_blobs(20, 30), 16, axis=1), 16, axis=2)
    coarse, valid = read_coarse(open_raster(write_raster(tmp_path / "a.tif", pixels)), Window(0, 0, 480, 320), 30)
    np.testing.assert_array_equal(coarse, draw_blobs(20, 30))
    assert valid.all()


def test_pieces_of_a_mosaic_lie_beside_each_other_and_gaps_are_no_data(tmp_path: Path) -> None:
    west = write_raster(tmp_path / "w.tif", gray(50))
    east = write_raster(tmp_path / "e.tif", gray(200, (20, 60)), transform=EAST)
    pixels, valid = read_coarse(gather(west, east), Window(0, 0, 120, 40), 12)
    np.testing.assert_array_equal(pixels[0, :, :6], 50)
    np.testing.assert_array_equal(pixels[0, :2, 6:], 200)
    np.testing.assert_array_equal(~valid, np.logical_and.outer(np.arange(4) >= 2, np.arange(12) >= 6))


def test_bands_of_a_stack_come_from_their_files_and_in_the_order_that_was_chosen(tmp_path: Path) -> None:
    paths = [write_raster(tmp_path / f"{value}.tif", gray(value)) for value in (10, 20, 30)]
    pixels, _ = read_coarse(gather(*paths, stack=True).choose((3, 1)), Window(0, 0, 60, 40), 6)
    assert pixels[:, 0, 0].tolist() == [30, 10]


def test_a_file_in_another_crs_is_brought_to_its_place(tmp_path: Path) -> None:
    here = write_raster(tmp_path / "utm.tif", gray(50, (200, 200)))
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(337_240, 3_058_760)
    step = 0.5 / 111_000
    other = write_raster(tmp_path / "deg.tif", gray(200, (40, 40)), transform=Affine(step, 0, lon, 0, -step, lat), crs="EPSG:4326")
    source = gather(other, here)
    whole = Window(0, 0, source.shape[1], source.shape[0])
    pixels, valid = read_coarse(source, whole, 250)
    exact, there = source.read(whole)
    assert pixels.shape == exact.shape
    # warping by nearest and by bilinear neighbors differ at edges only
    assert (valid != there).mean() < 0.02
    both = valid & there
    assert (pixels[0][both] != exact[0][both]).mean() < 0.02
    assert {50, 200} == set(np.unique(pixels[0][valid]).tolist())


def test_outside_the_area_of_interest_there_is_no_data(tmp_path: Path) -> None:
    source = open_raster(write_raster(tmp_path / "a.tif", gray(9)))
    half = source.geobox[:, :30].extent.geom
    assert read_coarse(replace(source, aoi=half), Window(0, 0, 60, 40), 12)[1].mean() == 0.5


def test_imagery_that_is_gone_is_named(tmp_path: Path) -> None:
    source = open_raster(write_raster(tmp_path / "a.tif", gray(9)))
    (tmp_path / "a.tif").unlink()
    with pytest.raises(RunError, match=r"a\.tif could not be read"):
        read_coarse(source, Window(0, 0, 60, 40), 12)


@pytest.mark.parametrize(("shape", "coarse"), [((1000, 500), (100, 50)), ((3, 10_000), (1, 100)), ((7, 9), (7, 9))])
def test_no_side_is_longer_than_allowed_and_none_is_nothing(shape: tuple[int, int], coarse: tuple[int, int]) -> None:
    assert coarse_shape(shape, 100) == coarse
