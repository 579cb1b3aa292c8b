"""The raster source: one pixel grid, everything after lives in it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import MaskFlags
from rasterio.env import Env
from rasterio.features import geometry_mask
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from geoseg.errors import GeosegError, RunError
from geoseg.io.grid import settle_grid
from geoseg.io.sources.dataset import FOREIGN, RasterOptions, bounded_cache, create_raster, open_dataset, open_plain
from geoseg.io.sources.imagery import FileImagery, Imagery, Reader, describe_file
from geoseg.io.sources.valid import read_valid
from geoseg.pixels.average import average_blocks, whole_blocks
from geoseg.tiling import partition

__all__ = [
    "OpenRaster",
    "RasterOptions",
    "RasterSource",
    "bounded_cache",
    "create_raster",
    "has_data",
    "open_dataset",
    "open_plain",
    "open_raster",
    "place_source",
    "read_whole",
]

_COARSE_PX = 1024
_PROBES, _PROBE_PX = 4, 64
_STRIP_PX = 1024
"""Source rows that are averaged at a time."""
_SEARCHED_PX = 4 * 10**9
"""Pixels that are looked through for one that is valid, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterSource:
    """A raster on the run's pixel grid. Holds nothing open, so it travels between processes."""

    path: str
    """What it is called: a file name, address or GDAL connection string, or the first of several."""
    imagery: Imagery
    """Its pixels at full resolution."""
    bands: tuple[int, ...]
    """1-based band numbers, in the model's order."""
    geobox: GeoBox
    """Shape, transform and CRS of the run's grid."""
    decimation: int = 1
    """Source pixels per run pixel along each axis; they are averaged."""
    origin: tuple[int, int] = (0, 0)
    """Row and column of its first pixel on the grid of the whole imagery; see :meth:`crop`."""
    dtype: str = "uint8"
    """Data type of the source bands."""
    aoi: BaseGeometry | None = None
    """Area of interest in the raster's CRS; pixels whose center lies outside are not valid."""
    options: RasterOptions = field(default_factory=RasterOptions)
    """How it is brought onto the grid."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the run's grid."""
        return int(self.geobox.shape[0]), int(self.geobox.shape[1])

    @property
    def bytes_per_px(self) -> int:
        """Bytes of all bands of a pixel."""
        return len(self.bands) * np.dtype(self.dtype).itemsize

    def open(self, threads: int = 1) -> "OpenRaster":
        """Hold the raster open for reading many windows of it; see :class:`OpenRaster`."""
        return OpenRaster(self, threads)

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read the pixels of a window of the run's grid.

        Args:
            window: Integer rectangle inside the grid.

        Returns:
            Pixels (C, H, W) in the source's dtype and valid (H, W), True = data. Averages of integers are rounded.

        Raises:
            RunError: If the file cannot be read there; the message names the window.
        """
        with self.open() as raster:
            return raster.read(window)

    def choose(self, bands: Sequence[int]) -> "RasterSource":
        """Return it with these bands, 1-based, in the model's order."""
        return replace(self, bands=tuple(bands), imagery=self.imagery.choose(bands))

    def crop(self, window: Window) -> "RasterSource":
        """Return a part of it, for reading; what looks at rasters from afar, as :func:`has_data`, looks at whole ones.

        Args:
            window: Integer rectangle inside the grid.
        """
        origin = self.origin[0] + window.row_off, self.origin[1] + window.col_off
        return replace(self, geobox=self.geobox[window.toslices()], origin=origin)

    def read_from(self, reader: Reader, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window from the open imagery of this raster; see :meth:`read`."""
        pixels = np.empty((len(self.bands), window.height, window.width), self.dtype)
        valid = np.ones((window.height, window.width), bool)
        full = self._window_below(window)
        if self.decimation == 1:
            reader.read_into(self.bands, full, pixels, valid)
        else:
            self._read_averages(reader, full, pixels, valid)
        if self.aoi is not None:
            valid &= self._inside_aoi(window)
        return pixels, valid

    def wanted(self) -> Window:
        """Return the rectangle of the grid that holds the area of interest."""
        whole = Window(0, 0, self.shape[1], self.shape[0])
        if self.aoi is None:
            return whole
        corners = [~self.geobox.transform * corner for corner in product(self.aoi.bounds[::2], self.aoi.bounds[1::2])]
        (left, right), (top, bottom) = ((math.floor(min(axis)), math.ceil(max(axis))) for axis in zip(*corners, strict=True))
        return whole.intersection(Window(left, top, right - left, bottom - top))

    def touches_aoi(self, window: Window) -> bool:
        """Tell whether any of a window may lie in the area of interest."""
        if self.aoi is None:
            return True
        outline = self.geobox[window.toslices()].boundingbox.bbox
        return bool(self.aoi.intersects(shapely.box(*outline)))

    def _window_below(self, window: Window) -> Window:
        """Return the pixels of the imagery below a window of the grid."""
        k, (top, left) = self.decimation, self.origin
        full = Window((left + window.col_off) * k, (top + window.row_off) * k, window.width * k, window.height * k)
        height, width = self.imagery.geobox.shape
        return full.intersection(Window(0, 0, width, height))

    def _read_averages(self, reader: Reader, full: Window, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Read some rows of the imagery at a time, so that averaging holds few of its pixels."""
        k = self.decimation
        strip_px = max(1, _STRIP_PX // k) * k
        taken = np.empty((len(self.bands), min(strip_px, full.height), full.width), self.dtype)
        for top in range(0, full.height, strip_px):
            height = min(strip_px, full.height - top)
            there = np.ones((height, full.width), bool)
            reader.read_into(self.bands, Window(full.col_off, full.row_off + top, full.width, height), taken[:, :height], there)
            rows = slice(top // k, -(-(top + height) // k))
            pixels[:, rows] = average_blocks(taken[:, :height], k)
            valid[rows] = True if there.all() else whole_blocks(there, k)
        if np.issubdtype(pixels.dtype, np.floating):
            # sums of the largest floats are none
            valid &= np.isfinite(pixels).all(axis=0)

    def _inside_aoi(self, window: Window) -> NDArray[np.bool_]:
        transform = self.geobox.transform @ Affine.translation(window.col_off, window.row_off)
        shape = (int(window.height), int(window.width))
        inside: NDArray[np.bool_] = geometry_mask([self.aoi], shape, transform, invert=True)
        return inside


class OpenRaster:
    """A raster that stays open from read to read, so that neighboring windows share the blocks that GDAL has decoded.

    May be read by several threads, one at a time. Opens the file with the first read, and anew after one that failed.

    Args:
        source: The raster.
        threads: Blocks that are decoded at the same time. More read sooner and take more processor time in all: right where a GPU waits.
    """

    def __init__(self, source: RasterSource, threads: int = 1) -> None:
        self._source = source
        self._threads = threads
        self._reader: Reader | None = None
        self._lock = Lock()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the run's grid."""
        return self._source.shape

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read the pixels of a window; see :meth:`RasterSource.read`."""
        with self._lock, bounded_cache(), Env(GDAL_NUM_THREADS=self._threads):
            try:
                if self._reader is None:
                    self._reader = self._source.imagery.open()
                return self._source.read_from(self._reader, window)
            except GeosegError:
                self._close()
                raise
            except (*FOREIGN, OSError, MemoryError) as exc:
                self._close()
                raise RunError(
                    f"{self._source.path} could not be read at {_describe(window)}: {exc}. Check the file with gdalinfo."
                ) from exc

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_raster(
    path: str | Path,
    options: RasterOptions | None = None,
    *,
    resolution_m: float | None = None,
    needs_georeference: bool = True,
    in_colors: bool = False,
) -> RasterSource:
    """Check a raster and settle the pixel grid of the run.

    Args:
        path: File name or GDAL connection string.
        options: CRS and warp.
        resolution_m: Pixel size on the ground that the model was trained for. A raster that is finer by a whole
            factor (rounded) is averaged by it; a coarser one is taken as it is. None takes the raster's own.
        needs_georeference: Refuse a raster without CRS. Without one, pixels are not averaged.
        in_colors: Read indices into a table of colors as red, green and blue.

    Returns:
        The source, described but not held open.

    Raises:
        MissingFileError: If there is no such file.
        RasterError: If the raster cannot be used; the message says why and what to do.
    """
    options = options or RasterOptions()
    imagery = describe_file(str(path), options, needs_georeference=needs_georeference)
    imagery = imagery.in_colors() if in_colors else imagery
    return replace(place_source(imagery, resolution_m, needs_georeference=needs_georeference), options=options)


def place_source(imagery: Imagery, resolution_m: float | None, *, needs_georeference: bool = True) -> RasterSource:
    """Return imagery on the pixel grid of a run; see :func:`open_raster`."""
    geobox, factor = imagery.geobox, 1
    if geobox.crs is not None and (needs_georeference or resolution_m is not None):
        geobox, factor = settle_grid(imagery.name, geobox, resolution_m)
    bands = tuple(range(1, len(imagery.bands) + 1))
    return RasterSource(path=imagery.name, imagery=imagery, bands=bands, geobox=geobox, decimation=factor, dtype=imagery.dtype)


def read_whole(source: RasterSource) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read a raster in one piece, pixels (C, H, W) and valid (H, W); for rasters that fit into memory."""
    return source.read(Window(0, 0, source.shape[1], source.shape[0]))


def has_data(source: RasterSource) -> bool:
    """Tell whether any pixel is valid: by a few places, then by a coarse look, by every block only where these find none.

    A raster that would take minutes to look through is believed to have some. What lies outside the area of interest is not read.
    """
    if source.shape[0] * source.shape[1] > _SEARCHED_PX:
        return True
    if _seems_to_have_data(source, cheaply=True):
        return True
    with source.open() as raster:
        if any(raster.read(window)[1].any() for window in filter(source.touches_aoi, _probes(source.shape))):
            return True
        if _seems_to_have_data(source):
            return True
        return any(raster.read(window)[1].any() for window in filter(source.touches_aoi, partition(source.shape, _COARSE_PX)))


def _probes(shape: tuple[int, int]) -> Iterator[Window]:
    """Yield small windows in even distances, the last one first, which a file that was cut off lacks; none of a small raster."""
    if min(shape) < 2 * _PROBES * _PROBE_PX:
        return
    rows, cols = ([int((k + 0.5) * size / _PROBES) - _PROBE_PX // 2 for k in range(_PROBES)] for size in shape)
    yield from (Window(col, row, _PROBE_PX, _PROBE_PX) for row in reversed(rows) for col in reversed(cols))


def _seems_to_have_data(source: RasterSource, *, cheaply: bool = False) -> bool:
    """Look at the mask of a file from afar, which may overlook pixels; if asked so, only where no more than an overview is decoded."""
    imagery = source.imagery
    says_all = source.aoi is None and not np.issubdtype(source.dtype, np.floating)
    if not (says_all and isinstance(imagery, FileImagery) and imagery.collar is None and not imagery.is_in_colors):
        return False
    try:
        with open_dataset(imagery.name, imagery.options) as dataset:
            unmasked = all(MaskFlags.all_valid in flags for flags in dataset.mask_flag_enums)
            if cheaply and not (unmasked or dataset.overviews(1)):
                return False
            coarse = (min(dataset.height, _COARSE_PX), min(dataset.width, _COARSE_PX))
            return bool(read_valid(dataset, out_shape=coarse).any())
    except (*FOREIGN, OSError) as exc:
        raise RunError(f"{source.path} could not be read: {exc}. Check the file with gdalinfo.") from exc


def _describe(window: Window) -> str:
    return f"columns {window.col_off}-{window.col_off + window.width}, rows {window.row_off}-{window.row_off + window.height}"
