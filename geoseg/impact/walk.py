"""Which pixels lines run through, exactly."""

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window


def walk_pixels(ends: NDArray[np.float64], window: Window) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Cut segments at every line between pixels, inside a window.

    A segment that runs along such a line belongs to the pixel after it, so that windows that partition a raster share every segment out.

    Args:
        ends: (n, 2, 2) first and last point, column and row.
        window: Integer rectangle.

    Returns:
        Of each part: its segment (m,), where it begins and ends (m, 2), 0 to 1 along it, and its pixel (m, 2), row and column.
    """
    start, step = ends[:, 0], ends[:, 1] - ends[:, 0]
    enter, leave = _clip(start, step, window)
    index = [np.arange(len(ends)), np.arange(len(ends))]
    cuts = [enter, leave]
    for axis in (0, 1):
        segment, t = _cross_lines(start[:, axis], step[:, axis], enter, leave)
        index.append(segment)
        cuts.append(t)
    segment, t = np.concatenate(index), np.concatenate(cuts)
    inside = (leave > enter)[segment]
    segment, t = segment[inside], t[inside]
    order = np.lexsort((t, segment))
    segment, t = segment[order], t[order]
    is_part = (segment[1:] == segment[:-1]) & (t[1:] > t[:-1])
    segment, parts = segment[1:][is_part], np.stack([t[:-1], t[1:]], axis=1)[is_part]
    middle = start[segment] + parts.mean(axis=1, keepdims=True) * step[segment]
    pixels = np.floor(middle).astype(np.int64)[:, ::-1]
    low, high = (window.row_off, window.col_off), (window.row_off + window.height, window.col_off + window.width)
    chosen = ((pixels >= low) & (pixels < high)).all(axis=1)
    return segment[chosen], parts[chosen], pixels[chosen]


def _clip(start: NDArray[np.float64], step: NDArray[np.float64], window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where segments enter and leave a window; they do not touch it where they leave before they enter."""
    low = np.array([window.col_off, window.row_off], np.float64)
    high = low + np.array([window.width, window.height])
    still = step == 0
    safe = np.where(still, 1.0, step)
    one, other = (low - start) / safe, (high - start) / safe
    outside = still & ((start < low) | (start > high))
    first = np.where(still, np.where(outside, np.inf, -np.inf), np.minimum(one, other)).max(axis=1)
    last = np.where(still, np.inf, np.maximum(one, other)).min(axis=1)
    return np.maximum(first, 0.0), np.minimum(last, 1.0)


def _cross_lines(
    start: NDArray[np.float64], step: NDArray[np.float64], enter: NDArray[np.float64], leave: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the segments that cross whole numbers between two places, and where."""
    moves = (step != 0) & (leave > enter)
    reached = np.where(
        moves[:, None], start[:, None] + np.where(moves[:, None], np.stack([enter, leave], axis=1), 0.0) * step[:, None], 0.0
    )
    low, high = np.floor(reached.min(axis=1)), np.ceil(reached.max(axis=1))
    count = np.where(moves, high - low + 1, 0).astype(np.int64)
    segment = np.repeat(np.arange(len(start)), count)
    number = np.arange(len(segment)) - np.repeat(np.cumsum(count) - count, count)
    t = (low[segment] + number - start[segment]) / step[segment]
    inside = (t > enter[segment]) & (t < leave[segment])
    return segment[inside], t[inside]
