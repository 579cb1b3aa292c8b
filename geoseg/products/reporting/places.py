"""Where a run is least sure of itself."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.io.sampled import coarse_shape
from geoseg.io.tiffs.layers import LayerReader

_CELLS = 32
"""Cells along the longer side of a raster that are compared, at most."""
_LEAST_PX, _MOST_PX = 128, 512
"""Sides of a place: smaller ones are no place to look at, larger ones are narrowed down."""
_SEEN_PX = 32
"""Pixels along a cell's side that are looked at."""
_PARTS = 4
"""Parts along each side that a place is divided into when it is narrowed down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A part of a run."""

    window: Window
    """Where it is on the run's grid."""
    confidence: float
    """Mean confidence of its pixels with data, in percent."""


def find_uncertain(read: LayerReader, shape: tuple[int, int], most: int) -> list[Place]:
    """Find the places of lowest mean confidence, no two beside each other; from overviews, so that it takes no longer for large runs.

    Args:
        read: Confidence in percent, above 100 where there is no data.
        shape: Rows and columns.
        most: Places to find.

    Returns:
        The least certain first. Fewer than asked for where the raster is small or holds little data.
    """
    cells = max(1, min(_CELLS, max(shape) // _LEAST_PX))
    side_px = -(-max(shape) // cells)
    whole = Window(0, 0, shape[1], shape[0])
    found: list[Place] = []
    taken: list[tuple[int, int]] = []
    means = _cell_means(read, whole, side_px)
    for row, col in _in_order(means):
        if len(found) == most:
            break
        if all(max(abs(row - r), abs(col - c)) > 1 for r, c in taken):
            taken.append((row, col))
            found.append(_narrow(read, Place(window=_cell(whole, side_px, row, col), confidence=float(means[row, col]))))
    return found


def _narrow(read: LayerReader, place: Place) -> Place:
    """Go on with the least certain part of a place until it is small enough to be looked at."""
    while max(place.window.width, place.window.height) > _MOST_PX:
        side_px = -(-max(place.window.width, place.window.height) // _PARTS)
        means = _cell_means(read, place.window, side_px)
        first = next(_in_order(means), None)
        if first is None:
            return place
        place = Place(window=_cell(place.window, side_px, *first), confidence=float(means[first]))
    return place


def _cell_means(read: LayerReader, window: Window, side_px: int) -> NDArray[np.float64]:
    """Return the mean of each cell of a window; NaN where less than half of it holds data."""
    cells = -(-window.height // side_px), -(-window.width // side_px)
    height, width = coarse_shape((window.height, window.width), max(cells) * min(side_px, _SEEN_PX))
    pixels = read.shrink(window, (height, width))
    rows = (np.arange(height) * window.height // height) // side_px
    cols = (np.arange(width) * window.width // width) // side_px
    cell = (rows[:, None] * cells[1] + cols).ravel()
    valid = (pixels <= 100).ravel()
    size, count = (np.bincount(cell[chosen], minlength=cells[0] * cells[1]) for chosen in (slice(None), valid))
    total = np.bincount(cell[valid], pixels.ravel()[valid], minlength=len(size))
    means = np.full(len(size), np.nan)
    there = (count * 2 >= size) & (count > 0)
    means[there] = total[there] / count[there]
    return means.reshape(cells)


def _in_order(means: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Yield the cells, the lowest mean first, those above before those below where they are equal."""
    order = np.argsort(means, axis=None, kind="stable")
    for number in order[: int(np.isfinite(means).sum())].tolist():
        row, col = divmod(number, means.shape[1])
        yield row, col


def _cell(window: Window, side_px: int, row: int, col: int) -> Window:
    top, left = window.row_off + row * side_px, window.col_off + col * side_px
    return Window(left, top, min(side_px, window.col_off + window.width - left), min(side_px, window.row_off + window.height - top))
