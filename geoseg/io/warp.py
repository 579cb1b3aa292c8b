"""Rasters of values brought onto the grid of another raster."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window

from geoseg.errors import RasterError
from geoseg.io.raster import RasterSource, read_whole

_MARGIN_PX = 2
_NEAR_PX = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Values on another raster's grid."""

    values: NDArray[Any]
    """(C, H, W); 0 where the file does not reach."""
    covered: NDArray[np.bool_]
    """(H, W), True = the file reaches here."""
    valid: NDArray[np.bool_]
    """(H, W), True = the file reaches here and holds data."""
    warped: bool
    """Whether the file lay on another grid."""


def read_onto(source: RasterSource, geobox: GeoBox, resampling: Resampling = Resampling.nearest) -> Placed:
    """Read a raster onto a grid.

    Args:
        source: Raster of values; only the part below the grid is read.
        geobox: Grid with a CRS.
        resampling: How values are found where the raster's own grid is another; where there is data is told by the nearest pixel.

    Raises:
        RasterError: If one of the grids cannot be brought into the CRS of the other.
    """
    if same_grid(source.geobox, geobox):
        values, valid = read_whole(source)
        return Placed(values=values, covered=np.ones_like(valid), valid=valid, warped=False)
    try:
        window = window_below(source.geobox, geobox)
        shape = (int(geobox.shape[0]), int(geobox.shape[1]))
        if window is None:
            nothing = np.zeros(shape, bool)
            return Placed(values=np.zeros((len(source.bands), *shape), source.dtype), covered=nothing, valid=nothing, warped=True)
        values, valid = source.read(window)
        transform = source.geobox.transform @ Affine.translation(window.col_off, window.row_off)
        grids = {"src_transform": transform, "src_crs": _wkt(source.geobox)}
        grids |= {"dst_transform": geobox.transform, "dst_crs": _wkt(geobox)}
        layers = [_warp(layer, shape, grids | {"resampling": resampling}) for layer in values]
        layers += [_warp(there.astype(np.uint8), shape, grids) for there in (np.ones_like(valid), valid)]
    except RasterioError as exc:
        raise RasterError(f"{source.path} cannot be brought onto the grid of {geobox.crs}: {exc}. Check its CRS with gdalinfo.") from exc
    return Placed(values=np.stack(layers[:-2]), covered=layers[-2] == 1, valid=layers[-1] == 1, warped=True)


def same_grid(one: GeoBox, other: GeoBox) -> bool:
    """Tell whether two grids are one: the same shape and CRS, and corners within a hundredth of a pixel of each other."""
    if tuple(one.shape) != tuple(other.shape) or one.crs != other.crs:
        return False
    height, width = one.shape
    onto = ~one.transform @ other.transform
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)
    moved = np.array([onto @ (x, y) for x, y in corners.tolist()])
    return bool((np.abs(moved - corners) <= _NEAR_PX).all())


def same_place(one: GeoBox, other: GeoBox) -> bool:
    """Tell whether two grids with a CRS share any ground, by their bounding boxes."""
    return window_below(one, other, margin_px=0) is not None


def _warp(layer: NDArray[Any], shape: tuple[int, int], grids: dict[str, Any]) -> NDArray[Any]:
    onto = np.zeros(shape, layer.dtype)
    reproject(layer, onto, **{"resampling": Resampling.nearest, **grids})
    return onto


def _wkt(geobox: GeoBox) -> str:
    assert geobox.crs is not None, "grids without a CRS have no place"
    return str(geobox.crs.to_wkt())


def window_below(below: GeoBox, geobox: GeoBox, margin_px: int = _MARGIN_PX) -> Window | None:
    """Return the window of a grid under the bounding box of another one, some pixels wider; None if they share no ground."""
    box = geobox.boundingbox
    left, bottom, right, top = transform_bounds(_wkt(geobox), _wkt(below), *box)
    corners = [~below.transform @ point for point in ((left, top), (right, top), (left, bottom), (right, bottom))]
    cols, rows = ([p[i] for p in corners] for i in (0, 1))
    start = np.maximum(np.floor([min(rows), min(cols)]).astype(int) - margin_px, 0)
    stop = np.minimum(np.ceil([max(rows), max(cols)]).astype(int) + margin_px, below.shape)
    if (stop <= start).any():
        return None
    return Window(int(start[1]), int(start[0]), int(stop[1] - start[1]), int(stop[0] - start[0]))
