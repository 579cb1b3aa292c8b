"""Reading rasters: one source, one pixel grid, everything after lives in it.

``rasterio.open`` is called in this file and nowhere else.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, Resampling
from rasterio.env import Env, set_gdal_config
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.features import geometry_mask
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from geoseg.errors import MissingFileError, RasterError, RunError, WriteError
from geoseg.io.checks import check_raster
from geoseg.io.files import is_there
from geoseg.io.grid import settle_grid
from geoseg.io.pointers import refuse_far_pointers
from geoseg.io.valid import is_all_valid, read_valid
from geoseg.pixels.average import average_blocks, whole_blocks
from geoseg.tiling import partition

_COARSE_PX = 1024
_CACHE_BYTES = 64 * 2**20
_OPEN_SOURCES = 8
"""Files of a virtual raster that are open at a time; each holds buffers of three megabytes, and large runs have thousands (law 8)."""
_STRIP_PX = 1024
"""Source rows that are averaged at a time."""
_SEARCHED_PX = 4 * 10**9
"""Pixels that are looked through for one that is valid, at most."""
_FOREIGN = (RasterioError, CRSError, ProjError, CPLE_BaseError, UnicodeDecodeError)
"""What GDAL's Python side raises on damaged files; names and messages of such files need not be UTF-8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterOptions:
    """How a raster is brought onto the run's pixel grid."""

    assume_crs: str | None = None
    """CRS of a raster that declares none, for example ``EPSG:32645``."""
    warp: bool = False
    """Warp a rotated or GCP-only raster to a north-up grid."""
    trust_vrt: bool = False
    """Open a virtual raster that points out of its folder, or at an address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterSource:
    """A raster on the run's pixel grid. Holds nothing open, so it travels between processes."""

    path: str
    """File name or GDAL connection string."""
    bands: tuple[int, ...]
    """1-based band numbers, in the model's order."""
    geobox: GeoBox
    """Shape, transform and CRS of the run's grid."""
    decimation: int = 1
    """Source pixels per run pixel along each axis; they are averaged."""
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

    def read_from(self, dataset: Any, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window from the dataset of this raster; see :meth:`read`."""
        pixels = np.empty((len(self.bands), window.height, window.width), self.dtype)
        valid = np.ones((window.height, window.width), bool)
        full = self._window_in(dataset, window)
        if self.decimation == 1:
            self._read_pixels(dataset, full, pixels, valid)
        else:
            self._read_averages(dataset, full, pixels, valid)
        if self.aoi is not None:
            valid &= self._inside_aoi(window)
        return pixels, valid

    def _window_in(self, dataset: Any, window: Window) -> Window:
        """Return the pixels of the file below a window of the grid."""
        k = self.decimation
        full = Window(window.col_off * k, window.row_off * k, window.width * k, window.height * k)
        return full.intersection(Window(0, 0, dataset.width, dataset.height))

    def _read_pixels(self, dataset: Any, window: Window, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Read pixels of the file, and clear valid where they hold no data."""
        dataset.read(self.bands, window=window, out=pixels)
        if not is_all_valid(dataset):
            valid &= read_valid(dataset, window=window)
        if np.issubdtype(pixels.dtype, np.floating):
            valid &= np.isfinite(pixels).all(axis=0)

    def _read_averages(self, dataset: Any, full: Window, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Read some rows of the file at a time, so that averaging holds few of its pixels."""
        k = self.decimation
        strip_px = max(1, _STRIP_PX // k) * k
        taken = np.empty((len(self.bands), min(strip_px, full.height), full.width), self.dtype)
        for top in range(0, full.height, strip_px):
            height = min(strip_px, full.height - top)
            there = np.ones((height, full.width), bool)
            self._read_pixels(dataset, Window(full.col_off, full.row_off + top, full.width, height), taken[:, :height], there)
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
        self._dataset: Any = None
        self._lock = Lock()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the run's grid."""
        return self._source.shape

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read the pixels of a window; see :meth:`RasterSource.read`."""
        with self._lock, bounded_cache(), Env(GDAL_NUM_THREADS=self._threads):
            try:
                if self._dataset is None:
                    self._dataset = _open(self._source.path, self._source.options)
                return self._source.read_from(self._dataset, window)
            except (*_FOREIGN, OSError, MemoryError) as exc:
                self._close()
                raise RunError(
                    f"{self._source.path} could not be read at {_describe(window)}: {exc}. Check the file with gdalinfo."
                ) from exc

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._dataset is not None:
            _close(self._dataset)
            self._dataset = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_raster(
    path: str | Path, options: RasterOptions | None = None, *, resolution_m: float | None = None, needs_georeference: bool = True
) -> RasterSource:
    """Check a raster and settle the pixel grid of the run.

    Args:
        path: File name or GDAL connection string.
        options: CRS and warp.
        resolution_m: Pixel size on the ground that the model was trained for. A raster that is finer by a whole
            factor (rounded) is averaged by it; a coarser one is taken as it is. None takes the raster's own.
        needs_georeference: Refuse a raster without CRS. Without one, pixels are not averaged.

    Returns:
        The source, described but not held open.

    Raises:
        MissingFileError: If there is no such file.
        RasterError: If the raster cannot be used; the message says why and what to do.
    """
    options = options or RasterOptions()
    name = str(path)
    if "://" not in name and not name.startswith("/vsi") and ":" not in Path(name).name and not is_there(Path(name)):
        raise MissingFileError(f"There is no file {name}. Check the path.")
    if not options.trust_vrt:
        refuse_far_pointers(Path(name))
    try:
        with open_dataset(name, options) as dataset:
            check_raster(name, dataset, needs_georeference)
            # warping may have added an alpha band, which is not the raster's own
            bands = tuple(range(1, getattr(dataset, "src_dataset", dataset).count + 1))
            dtype = np.result_type(*(dataset.dtypes[band - 1] for band in bands)).name
            geobox = GeoBox((dataset.height, dataset.width), dataset.transform, dataset.crs)
    except _FOREIGN as exc:
        raise RasterError(f"{name} could not be opened as a raster: {exc}. Expected a format that GDAL reads.") from exc
    factor = 1
    if geobox.crs is not None and (needs_georeference or resolution_m is not None):
        geobox, factor = settle_grid(name, geobox, resolution_m)
    return RasterSource(path=name, bands=bands, geobox=geobox, decimation=factor, dtype=dtype, options=options)


def read_whole(source: RasterSource) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read a raster in one piece, pixels (C, H, W) and valid (H, W); for rasters that fit into memory."""
    return source.read(Window(0, 0, source.shape[1], source.shape[0]))


def has_data(source: RasterSource) -> bool:
    """Tell whether any pixel is valid: by a coarse look first, by every block only where that finds none.

    A raster that would take minutes to look through is believed to have some.
    """
    if source.aoi is None and not np.issubdtype(source.dtype, np.floating):
        try:
            with open_dataset(source.path, source.options) as dataset:
                coarse = (min(dataset.height, _COARSE_PX), min(dataset.width, _COARSE_PX))
                if read_valid(dataset, out_shape=coarse).any():
                    return True
        except (*_FOREIGN, OSError) as exc:
            raise RunError(f"{source.path} could not be read: {exc}. Check the file with gdalinfo.") from exc
    if source.shape[0] * source.shape[1] > _SEARCHED_PX:
        return True
    with source.open() as raster:
        return any(raster.read(window)[1].any() for window in partition(source.shape, _COARSE_PX))


def bounded_cache() -> Env:
    """Keep what GDAL holds small: its own choice, a share of the machine's memory, fills up with the raster (law 8)."""
    _limit_cache()
    return Env(GDAL_MAX_DATASET_POOL_SIZE=_OPEN_SOURCES)


@cache
def _limit_cache() -> None:
    """Limit GDAL's block cache, once and for all threads: as an option of environments, each that ends sets it back for all."""
    set_gdal_config("GDAL_CACHEMAX", _CACHE_BYTES)


@contextmanager
def open_dataset(path: str, options: RasterOptions) -> Iterator[Any]:
    """Open a raster for reading, warped to north-up if the options ask for it."""
    with bounded_cache():
        dataset = _open(path, options)
        try:
            yield dataset
        finally:
            _close(dataset)


def _open(path: str, options: RasterOptions) -> Any:
    with warnings.catch_warnings():
        # where a georeference is needed, its absence is an error of our own
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(path)
    if not options.warp:
        return _with_crs(dataset, options)
    add_alpha = ColorInterp.alpha not in dataset.colorinterp
    return WarpedVRT(dataset, resampling=Resampling.bilinear, tolerance=0.0, add_alpha=add_alpha, **_placed_by(dataset, options))


def _close(dataset: Any) -> None:
    """Close a dataset, and the one that it warps."""
    dataset.close()
    getattr(dataset, "src_dataset", dataset).close()


def _placed_by(dataset: Any, options: RasterOptions) -> dict[str, Any]:
    """Return what tells GDAL where a raster lies: its grid, or else its control points or RPCs."""
    if dataset.transform == Affine.identity() and dataset.gcps[0]:
        return {"src_crs": dataset.gcps[1], "SRC_METHOD": "GCP_POLYNOMIAL"}
    if dataset.transform == Affine.identity() and dataset.rpcs:
        return {"src_crs": "EPSG:4326", "SRC_METHOD": "RPC"}
    return {"src_crs": _with_crs(dataset, options).crs}


class _AssumedCrs:
    """A dataset seen through a CRS that the file does not declare."""

    def __init__(self, dataset: Any, crs: str) -> None:
        self._dataset = dataset
        try:
            self.crs = rasterio.crs.CRS.from_user_input(crs)
        except CRSError as exc:
            raise RasterError(f"There is no CRS {crs!r}: {exc}. Name one with --assume-crs, for example EPSG:32645.") from exc

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)


def _with_crs(dataset: Any, options: RasterOptions) -> Any:
    if dataset.crs is None and options.assume_crs is not None:
        return _AssumedCrs(dataset, options.assume_crs)
    return dataset


def _describe(window: Window) -> str:
    return f"columns {window.col_off}-{window.col_off + window.width}, rows {window.row_off}-{window.row_off + window.height}"


@contextmanager
def open_plain(path: Path) -> Iterator[Any]:
    """Open a raster that geoseg made itself, for reading.

    Raises:
        RunError: If it cannot be opened or read.
    """
    try:
        with bounded_cache(), rasterio.open(path) as dataset:
            yield dataset
    except RasterioError as exc:
        raise RunError(f"{path} could not be read: {exc}. If it is damaged, remove it and run the same command again.") from exc


@contextmanager
def create_raster(path: Path, geobox: GeoBox, **profile: Any) -> Iterator[Any]:
    """Create a tiled GeoTIFF that is written and read by windows.

    Args:
        path: Its name.
        geobox: Its grid.
        profile: Bands, data type and compression, as rasterio spells them.

    Raises:
        WriteError: If the disk does not take it.
    """
    height, width = geobox.shape
    layout = {"driver": "GTiff", "height": height, "width": width, "tiled": True, "bigtiff": "if_safer", "interleave": "band"}
    try:
        with (
            bounded_cache(),
            Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(path, "w+", **layout, **profile, transform=geobox.transform, crs=geobox.crs) as dataset,
        ):
            yield dataset
    except (RasterioError, CPLE_BaseError) as exc:
        raise WriteError(f"{path} could not be written: {exc}. Check the free space of the disk.") from exc
