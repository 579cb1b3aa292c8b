"""Class rasters of others, read on the grid of a run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geoseg.errors import LabelError, RunError
from geoseg.io.raster import RasterOptions, bounded_cache, open_dataset, open_raster
from geoseg.io.sources.valid import read_valid
from geoseg.io.warp import same_grid

_TOLERANCE_PX = 0.01
"""Error of the transformer; rasterio makes none for an exact one onto a given grid."""


@contextmanager
def open_on_grid(
    path: Path, geobox: GeoBox, fill: int, *, takes_fractions: bool = False, band: int = 1
) -> Iterator[Callable[[Window], NDArray[Any]]]:
    """Hold a band of a raster open for reading windows of another grid, by the nearest pixel.

    Args:
        path: The raster; its CRS and resolution may differ.
        geobox: The grid. Without a CRS, the raster must have the same shape and is taken pixel by pixel.
        fill: Value where the raster holds no data or does not reach.
        takes_fractions: Whether it may hold other than whole numbers, which are classes.
        band: 1-based.

    Raises:
        LabelError: If the raster holds fractions and must not, or cannot be placed on the grid.
    """
    source = open_raster(path, needs_georeference=geobox.crs is not None)
    if not (takes_fractions or np.issubdtype(source.dtype, np.integer)):
        raise LabelError(
            f"{path} holds {source.dtype}; class values are whole numbers. Convert it, for example with gdal_translate -ot Byte."
        )
    try:
        with bounded_cache(), open_dataset(str(path), RasterOptions()) as dataset:
            if _is_same(source.geobox, geobox):
                yield _Reader(dataset, fill, band)
            elif geobox.crs is None:
                raise LabelError(
                    f"{path} has {source.shape} pixels, the class map {tuple(geobox.shape)}; without a CRS they must lie on the same grid."
                )
            else:
                grid = {"crs": geobox.crs, "transform": geobox.transform, "height": geobox.shape[0], "width": geobox.shape[1]}
                # an alpha band tells where the labels do not reach
                add_alpha = dataset.nodata is None and ColorInterp.alpha not in dataset.colorinterp
                with WarpedVRT(dataset, resampling=Resampling.nearest, tolerance=_TOLERANCE_PX, add_alpha=add_alpha, **grid) as warped:
                    yield _Reader(warped, fill, band)
    except (RasterioError, CPLE_BaseError) as exc:
        raise RunError(f"{path} could not be read: {exc}. Check the file with gdalinfo.") from exc


class _Reader:
    def __init__(self, dataset: Any, fill: int, band: int) -> None:
        self._dataset = dataset
        self._fill = fill
        self._band = band

    def __call__(self, window: Window) -> NDArray[Any]:
        """Return the values (H, W) of a window."""
        read = self._dataset.read(self._band, window=window)
        values: NDArray[Any] = read.astype(np.int64 if np.issubdtype(read.dtype, np.integer) else np.float64)
        values[~read_valid(self._dataset, window=window) | ~np.isfinite(values)] = self._fill
        return values


def _is_same(one: GeoBox, other: GeoBox) -> bool:
    # without a CRS there is nothing to go by but the shape
    return tuple(one.shape) == tuple(other.shape) if other.crs is None else same_grid(one, other)
