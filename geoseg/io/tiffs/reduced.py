"""A smaller copy of a raster for looking at, with overviews of its own."""

from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.windows import Window

from geoseg.io.raster import create_raster
from geoseg.io.sources.valid import read_valid
from geoseg.tiling import partition

_BLOCK_PX = 1024
_LEAST_PX = 256
_STORAGE = {"blockxsize": 256, "blockysize": 256, "compress": "zstd", "zstd_level": 1}


def write_reduced(dataset: Any, path: Path, factor: int, bands: tuple[int, ...]) -> None:
    """Write what is seen of an open raster from afar, block by block: means of valid pixels, a mask, and overviews.

    Args:
        dataset: Open raster.
        path: Name of the GeoTIFF.
        factor: How many of its pixels along each side become one; 1 only arranges them in small blocks.
        bands: 1-based.

    Raises:
        WriteError: If the disk does not take it.
    """
    rows, cols = dataset.shape
    grid = GeoBox((rows, cols), dataset.transform, dataset.crs).zoom_out(factor)
    dtype = dataset.dtypes[bands[0] - 1]
    with create_raster(path, grid, count=len(bands), dtype=dtype, **_STORAGE) as reduced:
        for window in partition((int(grid.shape[0]), int(grid.shape[1])), _BLOCK_PX):
            shape = window.height, window.width
            top, left = window.row_off * factor, window.col_off * factor
            below = Window(left, top, min(window.width * factor, cols - left), min(window.height * factor, rows - top))
            how = {"window": below, "resampling": Resampling.average if factor > 1 else Resampling.nearest}
            pixels = dataset.read(bands, out_shape=(len(bands), *shape), **how)
            valid = read_valid(dataset, out_shape=shape, window=below)
            if np.issubdtype(pixels.dtype, np.floating):
                # else overviews would spread what is no number
                valid &= np.isfinite(pixels).all(axis=0)
                pixels[:, ~valid] = 0
            reduced.write(pixels, window=window)
            reduced.write_mask(valid, window=window)
        count = max(0, int(np.ceil(np.log2(max(*grid.shape, 1) / _LEAST_PX))))
        if count:
            reduced.build_overviews([2 ** (n + 1) for n in range(count)], Resampling.average)
