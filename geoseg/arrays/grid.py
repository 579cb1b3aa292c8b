"""A labelled array as imagery: which axis is what, where it lies on the earth, which pixels hold data."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import odc.geo.xr  # noqa: F401  # gives arrays their geobox
import xarray as xr
from odc.geo.geobox import GeoBox

from geoseg.errors import RasterError
from geoseg.io.bands import Names, common_name
from geoseg.io.checks import check_grid

_CHUNK_PX = 2048
"""Side of the pieces in which an array that is not chunked is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imagery:
    """What is segmented; nothing of it is read yet."""

    pixels: da.Array
    """(B, H, W), all bands."""
    valid: da.Array | None
    """(H, W) bool, True = data; None asks nodata and NaN alone."""
    geobox: GeoBox
    """Where it lies."""
    nodata: float | None
    """Value of pixels that hold no data, where all bands hold it."""
    bands: tuple[str, ...]
    """Names of the bands, as far as they have any."""

    @property
    def band_names(self) -> tuple[Names, ...]:
        """What each band is called, as rasters say it."""
        count = int(self.pixels.shape[0])
        return tuple((common_name(name),) for name in self.bands) if len(self.bands) == count else ((),) * count


def see_imagery(array: xr.DataArray | xr.Dataset, valid: xr.DataArray | None = None) -> Imagery:
    """Find bands, rows and columns of an array, and where it lies on the earth.

    Args:
        array: Two spatial dimensions as odc-geo and rioxarray name them, and at most one for bands; or a dataset with a variable
            per band, as odc-stac loads them. Axes of length one are dropped.
        valid: Which pixels hold data, on the same grid; None asks the array's nodata value and NaN.

    Raises:
        RasterError: If it has other dimensions, no georeference, or no north-up grid.
    """
    if isinstance(array, xr.Dataset):
        array = array.to_array("band")
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
    bands = tuple(map(str, array[others[0]].to_numpy())) if others and others[0] in array.coords else ()
    array = array.transpose(*others, *spatial)
    pixels = _lazy(array)
    return Imagery(
        pixels=pixels if others else pixels[None],
        valid=None if valid is None else _match(valid, geobox, spatial),
        geobox=geobox,
        nodata=_nodata(array),
        bands=bands,
    )


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
