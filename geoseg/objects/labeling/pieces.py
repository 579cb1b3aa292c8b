"""What a detector found in a tile, as pieces of the raster."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.errors import ModelError
from geoseg.pixels.detections import Detections
from geoseg.tiling import place


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A mask, cut to what it covers of the raster."""

    window: Window
    """Its extent in the raster."""
    mask: NDArray[np.bool_]
    """(H, W) of the window."""
    score: float
    """Confidence in [0, 1]."""
    kind: int
    """Class."""
    number: int = -1
    """Position among the pieces of all tiles."""

    @property
    def area(self) -> int:
        """Pixels."""
        return int(self.mask.sum())

    def within(self, window: Window) -> "Piece | None":
        """Return what of it lies in a window of the raster; None if nothing does."""
        shared = meet(self.window, window)
        if shared is None:
            return None
        mask = self.mask[place(shared, self.window)]
        return replace(self, window=shared, mask=mask) if mask.any() else None

    def overlap(self, other: "Piece") -> int:
        """Return the pixels that two pieces share."""
        shared = meet(self.window, other.window)
        if shared is None:
            return 0
        return int((self.mask[place(shared, self.window)] & other.mask[place(shared, other.window)]).sum())


def cut_pieces(detections: Detections, window: Window, shape: tuple[int, int]) -> Iterator[Piece]:
    """Yield what the masks of a tile cover of a raster, the best score first.

    Args:
        detections: Of the tile.
        window: Where the tile lies; it may reach past the raster's edges.
        shape: Rows and columns of the raster.

    Raises:
        ModelError: If the masks do not have the shape of the tile.
    """
    if detections.masks.shape[1:] != (window.height, window.width):
        raise ModelError(
            f"Masks of the tile at row {window.row_off}, column {window.col_off} need {window.height} x {window.width} pixels; "
            f"got {detections.masks.shape[1]} x {detections.masks.shape[2]}. Scale them to the tile first."
        )
    for index in np.argsort(-detections.scores, kind="stable"):
        found = _crop(_mask_in_box(detections, index), window, shape)
        if found is not None:
            yield Piece(window=found[0], mask=found[1], score=float(detections.scores[index]), kind=int(detections.classes[index]))


def meet(one: Window, other: Window) -> Window | None:
    """Return what two windows share; None if it is nothing."""
    top, left = max(one.row_off, other.row_off), max(one.col_off, other.col_off)
    bottom = min(one.row_off + one.height, other.row_off + other.height)
    right = min(one.col_off + one.width, other.col_off + other.width)
    return Window(left, top, right - left, bottom - top) if bottom > top and right > left else None


def _mask_in_box(detections: Detections, index: int) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = detections.masks[index]
    if detections.boxes is None:
        return mask
    left, top, right, bottom = (
        max(int(side), 0) for side in (*np.floor(detections.boxes[index, :2]), *np.ceil(detections.boxes[index, 2:]))
    )
    inside = np.zeros_like(mask)
    inside[top:bottom, left:right] = mask[top:bottom, left:right]
    return inside


def _crop(mask: NDArray[np.bool_], window: Window, shape: tuple[int, int]) -> tuple[Window, NDArray[np.bool_]] | None:
    """Cut a mask of a tile to the raster and to its own extent; None if nothing is left."""
    top, left = max(-window.row_off, 0), max(-window.col_off, 0)
    inside = mask[top : max(shape[0] - window.row_off, 0), left : max(shape[1] - window.col_off, 0)]
    rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if len(rows) == 0:
        return None
    covered = Window(
        window.col_off + left + int(cols[0]),
        window.row_off + top + int(rows[0]),
        int(cols[-1] - cols[0]) + 1,
        int(rows[-1] - rows[0]) + 1,
    )
    return covered, inside[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].copy()
