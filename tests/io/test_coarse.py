"""The same ground in fewer pixels."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import Resampling

from geoseg.io.coarse import coarsen_source
from geoseg.io.raster import open_raster, read_whole
from geoseg.pixels.average import average_blocks
from tests.doubles import draw_blobs, write_raster

SHAPE = 70, 101


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raster(tmp_path_factory.mktemp("coarse") / "plain.tif", draw_blobs(*SHAPE))


@given(st.integers(1, 9))
def test_each_pixel_is_the_mean_of_those_below_it(plain: Path, factor: int) -> None:
    source = open_raster(plain)
    coarse = coarsen_source(source, factor)
    pixels, valid = read_whole(coarse)
    np.testing.assert_array_equal(pixels, average_blocks(read_whole(source)[0], factor))
    assert valid.all()
    assert coarse.geobox.transform.a == source.geobox.transform.a * factor
    assert coarse.geobox.transform.c == source.geobox.transform.c


def test_overviews_are_read_where_they_are_there(tmp_path: Path) -> None:
    paths = [write_raster(tmp_path / f"{name}.tif", draw_blobs(72, 104)) for name in ("overviews", "plain")]
    with rasterio.open(paths[0], "r+") as dataset:
        dataset.build_overviews([2, 4], Resampling.average)
    coarse, exact = (coarsen_source(open_raster(path), 4) for path in paths)
    assert (coarse.imagery.geobox.shape, coarse.decimation) == ((36, 52), 2)
    assert coarse.geobox == exact.geobox
    # rounded twice instead of once
    np.testing.assert_allclose(read_whole(coarse)[0].astype(int), read_whole(exact)[0], atol=1)


def test_nodata_stays_nodata_in_overviews(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "hole.tif", draw_blobs(128, 128, corner=80), nodata=0)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2], Resampling.nearest)
    valid = read_whole(coarsen_source(open_raster(path), 4))[1]
    assert not valid[0, 0]
    assert valid[-1, -1]
    assert 0.7 < valid.mean() < 0.9
