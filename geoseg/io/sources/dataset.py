"""Files that GDAL opens: how, from where, and with how much memory.

``rasterio.open`` is called in this file and nowhere else.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError
from rasterio._err import CPLE_BaseError
from rasterio.dtypes import _gdal_typename
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.env import Env, get_gdal_config, set_gdal_config
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT

from geoseg.errors import RasterError, RunError, WriteError
from geoseg.io.sources.address import gdal_name, is_remote
from geoseg.io.sources.placement import Placement
from geoseg.io.sources.signing import hold_signature

FOREIGN = (RasterioError, CRSError, ProjError, CPLE_BaseError, UnicodeDecodeError)
"""What GDAL's Python side raises on damaged files; names and messages of such files need not be UTF-8."""
OPEN_FILES = 8
"""Files of a virtual raster that are open at a time; each holds buffers of three megabytes, and large runs have thousands (law 8)."""
_CACHE_BYTES = 32 * 2**20
"""Of decoded blocks. Chunks under way share two dozen megabytes of them; more only makes long runs larger than short ones (law 8)."""
_REMOTE = {
    # neighboring blocks in one request, and no more than them
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    # the tables of a cloud-optimized GeoTIFF in one request
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    # a server that says nothing for a minute is not going to
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
}
"""How files are read over a network, where the environment does not say otherwise."""
_EXACT_PX = 1e-9
"""Error of the transformer onto a given grid, for which rasterio makes no exact one."""
_OPENING = Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterOptions:
    """How a raster is brought onto the run's pixel grid."""

    assume_crs: str | None = None
    """CRS of a raster that declares none, for example ``EPSG:32645``."""
    warp: bool = False
    """Warp a rotated or GCP-only raster to a north-up grid."""
    trust_vrt: bool = False
    """Open a virtual raster that points out of its folder, or at an address."""
    sign: str | None = None
    """What signs its address whenever it is opened; see :func:`geoseg.io.sources.signing.sign_address`. Of STAC assets only."""
    placed: Placement | None = None
    """Where it lies, for example by the position in a drone's picture; it is warped from there."""
    onto: GeoBox | None = None
    """Grid that it is warped onto; None keeps its own."""
    overview: int | None = None
    """Which of its overviews is read instead of its pixels, from 0; only of rasters that keep their grid."""
    ignore_alpha: bool = False
    """Take a band that is called alpha for imagery."""


def bounded_cache() -> Env:
    """Keep what GDAL holds small: its own choice, a share of the machine's memory, fills up with the raster (law 8)."""
    _settle_gdal()
    return Env(GDAL_MAX_DATASET_POOL_SIZE=OPEN_FILES)


@cache
def _settle_gdal() -> None:
    """Set GDAL up once and for all threads: options of environments are set back for all when one of them ends."""
    set_gdal_config("GDAL_CACHEMAX", _CACHE_BYTES)
    for name, value in _REMOTE.items():
        if get_gdal_config(name) is None:
            set_gdal_config(name, value)


@contextmanager
def open_dataset(path: str, options: RasterOptions) -> Iterator[Any]:
    """Open a raster for reading, warped if the options ask for it."""
    with bounded_cache():
        dataset = hold_dataset(path, options)
        try:
            yield dataset
        finally:
            close_dataset(dataset)


def hold_dataset(path: str, options: RasterOptions) -> Any:
    """Open a raster for reading; :func:`close_dataset` closes it."""
    path = readable_address(path, options)
    dataset = _open_any(path, **({} if options.overview is None else {"overview_level": options.overview}))
    if options.ignore_alpha or options.placed is not None:
        dataset = _as_told(dataset, path, options)
    if options.onto is not None:
        return _warp_onto(dataset, options, options.onto)
    if options.placed is not None and not options.placed.is_place:
        return dataset
    if not options.warp and options.placed is None:
        return _with_crs(dataset, options)
    add_alpha = ColorInterp.alpha not in dataset.colorinterp
    return WarpedVRT(dataset, resampling=_smoothly(dataset), tolerance=0.0, add_alpha=add_alpha, **_placed_by(dataset, options))


def _smoothly(dataset: Any) -> Resampling:
    """Return how values are mixed where pixels are moved; indices into a table of colors cannot be."""
    return Resampling.nearest if ColorInterp.palette in dataset.colorinterp else Resampling.bilinear


def readable_address(path: str, options: RasterOptions) -> str:
    """Return under which address a raster may be read now."""
    return path if options.sign is None else hold_signature(path, options.sign).address


def close_dataset(dataset: Any) -> None:
    """Close a dataset, and the one that it warps."""
    dataset.close()
    getattr(dataset, "src_dataset", dataset).close()


def _open_any(path: str, **how: int) -> Any:
    with warnings.catch_warnings():
        # where a georeference is needed, its absence is an error of our own
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        if not is_remote(path):
            return rasterio.open(path, **how)
        # looking for files beside it costs requests; the option is everybody's, so that nobody else may open meanwhile
        with _OPENING, Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
            name = gdal_name(path)
            try:
                return rasterio.open(name, **how)
            except RasterioError:
                # GDAL remembers that there was nothing, long after there is something again
                with Env(CPL_VSIL_CURL_NON_CACHED=name):
                    return rasterio.open(name, **how)


def _as_told(dataset: Any, path: str, options: RasterOptions) -> Any:
    """Return a virtual raster of all bands of a dataset, placed and with alpha ignored as the options say; its nodata and mask stay."""
    crs, transform = dataset.crs, dataset.transform
    if options.placed is not None:
        crs, transform = rasterio.crs.CRS.from_user_input(options.placed.crs), options.placed.transform
    root = Element("VRTDataset", {"rasterXSize": str(dataset.width), "rasterYSize": str(dataset.height)})
    if crs is not None:
        SubElement(root, "SRS").text = crs.to_wkt()
    if transform != Affine.identity():
        SubElement(root, "GeoTransform").text = ", ".join(repr(float(number)) for number in transform.to_gdal())
    if options.placed is None:
        _add_placing(root, dataset)
    for band, dtype, nodata in zip(dataset.indexes, dataset.dtypes, dataset.nodatavals, strict=True):
        made = SubElement(root, "VRTRasterBand", {"dataType": _gdal_typename(dtype), "band": str(band)})
        SubElement(made, "ColorInterp").text = "Undefined" if options.ignore_alpha else dataset.colorinterp[band - 1].name.capitalize()
        if nodata is not None:
            SubElement(made, "NoDataValue").text = repr(nodata)
        _add_source(made, path, str(band))
    flags = dataset.mask_flag_enums[0]
    if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
        _add_source(SubElement(SubElement(root, "MaskBand"), "VRTRasterBand", {"dataType": "Byte"}), path, "mask,1")
    dataset.close()
    return _open_any(tostring(root, encoding="unicode"))


def _add_placing(root: Element, dataset: Any) -> None:
    """Write control points and RPCs of a dataset into a virtual raster; see :func:`_placed_by`."""
    points, crs = dataset.gcps
    if points:
        listed = SubElement(root, "GCPList", {} if crs is None else {"Projection": crs.to_wkt()})
        for number, point in enumerate(points, start=1):
            place = {"Pixel": point.col, "Line": point.row, "X": point.x, "Y": point.y, "Z": point.z or 0.0}
            SubElement(listed, "GCP", {"Id": str(number)} | {name: repr(float(value)) for name, value in place.items()})
    coefficients = dataset.tags(ns="RPC")
    if coefficients:
        told = SubElement(root, "Metadata", {"domain": "RPC"})
        for name, value in coefficients.items():
            SubElement(told, "MDI", {"key": name}).text = value


def _add_source(band: Element, path: str, number: str) -> None:
    source = SubElement(band, "SimpleSource")
    SubElement(source, "SourceFilename", {"relativeToVRT": "0"}).text = gdal_name(path)
    SubElement(source, "SourceBand").text = number


def _warp_onto(dataset: Any, options: RasterOptions, grid: GeoBox) -> Any:
    """Warp onto a grid; what the file does not cover becomes transparent."""
    add_alpha = ColorInterp.alpha not in dataset.colorinterp
    height, width = grid.shape
    assert grid.crs is not None, "grids without a CRS have no place"
    placed = {"crs": str(grid.crs.to_wkt()), "transform": grid.transform, "height": height, "width": width}
    placed |= _placed_by(dataset, options)
    return WarpedVRT(dataset, resampling=_smoothly(dataset), tolerance=_EXACT_PX, add_alpha=add_alpha, **placed)


def _placed_by(dataset: Any, options: RasterOptions) -> dict[str, Any]:
    """Return what tells GDAL where a raster lies: its grid, or else its control points or RPCs."""
    if dataset.transform == Affine.identity() and dataset.gcps[0]:
        return {"src_crs": dataset.gcps[1], "SRC_METHOD": "GCP_POLYNOMIAL"}
    if dataset.transform == Affine.identity() and dataset.rpcs:
        return {"src_crs": "EPSG:4326", "SRC_METHOD": "RPC"}
    return {"src_crs": _with_crs(dataset, options).crs}


class _AssumedCrs:
    """A dataset seen through a CRS that the file does not declare."""

    def __init__(self, dataset: Any, crs: Any) -> None:
        self.plain = dataset
        """What GDAL knows of."""
        self.crs = crs

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)


def _with_crs(dataset: Any, options: RasterOptions) -> Any:
    if dataset.crs is not None or options.assume_crs is None:
        return dataset
    try:
        return _AssumedCrs(dataset, rasterio.crs.CRS.from_user_input(options.assume_crs))
    except CRSError as exc:
        raise RasterError(f"There is no CRS {options.assume_crs!r}: {exc}. Name one with --assume-crs, for example EPSG:32645.") from exc


def read_warped(
    dataset: Any, grid: GeoBox, bands: tuple[int, ...], *, smooth: bool, nodata: float | None = None
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read bands onto a grid in any CRS; the dataset's pixels should be about as large as the grid's.

    All bands and what is valid come out of one pass: at the edge of the data there are all bands or none.

    Args:
        dataset: As :func:`hold_dataset` returns it.
        grid: The grid, with a CRS.
        bands: 1-based.
        smooth: Interpolate between pixels, else take the nearest.
        nodata: Value without data of a file that may not say so.

    Returns:
        (C, H, W) in the dtype of the first band, and (H, W), True = data.
    """
    assert grid.crs is not None, "grids without a CRS have no place"
    height, width = grid.shape
    alpha = dataset.colorinterp.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in dataset.colorinterp else None
    how: dict[str, Any] = {"crs": str(grid.crs.to_wkt()), "transform": grid.transform, "height": height, "width": width}
    how |= {"src_crs": dataset.crs, "dtype": dataset.dtypes[bands[0] - 1], "add_alpha": alpha is None}
    how |= {} if nodata is None else {"src_nodata": nodata}
    # a pixel lacks data where all bands do; alpha is 0 or 1 in every dtype; kernels do not widen for pixels that are hardly smaller
    how |= {"UNIFIED_SRC_NODATA": "YES", "DST_ALPHA_MAX": 1, "XSCALE": 1, "YSCALE": 1}
    resampling = Resampling.bilinear if smooth else Resampling.nearest
    with WarpedVRT(getattr(dataset, "plain", dataset), resampling=resampling, **how) as warped:
        pixels = warped.read((*bands, warped.count if alpha is None else alpha))
    valid = pixels[-1] > 0
    if np.issubdtype(pixels.dtype, np.floating):
        valid &= np.isfinite(pixels[:-1]).all(axis=0)
    return pixels[:-1], valid


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
