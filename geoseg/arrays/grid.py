"""A labelled array as imagery: which axis is what, where it lies on the earth, which pixels hold data."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import odc.geo.xr  # noqa: F401  # gives arrays their geobox
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.errors import RasterError
from geoseg.io.sources.bands import Names, common_name
from geoseg.io.sources.checks import check_grid
from geoseg.io.sources.imagery import FileImagery, Reader

_PLANE = 2
_CHUNK_PX = 2048
"""Side of the pieces in which an array that is not chunked is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayImagery:
    """Imagery whose pixels Dask brings: nothing of it is read yet; see :class:`geoseg.io.sources.imagery.Imagery`."""

    name: str
    """What messages call it."""
    geobox: GeoBox
    """Where it lies."""
    bands: tuple[Names, ...]
    """What its bands are called."""
    dtype: str
    """Data type of its pixels."""
    nodata: float | None
    """Value of pixels that hold no data, where all bands hold it."""
    opacity: tuple[int, ...] = ()
    """None: an array does not say which of its bands is alpha."""

    def open(self) -> Reader:
        """Refuse: pixels come with each task."""
        raise NotImplementedError("the pixels of an array are not read, they are brought")

    def choose(self, bands: Sequence[int]) -> "ArrayImagery":
        """Return it as it is; see :class:`geoseg.io.sources.imagery.Imagery`."""
        return self

    def each_file(self, change: Callable[[FileImagery], FileImagery]) -> "ArrayImagery":
        """Return it as it is: it has no files."""
        return self

    def files(self) -> Iterator[str]:
        """Yield nothing."""
        return iter(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """A piece of an array that is there, read as open imagery is; see :class:`geoseg.io.sources.imagery.Reader`."""

    pixels: NDArray[Any]
    """(B, H, W), all bands."""
    valid: NDArray[np.bool_] | None
    """(H, W), True = data; None asks nodata and NaN alone."""
    corner: tuple[int, int]
    """Row and column of its first pixel in the array."""
    nodata: float | None
    """Value of pixels without data."""

    def read_into(self, bands: Sequence[int], window: Window, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Copy a window; see :class:`geoseg.io.sources.imagery.Reader`."""
        top, left = window.row_off - self.corner[0], window.col_off - self.corner[1]
        where = slice(top, top + window.height), slice(left, left + window.width)
        pixels[:] = self.pixels[[band - 1 for band in bands]][:, *where]
        if self.valid is not None:
            valid &= self.valid[where]
        if self.nodata is not None:
            # as in files: a pixel holds data where any band does
            valid &= (self.pixels[:, *where] != self.nodata).any(axis=0)
        if np.issubdtype(pixels.dtype, np.floating):
            valid &= np.isfinite(pixels).all(axis=0)

    def close(self) -> None:
        """Hold nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An array taken for imagery."""

    imagery: ArrayImagery
    """What it is."""
    pixels: da.Array
    """(B, H, W), all bands."""
    valid: da.Array | None
    """(H, W) bool, True = data."""


def see_imagery(array: xr.DataArray | xr.Dataset, valid: xr.DataArray | None = None) -> Seen:
    """Find bands, rows and columns of an array, and where it lies on the earth.

    Args:
        array: Two spatial dimensions as odc-geo and rioxarray name them, and at most one for bands; or a dataset with a variable
            per band, as odc-stac loads them. Axes of length one are dropped.
        valid: Which pixels hold data, on the same grid; None asks the array's nodata value and NaN.

    Raises:
        RasterError: If it has other dimensions, no georeference, or no north-up grid.
    """
    if isinstance(array, xr.Dataset):
        array = _stack(array)
    name = str(array.name or "the array")
    # by type, as a georeference would go with its coordinate
    geobox, spatial = array.odc.geobox, array.odc.spatial_dims
    if geobox is None or geobox.crs is None or spatial is None:
        raise RasterError(
            f"{name} with dimensions {_dims(array)} has no georeference: a CRS and evenly spaced y and x coordinates are needed. "
            "Give it one, for example by array.odc.assign_crs('EPSG:32645')."
        )
    check_grid(name, geobox.transform)
    others: list[Hashable] = [dim for dim in array.dims if dim not in spatial and array.sizes[dim] > 1]
    if len(others) > 1:
        raise RasterError(f"{name} has the dimensions {_dims(array)}; rows, columns and bands were expected. Choose one of each other one.")
    array = array.squeeze([dim for dim in array.dims if dim not in (*spatial, *others)])
    array = array.transpose(*others, *spatial)
    pixels = _lazy(array) if others else _lazy(array)[None]
    imagery = ArrayImagery(name=name, geobox=geobox, bands=_name_bands(array, len(pixels)), dtype=pixels.dtype.name, nodata=_nodata(array))
    return Seen(imagery=imagery, pixels=pixels, valid=None if valid is None else _match(valid, geobox, spatial))


def _stack(bands: xr.Dataset) -> xr.DataArray:
    """Make an array of a variable per band; what xarray drops then, their nodata value, is kept."""
    values = {_nodata(band) for band in bands.values()}
    if len(values) > 1:
        each = ", ".join(f"{name}: {_nodata(band)}" for name, band in bands.items())
        raise RasterError(f"The bands have different nodata values ({each}). Say with valid which pixels hold data.")
    nodata = values.pop() if values else None
    array = bands.to_array("band")
    return array if nodata is None else array.assign_attrs(nodata=nodata)


def _name_bands(array: xr.DataArray, count: int) -> tuple[Names, ...]:
    """Return what bands are called by their coordinate, or by the descriptions that rioxarray keeps; numbers are no names."""
    dim = array.dims[0] if array.ndim > _PLANE else None
    told: Any = array[dim].to_numpy() if dim is not None and dim in array.coords else ()
    if len(told) != count or not all(isinstance(name, str) for name in told):
        told = array.attrs.get("long_name", ())
    if isinstance(told, str) or len(told) != count:
        return ((),) * count
    return tuple((common_name(str(name)),) for name in told)


def _dims(array: xr.DataArray) -> str:
    return ", ".join(f"{dim} ({size})" for dim, size in array.sizes.items())


def _lazy(array: xr.DataArray) -> da.Array:
    if array.chunks is None:
        # a file that xarray holds open stays unread: its values are asked for by each piece
        array = array.chunk(dict.fromkeys(array.dims[-2:], _CHUNK_PX))
    pixels: da.Array = array.data
    return pixels


def _match(valid: xr.DataArray, geobox: GeoBox, spatial: tuple[str, str]) -> da.Array:
    valid = valid.squeeze([dim for dim in valid.dims if dim not in spatial and valid.sizes[dim] == 1])
    if set(valid.dims) != set(spatial) or valid.transpose(*spatial).shape != geobox.shape:
        rows, cols = geobox.shape
        raise RasterError(f"valid has the dimensions {_dims(valid)}; {rows} rows and {cols} columns, as the imagery has, were expected.")
    there: da.Array = _lazy(valid.transpose(*spatial)).astype(bool)
    return there


def _nodata(array: xr.DataArray) -> float | None:
    """Return the value that stands for no data, where the array's values still hold it."""
    given: Any = array.attrs.get("_FillValue", array.attrs.get("nodata", array.attrs.get("missing_value")))
    return None if given is None or np.isnan(given) else float(given)
