"""Imagery at its place in a larger grid: by whole pixels, warped on the fly where its pixels are others."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from geoseg.errors import RasterError, RunError
from geoseg.io.sources.dataset import FOREIGN, OPEN_FILES
from geoseg.io.sources.imagery import Imagery, Reader

_AS_FINE = 1.01
"""Pixels that differ by less count as equally fine."""
_NEAR_PX = 0.01
"""Pixels of two grids are the same if they lie as near to each other."""


class Placeable(Imagery, Protocol):
    """Imagery that can be warped on the fly."""

    def onto(self, grid: GeoBox) -> Self:
        """Return it warped onto another grid; what it does not cover is not valid there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Imagery at its place in a larger grid."""

    imagery: "Placeable"
    """The imagery."""
    row: int
    """Row of the grid that its first row lies on."""
    col: int
    """Column of the grid that its first column lies on."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """First row and column, and the ones behind the last."""
        height, width = self.imagery.geobox.shape
        return self.row, self.col, self.row + height, self.col + width


def place_piece(imagery: Placeable, grid: GeoBox) -> Piece:
    """Place imagery in a larger grid: as it is where their pixels are the same, else warped on the fly.

    Args:
        imagery: The imagery.
        grid: With a CRS. The piece may reach out of it.

    Raises:
        RasterError: If the imagery has no place in the CRS of the grid.
    """
    corner = align(imagery.geobox, grid)
    if corner is not None:
        return Piece(imagery=imagery, row=corner[0], col=corner[1])
    try:
        left, bottom, right, top = transform_bounds(_wkt(imagery.geobox), _wkt(grid), *imagery.geobox.boundingbox)
    except FOREIGN as exc:
        raise RasterError(f"{imagery.name} has no place in {grid.crs}: {exc}. Check its CRS with gdalinfo.") from exc
    corners = np.array([~grid.transform @ point for point in ((left, top), (right, top), (left, bottom), (right, bottom))])
    start, stop = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
    col, row = (int(n) for n in start)
    width, height = (int(n) for n in stop - start)
    below = GeoBox((height, width), grid.transform @ Affine.translation(col, row), grid.crs)
    return Piece(imagery=imagery.onto(below), row=row, col=col)


def finest_of(given: Sequence[Placeable], sizes_m: Sequence[float]) -> Placeable:
    """Return the first of the imagery with the finest pixels."""
    return next(imagery for imagery, size in zip(given, sizes_m, strict=True) if size <= min(sizes_m) * _AS_FINE)


def align(one: GeoBox, other: GeoBox) -> tuple[int, int] | None:
    """Return the row and column of another grid at which a grid begins, or None if their pixels are not the same."""
    if one.crs != other.crs:
        return None
    height, width = one.shape
    onto = ~other.transform @ one.transform
    corners = np.array([onto @ point for point in ((0.0, 0.0), (float(width), 0.0), (0.0, float(height)))])
    col, row = (round(float(n)) for n in corners[0])
    expected = np.array([(col, row), (col + width, row), (col, row + height)])
    return (row, col) if (np.abs(corners - expected) <= _NEAR_PX).all() else None


def _wkt(geobox: GeoBox) -> str:
    assert geobox.crs is not None, "grids without a CRS have no place"
    return str(geobox.crs.to_wkt())


class Shelf:
    """Pieces that are held open, at most a few."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._held: OrderedDict[int, Reader] = OrderedDict()

    def read(self, number: int, bands: Sequence[int], window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a part of a piece, given in the grid of the whole; pixels (C, H, W) and valid (H, W)."""
        piece = self._pieces[number]
        own = Window(window.col_off - piece.col, window.row_off - piece.row, window.width, window.height)
        pixels = np.empty((len(bands), window.height, window.width), piece.imagery.dtype)
        valid = np.ones((window.height, window.width), bool)
        try:
            self._take(number).read_into(bands, own, pixels, valid)
        except (*FOREIGN, OSError) as exc:
            raise RunError(f"{piece.imagery.name} could not be read: {exc}. Check the file with gdalinfo.") from exc
        return pixels, valid

    def close(self) -> None:
        """Close all."""
        while self._held:
            self._held.popitem()[1].close()

    def _take(self, number: int) -> Reader:
        if number not in self._held:
            if len(self._held) >= OPEN_FILES:
                self._held.popitem(last=False)[1].close()
            self._held[number] = self._pieces[number].imagery.open()
        self._held.move_to_end(number)
        return self._held[number]


def overlap(window: Window, box: Sequence[int] | NDArray[np.int64]) -> Window:
    """Return what a window and a box of first row and column, and the ones behind the last, share; of no positive size if nothing."""
    top, left = max(window.row_off, int(box[0])), max(window.col_off, int(box[1]))
    bottom, right = min(window.row_off + window.height, int(box[2])), min(window.col_off + window.width, int(box[3]))
    return Window(left, top, right - left, bottom - top)


def within(part: Window, window: Window) -> tuple[slice, slice]:
    """Return the rows and columns of a window that a part of it covers."""
    top, left = part.row_off - window.row_off, part.col_off - window.col_off
    return slice(top, top + part.height), slice(left, left + part.width)
