"""Images in memory come back from their files as they were."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.io.raster import open_raster, read_whole
from geoseg.io.tiffs.image import encode_geotiff, write_image

UTM = "EPSG:32645"
NORTH_UP = Affine(2.0, 0.0, 300000.0, 0.0, -2.0, 3000000.0)


def noise(*shape: int, dtype: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(1).integers(1, 250, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.float32])
def test_encoded_layers_are_read_back_with_their_grid_and_nodata(tmp_path: Path, dtype: Any) -> None:
    layers = noise(2, 300, 270, dtype=dtype)
    path = tmp_path / "layers.tif"
    path.write_bytes(encode_geotiff(layers, NORTH_UP, UTM, nodata=7))
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), layers)
        assert dataset.transform == NORTH_UP
        assert dataset.crs == UTM
        assert dataset.nodata == 7
        assert dataset.block_shapes == [(256, 256)] * 2


def test_a_written_image_opens_on_its_own_grid(tmp_path: Path) -> None:
    pixels = noise(3, 31, 47)
    geobox = GeoBox((31, 47), Affine(1e-5, 0, 85.123456789, 0, -1e-5, 27.987654321), "EPSG:4326")
    write_image(tmp_path / "image.tif", pixels, geobox)
    source = open_raster(tmp_path / "image.tif")
    assert source.geobox == geobox
    np.testing.assert_array_equal(read_whole(source)[0], pixels)
    assert [p.name for p in tmp_path.iterdir()] == ["image.tif"]
