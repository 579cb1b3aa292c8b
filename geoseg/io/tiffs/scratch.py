"""Rasters that exist only while objects are made, written and read by windows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geoseg.errors import WriteError
from geoseg.io.raster import create_raster

_STORAGE = {"dtype": "uint32", "blockxsize": 256, "blockysize": 256, "compress": "zstd", "zstd_level": 1, "sparse_ok": True}


class ScratchLabels:
    """A uint32 raster on disk that is written and read by windows; see :class:`geoseg.objects.rasters.LabelRaster`."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def read(self, window: Window) -> NDArray[np.uint32]:
        """Return the labels (H, W) of a window."""
        with _named(self._dataset):
            labels: NDArray[np.uint32] = self._dataset.read(1, window=window)
        return labels

    def write(self, window: Window, labels: NDArray[np.uint32]) -> None:
        """Set the labels (H, W) of a window."""
        with _named(self._dataset):
            self._dataset.write(labels, 1, window=window)


@contextmanager
def _named(dataset: Any) -> Iterator[None]:
    """Say which file the disk did not take: others are open around it, and would be blamed."""
    try:
        yield
    except (RasterioError, CPLE_BaseError) as exc:
        raise WriteError(f"{dataset.name} could not be written: {exc}. Check the free space; the same command again goes on.") from exc


@contextmanager
def open_scratch(path: Path, geobox: GeoBox) -> Iterator[ScratchLabels]:
    """Create a label raster, empty, to be written and read by windows.

    Raises:
        WriteError: If the disk does not take it.
    """
    with create_raster(path, geobox, count=1, **_STORAGE) as dataset:
        yield ScratchLabels(dataset)


@contextmanager
def open_scratch_bands(path: Path, geobox: GeoBox, count: int) -> Iterator[Callable[[Window, NDArray[np.uint32], NDArray[np.bool_]], None]]:
    """Create a uint32 raster of several bands with a mask; yields a function that takes window, (B, H, W) pixels and (H, W) valid.

    Raises:
        WriteError: If the disk does not take it.
    """
    with create_raster(path, geobox, count=count, **_STORAGE) as dataset:

        def write(window: Window, pixels: NDArray[np.uint32], valid: NDArray[np.bool_]) -> None:
            with _named(dataset):
                dataset.write(pixels, window=window)
                dataset.write_mask(valid, window=window)

        yield write
