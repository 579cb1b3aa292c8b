"""Scratch rasters keep what is written into them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.errors import WriteError
from geoseg.io.tiffs.scratch import open_scratch, open_scratch_bands

MakeGeobox = Callable[[int, int], GeoBox]


def test_a_scratch_raster_is_empty_and_keeps_what_is_written(tmp_path: Path, make_geobox: MakeGeobox) -> None:
    labels = np.random.default_rng(0).integers(2**31, 2**32, (100, 50), np.uint32)
    with open_scratch(tmp_path / "scratch.tif", make_geobox(700, 300)) as scratch:
        assert not scratch.read(Window(0, 0, 300, 700)).any()
        scratch.write(Window(230, 200, 50, 100), labels)
        np.testing.assert_array_equal(scratch.read(Window(230, 200, 50, 100)), labels)
        assert not scratch.read(Window(0, 0, 230, 700)).any()


def test_bands_are_kept_with_their_mask(tmp_path: Path, make_geobox: MakeGeobox) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**32, (2, 30, 40), np.uint32)
    valid = np.arange(40) % 2 == np.zeros((30, 1))
    with open_scratch_bands(tmp_path / "bands.tif", make_geobox(50, 60), 2) as write:
        write(Window(20, 10, 40, 30), pixels, valid)
    with rasterio.open(tmp_path / "bands.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(window=Window(20, 10, 40, 30)), pixels)
        np.testing.assert_array_equal(dataset.dataset_mask(window=Window(20, 10, 40, 30)) != 0, valid)


def test_a_scratch_raster_in_a_folder_that_is_not_there_is_named(tmp_path: Path, make_geobox: MakeGeobox) -> None:
    with (
        pytest.raises(WriteError, match=r"gone/scratch\.tif could not be written"),
        open_scratch(tmp_path / "gone" / "scratch.tif", make_geobox(5, 5)),
    ):
        pass
