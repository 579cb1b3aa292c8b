"""Imagery at its full resolution: what every kind of it can do, and the simplest kind, one file."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from geoseg.errors import MissingFileError, RasterError, RunError
from geoseg.io.files import is_there
from geoseg.io.sources.address import gdal_name, is_plain_file, is_remote
from geoseg.io.sources.bands import Names, name_bands
from geoseg.io.sources.checks import check_raster
from geoseg.io.sources.collar import LOSSY_NEAR, Collar, find_collar
from geoseg.io.sources.dataset import (
    FOREIGN,
    RasterOptions,
    bounded_cache,
    close_dataset,
    hold_dataset,
    open_dataset,
    readable_address,
)
from geoseg.io.sources.palette import look_up, read_palette
from geoseg.io.sources.placement import may_be_placed, place_by_camera, place_nowhere
from geoseg.io.sources.pointers import refuse_far_pointers
from geoseg.io.sources.signing import drop_signatures
from geoseg.io.sources.valid import is_all_valid, is_opacity, read_valid

_COLORS: tuple[Names, ...] = (("red",), ("green",), ("blue",))
_MARKS = 8
"""Blocks along each side of a raster whose sizes stand for all."""


class Reader(Protocol):
    """Imagery that is held open."""

    def read_into(self, bands: Sequence[int], window: Window, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Read a window.

        Args:
            bands: 1-based.
            window: Inside the imagery's grid.
            pixels: (C, H, W); filled. What it holds where nothing is valid means nothing.
            valid: (H, W); cleared where there is no data, else left as it is.
        """

    def close(self) -> None:
        """Let the files go."""


class Imagery(Protocol):
    """Pixels on one grid, described but not held open: small, and the same in every process."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def geobox(self) -> GeoBox:
        """Its grid, at full resolution."""

    @property
    def bands(self) -> tuple[Names, ...]:
        """What its bands are called."""

    @property
    def dtype(self) -> str:
        """Data type of its pixels."""

    @property
    def opacity(self) -> tuple[int, ...]:
        """Bands that hold no imagery but say where there is some."""

    def open(self) -> Reader:
        """Hold it open."""

    def choose(self, bands: Sequence[int]) -> Self:
        """Return it for the use of these bands: an alpha band among them is imagery."""

    def each_file(self, change: "Callable[[FileImagery], FileImagery]") -> Self:
        """Return it with every file changed."""

    def files(self) -> Iterator[str]:
        """Yield the names of all files that it is read from, and what else tells that they changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileImagery:
    """One file."""

    name: str
    """File name, address or GDAL connection string."""
    geobox: GeoBox
    """Its grid, or the one that it is warped onto."""
    bands: tuple[Names, ...]
    """What its bands are called."""
    dtype: str
    """Data type of its pixels."""
    opacity: tuple[int, ...] = ()
    """Its alpha band, if it has one that says where there is data."""
    options: RasterOptions = field(default_factory=RasterOptions)
    """How it is opened."""
    depends_on: tuple[str, ...] = ()
    """What else tells that it changed: files that a virtual raster points at, sizes of blocks in a store that says nothing."""
    scales: tuple[tuple[float, float], ...] = ()
    """Scale and offset of each band, as GDAL knows them."""
    is_scaled: bool = False
    """Whether they are applied."""
    palette: bytes = b""
    """Red, green, blue and opacity of the 256 values of its only band; empty where bands hold what they show."""
    near: int = 0
    """How far the compression may have moved values."""
    collar: Collar | None = None
    """Margin that is no imagery."""

    def open(self) -> "FileReader":
        """Hold it open; see :class:`Imagery`."""
        return FileReader(self)

    def in_colors(self) -> "FileImagery":
        """Return one of indices into a table of colors as one of red, green and blue; others stay as they are."""
        return replace(self, bands=_COLORS, scales=((1.0, 0.0),) * len(_COLORS)) if self.palette else self

    @property
    def is_in_colors(self) -> bool:
        """Whether it is read by its table of colors."""
        return bool(self.palette) and len(self.bands) == len(_COLORS)

    def choose(self, bands: Sequence[int]) -> "FileImagery":
        """Return it for the use of these bands; see :class:`Imagery`."""
        return replace(self, opacity=(), options=replace(self.options, ignore_alpha=True)) if set(bands) & set(self.opacity) else self

    def each_file(self, change: "Callable[[FileImagery], FileImagery]") -> "FileImagery":
        """Return it changed; see :class:`Imagery`."""
        return change(self)

    def scaled(self) -> "FileImagery":
        """Return it in the units of its scales and offsets, as float32."""
        return replace(self, dtype="float32", is_scaled=True)

    def without_collar(self) -> "FileImagery":
        """Return it without a uniform white or black margin; see :mod:`geoseg.io.sources.collar`.

        Raises:
            RasterError: If it cannot be read.
        """
        plain = replace(self, collar=None, is_scaled=False)
        bands = [band for band in range(1, len(self.bands) + 1) if band not in self.opacity]
        reader: FileReader | None = None
        try:
            with bounded_cache():
                reader = plain.open()
                return replace(
                    self, collar=find_collar((int(self.geobox.shape[0]), int(self.geobox.shape[1])), partial(reader.look, bands))
                )
        except (*FOREIGN, OSError) as exc:
            raise RasterError(f"{self.name} could not be read: {exc}. Check the file with gdalinfo.") from exc
        finally:
            if reader is not None:
                reader.close()

    def files(self) -> Iterator[str]:
        """Yield where it may be read now, and what else tells that it changed."""
        yield readable_address(self.name, self.options)
        yield from self.depends_on

    def onto(self, grid: GeoBox) -> "FileImagery":
        """Return it warped onto another grid."""
        return replace(self, geobox=grid, options=replace(self.options, onto=grid))


class FileReader:
    """A file that is held open; one whose address is signed is opened anew when the signature runs out.

    Args:
        imagery: The file.
    """

    def __init__(self, imagery: FileImagery) -> None:
        self._imagery = imagery
        with self._signed():
            self._address = readable_address(imagery.name, imagery.options)
            self._dataset = hold_dataset(imagery.name, imagery.options)
            self._is_all_valid = is_all_valid(self._dataset)

    @contextmanager
    def _signed(self) -> Iterator[None]:
        """Have whoever tries again ask for other signatures; a service that is away for a while fails what is tried, not the run."""
        signer = self._imagery.options.sign
        try:
            yield
        except FOREIGN:
            if signer is not None:
                drop_signatures(signer)
            raise
        except RasterError as exc:
            if signer is None:
                raise
            raise RunError(str(exc)) from exc

    def _renew(self) -> None:
        address = readable_address(self._imagery.name, self._imagery.options)
        if address != self._address:
            dataset = hold_dataset(self._imagery.name, self._imagery.options)
            close_dataset(self._dataset)
            self._address, self._dataset = address, dataset

    def read_into(self, bands: Sequence[int], window: Window, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Read a window; see :class:`Reader`."""
        with self._signed():
            self._renew()
            self._read_into(bands, window, pixels, valid)

    def _read_into(self, bands: Sequence[int], window: Window, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        if self._imagery.is_in_colors:
            pixels[...], is_opaque = look_up(self._imagery.palette, bands, self._dataset.read(1, window=window))
            valid &= is_opaque
        elif self._imagery.is_scaled:
            stored = self._dataset.read(bands, window=window)
            scale, offset = np.array([self._imagery.scales[band - 1] for band in bands]).T[..., None, None]
            np.add(stored * scale, offset, out=pixels, casting="unsafe")
        else:
            self._dataset.read(bands, window=window, out=pixels)
        if not self._is_all_valid:
            valid &= read_valid(self._dataset, window=window)
        if np.issubdtype(pixels.dtype, np.floating):
            valid &= np.isfinite(pixels).all(axis=0)
        if self._imagery.collar is not None:
            self._imagery.collar.clear(window, valid)

    def look(self, bands: Sequence[int], window: Window) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which pixels (H, W) of a window are black or no data, and which are white or no data."""
        with self._signed():
            self._renew()
            nothing = ~read_valid(self._dataset, window=window)
            if self._imagery.is_in_colors:
                pixels, is_opaque = look_up(self._imagery.palette, bands, self._dataset.read(1, window=window))
                nothing |= ~is_opaque
            else:
                pixels = self._dataset.read(bands, window=window)
        near, most = self._imagery.near, np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.unsignedinteger) else None
        # of signed numbers, those below 0 are no darker than black
        black = nothing | ((pixels <= near) & (pixels >= -near)).all(axis=0)
        white = nothing | (pixels >= most - near).all(axis=0) if most is not None else np.zeros_like(nothing)
        return black, white

    def close(self) -> None:
        """Close the file."""
        close_dataset(self._dataset)


def describe_file(name: str, options: RasterOptions, *, needs_georeference: bool) -> FileImagery:
    """Check a file.

    Args:
        name: File name, address or GDAL connection string.
        options: How it is opened.
        needs_georeference: Refuse one without CRS.

    Raises:
        MissingFileError: If there is no such file.
        RasterError: If it cannot be used; the message says why and what to do.
    """
    if is_plain_file(name) and not is_there(Path(name)):
        raise MissingFileError(f"There is no file {name}. Check the path.")
    if not options.trust_vrt:
        refuse_far_pointers(Path(name))
    try:
        options = _place(name, options) if needs_georeference and not is_remote(name) else options
        with open_dataset(name, options) as dataset:
            # warping makes a virtual raster of it, and may have added an alpha band, which is not the raster's own
            own = getattr(dataset, "src_dataset", dataset)
            if is_remote(name) and own.driver == "VRT" and not options.trust_vrt:
                raise RasterError(
                    f"{name} is a virtual raster at an address: it makes GDAL open what it names. Say --trust-vrt if you know it."
                )
            check_raster(name, dataset, needs_georeference)
            alpha = tuple(band for band in own.indexes if own.colorinterp[band - 1] == ColorInterp.alpha)
            is_imagery = bool(alpha) and not is_opacity(own, alpha[0])
            return FileImagery(
                name=name,
                geobox=GeoBox((dataset.height, dataset.width), dataset.transform, dataset.crs),
                dtype=np.result_type(*own.dtypes).name,
                opacity=() if is_imagery else alpha,
                options=replace(options, ignore_alpha=is_imagery),
                depends_on=tuple(_depends_on(own, readable_address(name, options))),
                **_describe_bands(name, options, own),
            )
    except FOREIGN as exc:
        raise RasterError(f"{name} could not be opened as a raster: {exc}. Expected a format that GDAL reads.") from exc


def _describe_bands(name: str, options: RasterOptions, dataset: Any) -> dict[str, Any]:
    """Return what a file says of its bands; the virtual raster that gives it a place does not repeat that."""
    if options.placed is not None:
        with open_dataset(name, RasterOptions()) as stored:
            return _describe_bands(name, RasterOptions(), stored)
    return {
        "bands": name_bands(dataset, name),
        "palette": read_palette(dataset),
        "near": LOSSY_NEAR if _is_lossy(dataset) else 0,
        "scales": tuple(zip(dataset.scales, dataset.offsets, strict=True)),
    }


def _place(name: str, options: RasterOptions) -> RasterOptions:
    """Return options that place a picture without georeference, if it can be placed."""
    if options.assume_crs is None and not may_be_placed(Path(name)):
        return options
    plain = replace(options, warp=False, assume_crs=None)
    with open_dataset(name, plain) as dataset:
        has_place, height = bool(dataset.crs is not None or dataset.gcps[0] or dataset.rpcs), dataset.height
    placed = place_by_camera(Path(name)) if options.assume_crs is None else place_nowhere(options.assume_crs, height)
    if placed is None:
        return options
    # the word for coordinates of pixels is no CRS
    return plain if has_place else replace(plain, placed=placed)


def list_files(imagery: Imagery) -> list[FileImagery]:
    """Return the files that imagery is made of."""
    found: list[FileImagery] = []

    def note(file: FileImagery) -> FileImagery:
        found.append(file)
        return file

    imagery.each_file(note)
    return found


def is_measured(imagery: Imagery) -> bool:
    """Tell whether the width of its pixels on the ground is known: that of all files, none of which lies in coordinates of pixels."""
    return all(file.options.placed is None or file.options.placed.is_measured for file in list_files(imagery))


def _depends_on(dataset: Any, name: str) -> Iterator[str]:
    if dataset.driver == "VRT":
        yield from (found for found in dataset.files if found != gdal_name(name))
    if is_remote(name) and not gdal_name(name).startswith("/vsicurl") and dataset.driver == "GTiff":
        rows, cols = (-(-n // side) for n, side in zip(dataset.shape, dataset.block_shapes[0], strict=True))
        places = {(rows * i // _MARKS, cols * j // _MARKS) for i in range(_MARKS) for j in range(_MARKS)}
        kinds = ("OFFSET", "SIZE")
        sizes = [dataset.get_tag_item(f"BLOCK_{kind}_{col}_{row}", "TIFF", bidx=1) for row, col in sorted(places) for kind in kinds]
        yield f"{name} {sizes}"


def _is_lossy(dataset: Any) -> bool:
    told = f"{dataset.driver} {dataset.profile.get('compress', '')}".lower()
    # floats may be reflectances, of which all are near 0
    is_whole = np.issubdtype(np.result_type(*dataset.dtypes), np.integer)
    return is_whole and any(kind in told for kind in ("jpeg", "webp", "jp2", "jxl", "lerc"))
