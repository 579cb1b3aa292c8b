"""Reading rasters: one source, one pixel grid, everything after lives in it.

``rasterio.open`` is called in this file and nowhere else.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.env import Env
from rasterio.errors import CRSError, NodataShadowWarning, NotGeoreferencedWarning, RasterioError
from rasterio.features import geometry_mask
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from geoseg.errors import MissingFileError, RasterError, RunError, WriteError
from geoseg.io.checks import check_raster, count_averaged
from geoseg.io.files import is_there
from geoseg.io.ground import pixel_size_m
from geoseg.io.pointers import refuse_far_pointers
from geoseg.tiling import partition

_COARSE_PX = 1024
_CACHE_MB = 64
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
    """A raster on the run's pixel grid. Opens the file anew for each read, so it travels between processes."""

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

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read the pixels of a window of the run's grid.

        Args:
            window: Integer rectangle inside the grid.

        Returns:
            Pixels (C, H, W) in the source's dtype and valid (H, W), True = data. Averages of integers are rounded.

        Raises:
            RunError: If the file cannot be read there; the message names the window.
        """
        pixels = np.empty((len(self.bands), window.height, window.width), self.dtype)
        valid = np.empty((window.height, window.width), bool)
        strip_px = window.height if self.decimation == 1 else max(1, _STRIP_PX // self.decimation)
        try:
            with open_dataset(self.path, self.options) as dataset:
                for top in range(0, window.height, strip_px):
                    rows = slice(top, min(top + strip_px, window.height))
                    strip = Window(window.col_off, window.row_off + top, window.width, rows.stop - top)
                    pixels[:, rows], valid[rows] = self._read_strip(dataset, strip)
        except (*_FOREIGN, OSError, MemoryError) as exc:
            raise RunError(f"{self.path} could not be read at {_describe(window)}: {exc}. Check the file with gdalinfo.") from exc
        if self.aoi is not None:
            valid &= self._inside_aoi(window)
        return pixels, valid

    def _read_strip(self, dataset: Any, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read some rows of a window, so that averaging holds few source pixels at a time."""
        k = self.decimation
        full = _clip(Window(window.col_off * k, window.row_off * k, window.width * k, window.height * k), dataset)
        pixels = dataset.read(self.bands, window=full, out_dtype=self.dtype)
        valid = _read_valid(dataset, window=full)
        if np.issubdtype(pixels.dtype, np.floating):
            valid &= np.isfinite(pixels).all(axis=0)
        if k == 1:
            return pixels, valid
        averaged, whole = average_blocks(pixels, valid, k)
        # sums of the largest floats are none
        whole &= np.isfinite(averaged).all(axis=0)
        return (np.rint(averaged) if np.issubdtype(pixels.dtype, np.integer) else averaged), whole

    def _inside_aoi(self, window: Window) -> NDArray[np.bool_]:
        transform = self.geobox.transform @ Affine.translation(window.col_off, window.row_off)
        shape = (int(window.height), int(window.width))
        inside: NDArray[np.bool_] = geometry_mask([self.aoi], shape, transform, invert=True)
        return inside


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
        factor = count_averaged(name, _ground_pixel_m(name, geobox), resolution_m)
    return RasterSource(path=name, bands=bands, geobox=_decimate(geobox, factor), decimation=factor, dtype=dtype, options=options)


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
                if _read_valid(dataset, out_shape=coarse).any():
                    return True
        except (*_FOREIGN, OSError) as exc:
            raise RunError(f"{source.path} could not be read: {exc}. Check the file with gdalinfo.") from exc
    if source.shape[0] * source.shape[1] > _SEARCHED_PX:
        return True
    return any(source.read(window)[1].any() for window in partition(source.shape, _COARSE_PX))


def bounded_cache() -> Env:
    """Keep GDAL's block cache small: its own choice, a share of the machine's memory, fills up with the raster (law 8)."""
    return Env(GDAL_CACHEMAX=_CACHE_MB)


@contextmanager
def open_dataset(path: str, options: RasterOptions) -> Iterator[Any]:
    """Open a raster for reading, warped to north-up if the options ask for it."""
    with warnings.catch_warnings():
        # where a georeference is needed, its absence is an error of our own
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with bounded_cache():
            opened = rasterio.open(path)
    with bounded_cache(), opened as dataset:
        if not options.warp:
            yield _with_crs(dataset, options)
            return
        add_alpha = ColorInterp.alpha not in dataset.colorinterp
        with WarpedVRT(
            dataset, resampling=Resampling.bilinear, tolerance=0.0, add_alpha=add_alpha, **_placed_by(dataset, options)
        ) as warped:
            yield warped


def _placed_by(dataset: Any, options: RasterOptions) -> dict[str, Any]:
    """Return what tells GDAL where a raster lies: its grid, or else its control points or RPCs."""
    if dataset.transform == Affine.identity() and dataset.gcps[0]:
        return {"src_crs": dataset.gcps[1], "SRC_METHOD": "GCP_POLYNOMIAL"}
    if dataset.transform == Affine.identity() and dataset.rpcs:
        return {"src_crs": "EPSG:4326", "SRC_METHOD": "RPC"}
    return {"src_crs": _with_crs(dataset, options).crs}


def _read_valid(dataset: Any, **where: Any) -> NDArray[np.bool_]:
    """Return valid pixels by mask band, nodata value and alpha; GDAL's own mask overlooks alpha in most band counts and types."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NodataShadowWarning)
        valid: NDArray[np.bool_] = dataset.dataset_mask(**where) != 0
    if ColorInterp.alpha in dataset.colorinterp and MaskFlags.per_dataset not in dataset.mask_flag_enums[0]:
        valid &= dataset.read(dataset.colorinterp.index(ColorInterp.alpha) + 1, **where) != 0
    return valid


def _ground_pixel_m(name: str, geobox: GeoBox) -> float:
    try:
        size = pixel_size_m(geobox)
    except ProjError as exc:
        raise RasterError(f"{name} does not lie on the earth, so it has no metres on the ground: {exc}.") from exc
    if not 0 < size < np.inf:
        raise RasterError(f"{name} has pixels of {size} m on the ground: its transform does not fit its CRS. Check both with gdalinfo.")
    return size


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


def _decimate(geobox: GeoBox, factor: int) -> GeoBox:
    height, width = (-(-n // factor) for n in geobox.shape)
    return GeoBox((height, width), geobox.transform @ Affine.scale(factor), geobox.crs)


def _clip(window: Window, dataset: Any) -> Window:
    return window.intersection(Window(0, 0, dataset.width, dataset.height))


def _describe(window: Window) -> str:
    return f"columns {window.col_off}-{window.col_off + window.width}, rows {window.row_off}-{window.row_off + window.height}"


def average_blocks(pixels: NDArray[Any], valid: NDArray[np.bool_], k: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Average k x k blocks; a block is valid when each of its pixels is.

    Args:
        pixels: (C, H, W). Blocks at the lower and right edge may be incomplete.
        valid: (H, W), True = data.
        k: Block size in pixels.

    Returns:
        (C, ceil(H / k), ceil(W / k)) float32 and its valid pixels.
    """
    height, width = valid.shape
    padding = ((0, -height % k), (0, -width % k))
    padded = np.pad(pixels, ((0, 0), *padding))
    steps = [(slice(i, None, k), slice(j, None, k)) for i in range(k) for j in range(k)]
    total = np.zeros((len(pixels), *(-(-n // k) for n in valid.shape)), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # nodata may be as large as the type allows
        for rows, cols in steps:
            total += padded[:, rows, cols]
    there = np.pad(np.ones_like(valid), padding)
    count = sum((there[rows, cols].astype(np.float32) for rows, cols in steps), start=np.float32(0))
    whole = np.pad(valid, padding, constant_values=True)
    return np.asarray(total / count, np.float32), np.logical_and.reduce([whole[rows, cols] for rows, cols in steps])


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


class ScratchLabels:
    """A uint32 raster on disk that is written and read by windows; see :class:`geoseg.objects.rasters.LabelRaster`."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def read(self, window: Window) -> NDArray[np.uint32]:
        """Return the labels (H, W) of a window."""
        labels: NDArray[np.uint32] = self._dataset.read(1, window=window)
        return labels

    def write(self, window: Window, labels: NDArray[np.uint32]) -> None:
        """Set the labels (H, W) of a window."""
        self._dataset.write(labels, 1, window=window)


@contextmanager
def open_scratch(path: Path, geobox: GeoBox) -> Iterator[ScratchLabels]:
    """Create a label raster, empty, to be written and read by windows.

    Raises:
        WriteError: If the disk does not take it.
    """
    with _create_scratch(path, geobox, 1) as dataset:
        yield ScratchLabels(dataset)


@contextmanager
def open_scratch_bands(path: Path, geobox: GeoBox, count: int) -> Iterator[Callable[[Window, NDArray[np.uint32], NDArray[np.bool_]], None]]:
    """Create a uint32 raster of several bands with a mask; yields a function that takes window, (B, H, W) pixels and (H, W) valid.

    Raises:
        WriteError: If the disk does not take it.
    """
    with _create_scratch(path, geobox, count) as dataset:

        def write(window: Window, pixels: NDArray[np.uint32], valid: NDArray[np.bool_]) -> None:
            dataset.write(pixels, window=window)
            dataset.write_mask(valid, window=window)

        yield write


@contextmanager
def _create_scratch(path: Path, geobox: GeoBox, count: int) -> Iterator[Any]:
    height, width = geobox.shape
    profile = {"driver": "GTiff", "count": count, "dtype": "uint32", "height": height, "width": width, "bigtiff": "if_safer"}
    storage = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "zstd", "zstd_level": 1, "sparse_ok": True}
    try:
        with (
            bounded_cache(),
            Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(path, "w+", **profile, **storage, interleave="band", transform=geobox.transform, crs=geobox.crs) as dataset,
        ):
            yield dataset
    except RasterioError as exc:
        raise WriteError(f"{path} could not be written: {exc}. Check the free space of the disk.") from exc
