"""Zarr arrays, read by window through xarray."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.errors import MissingFileError, RasterError, RunError, UsageError
from geoseg.io.files import is_there
from geoseg.io.sources.address import is_plain_file
from geoseg.io.sources.bands import Names, common_name
from geoseg.io.sources.checks import check_grid
from geoseg.io.sources.imagery import FileImagery

if TYPE_CHECKING:
    import xarray as xr

_ENDING = ".zarr"


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeImagery:
    """An array on disk or in a store; see :class:`geoseg.io.sources.imagery.Imagery`.

    Values are decoded as CF says, nodata to NaN; whole numbers that a scale of 1 leaves as they are stay whole.
    """

    name: str
    """``scene.zarr``, or ``scene.zarr#variable``."""
    geobox: GeoBox
    """Its grid."""
    bands: tuple[Names, ...]
    """What its bands are called."""
    dtype: str
    """Data type of decoded values."""
    opacity: tuple[int, ...] = ()
    """None: arrays have no alpha."""

    def open(self) -> "CubeReader":
        """Hold it open."""
        return CubeReader(self)

    def choose(self, bands: Sequence[int]) -> "CubeImagery":
        """Return it as it is."""
        return self

    def each_file(self, change: Callable[[FileImagery], FileImagery]) -> "CubeImagery":
        """Return it as it is: scales are applied when it is read, and what is no imagery is declared."""
        return self

    def files(self) -> Iterator[str]:
        """Yield the names of its description and, on disk, of all its pieces."""
        path = Path(self.name.partition("#")[0])
        yield str(path)
        if is_there(path):
            yield from (str(piece) for piece in sorted(path.rglob("*")) if piece.is_file())


class CubeReader:
    """An array that is held open.

    Args:
        cube: The array.
    """

    def __init__(self, cube: CubeImagery) -> None:
        self._name = cube.name
        self._array, self._band_dim = _open_array(cube.name)
        self._fill = _fill_of(self._array)

    def read_into(self, bands: Sequence[int], window: Window, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Read a window; see :class:`geoseg.io.sources.imagery.Reader`."""
        rows, cols = window.toslices()
        y, x = self._array.odc.spatial_dims
        part = self._array.isel({y: rows, x: cols})
        if self._band_dim is not None:
            part = part.isel({self._band_dim: [band - 1 for band in bands]}).transpose(self._band_dim, y, x)
        try:
            pixels[...] = part.to_numpy().reshape(pixels.shape)
        except (OSError, ValueError, RuntimeError) as exc:
            # what damaged pieces make of their decompression
            raise RunError(f"{self._name} could not be read: {exc}. Write the array again, or leave the part out with --aoi.") from exc
        if np.issubdtype(pixels.dtype, np.floating):
            valid &= np.isfinite(pixels).all(axis=0)
        elif self._fill is not None:
            # as in files, a pixel is without data where none of its bands has any
            valid &= (pixels != self._fill).any(axis=0)

    def close(self) -> None:
        """Let the array go."""
        self._array.close()


def is_cube(name: str) -> bool:
    """Tell whether a name is one of a Zarr array."""
    return name.partition("#")[0].rstrip("/").lower().endswith(_ENDING)


def describe_cube(name: str) -> CubeImagery:
    """Check a Zarr array.

    Args:
        name: ``scene.zarr`` or an address of one; ``#variable`` chooses one of several.

    Raises:
        MissingFileError: If there is none.
        UsageError: If xarray or zarr is not installed.
        RasterError: If it has other dimensions than rows, columns and bands, or no place on the earth.
    """
    array, band_dim = _open_array(name)
    try:
        geobox = array.odc.geobox
        if geobox is None or geobox.crs is None:
            raise RasterError(
                f"{name} has no georeference: a CRS and evenly spaced y and x coordinates are needed. Write one with rioxarray."
            )
        check_grid(name, geobox.transform)
        bands: tuple[Names, ...] = ((common_name(str(array.name)),),)
        if band_dim is not None:
            named = array[band_dim].to_numpy() if band_dim in array.coords else ()
            names = [(common_name(str(one)),) if isinstance(one, str) else () for one in named] or [()] * array.sizes[band_dim]
            bands = tuple(names)
        return CubeImagery(name=name, geobox=geobox, bands=bands, dtype=array.dtype.name)
    finally:
        array.close()


def _open_array(name: str) -> "tuple[xr.DataArray, Any]":
    """Return a variable and its dimension of bands, if it has one."""
    place, _, variable = name.partition("#")
    if is_plain_file(place) and not is_there(Path(place)):
        raise MissingFileError(f"There is no array {place}. Check the path.")
    table = _open_table(place)
    plain = {key: False for key, array in table.data_vars.items() if _is_whole(array)}
    if plain:
        table.close()
        table = _open_table(place, mask_and_scale={key: plain.get(key, True) for key in table.variables})
    spatial = [key for key, array in table.data_vars.items() if array.odc.spatial_dims is not None]
    chosen = variable or (str(spatial[0]) if len(spatial) == 1 else "")
    if chosen not in spatial:
        raise RasterError(
            f"{place} holds {len(spatial)} variables with rows and columns ({', '.join(map(str, spatial)) or 'none'}); "
            f"one was expected. Choose it by {place}#NAME."
        )
    array = table[chosen].squeeze([dim for dim in table[chosen].dims if table[chosen].sizes[dim] == 1], drop=False)
    others = [dim for dim in array.dims if dim not in (array.odc.spatial_dims or ())]
    if len(others) > 1 or array.odc.spatial_dims is None:
        raise RasterError(f"{name} has the dimensions {', '.join(map(str, array.dims))}; rows, columns and bands were expected.")
    return array, others[0] if others else None


def _is_whole(array: "xr.DataArray") -> bool:
    """Tell whether decoding made floats of whole numbers only to mark what holds no data."""
    stored, scale, offset = (array.encoding.get(key) for key in ("dtype", "scale_factor", "add_offset"))
    is_integer = stored is not None and np.issubdtype(np.dtype(stored), np.integer) and "_Unsigned" not in array.encoding
    return bool(is_integer and array.dtype != stored and scale in (None, 1) and offset in (None, 0))


def _fill_of(array: "xr.DataArray") -> Any:
    """Return the value of pixels without data of an array that was not decoded."""
    return next((array.attrs[key] for key in ("_FillValue", "missing_value") if key in array.attrs), None)


def _open_table(place: str, **decoding: Any) -> "xr.Dataset":
    try:
        import odc.geo.xr  # noqa: F401  # gives arrays their geobox
        import xarray as xr
        import zarr  # noqa: F401
    except ImportError as exc:
        raise UsageError(f"Reading {place} needs xarray and zarr. Install them with: pip install 'geoseg[zarr]'") from exc
    try:
        with warnings.catch_warnings():
            # that names of bands have no agreed type
            warnings.simplefilter("ignore")
            return xr.open_dataset(place, engine="zarr", chunks=None, decode_coords="all", **decoding)
    except (OSError, ValueError, KeyError) as exc:
        raise RasterError(
            f"{place} could not be opened as a Zarr array: {exc}. Expected a group of variables, as xarray writes them."
        ) from exc
