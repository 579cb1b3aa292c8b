"""The cheapest way over a raster of road probability, from the end of a line to another line (Dijkstra 1959)."""

import heapq
import math
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.pixels.kernel import entry, kernel

LEAST_PROBABILITY = 0.1
"""What is less likely than this costs no more, so that a way may cross a few metres of shadow."""
_STEP_PX = 0.7
"""Points on lines so near to each other leave no hole in a line that a way could slip through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A window of the raster with the lines that lie on it."""

    probability: NDArray[np.uint8]
    """(H, W) road probability, 0..255 = 0..1."""
    edge: NDArray[np.int64]
    """(H, W) line on each pixel, the lowest of several; -1 is none."""
    along_m: NDArray[np.float64]
    """(H, W) distance along that line."""
    origin: NDArray[np.int64]
    """(2,) row and column of the first pixel in the raster."""
    pixel_m: tuple[float, float]
    """Width and height of a pixel in metres on the ground."""
    reach_px: int
    """How far from its start a way may lead, in rows and columns."""

    @classmethod
    def lay(
        cls,
        probability: NDArray[np.uint8],
        origin: tuple[int, int],
        lines: tuple[NDArray[np.object_], NDArray[np.int64]],
        pixel_m: tuple[float, float],
        reach_px: int,
    ) -> "Ground":
        """Mark lines, given in metres with their ascending numbers, on a window."""
        geometries, number = lines
        xy, owner = shapely.get_coordinates(shapely.segmentize(geometries, _STEP_PX * min(pixel_m)), return_index=True)
        step_m = np.hypot(*np.diff(xy, axis=0, prepend=xy[:1]).T)
        first = np.searchsorted(owner, np.arange(len(number)))
        walked_m = np.cumsum(step_m)
        along_m = walked_m - walked_m[first][owner]
        rows, cols = np.floor(xy / pixel_m).astype(np.int64).T[::-1] - np.array(origin)[:, None]
        inside = (rows >= 0) & (cols >= 0) & (rows < probability.shape[0]) & (cols < probability.shape[1])
        inside = np.flatnonzero(inside)[::-1]
        edge, along = np.full(probability.shape, -1), np.zeros(probability.shape)
        # In descending order, so that the first point of the lowest line is what stays.
        edge[rows[inside], cols[inside]], along[rows[inside], cols[inside]] = number[owner[inside]], along_m[inside]
        return cls(probability=probability, edge=edge, along_m=along, origin=np.array(origin), pixel_m=pixel_m, reach_px=reach_px)


def price_probability(probability: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return what a metre costs where the road probability is this, 0..255: one over it, 1 to 10."""
    return np.asarray(1 / np.maximum(probability / 255, LEAST_PROBABILITY))


def find_way(
    ground: Ground, start: tuple[int, int], ahead: tuple[float, float], own: tuple[int, float, float], budget: float
) -> NDArray[np.int64]:
    """Find the cheapest way from a pixel to the first pixel of a line.

    Ways lead over the eight neighbors, never behind the start, and never between two diagonal pixels of a line. The start's own
    line is met only where following it there is ``own[2]`` times as far as the straight line.

    Args:
        ground: Where to look; at least the reach around the start, as far as the raster goes.
        start: Row and column in ``ground``.
        ahead: Direction x, y in which the road would go on.
        own: The line that ends at the start, the start's distance along it in metres, and that factor.
        budget: Largest cost; a metre costs ``price_probability``.

    Returns:
        (p, 2) rows and columns in ``ground``, start and end included; empty where there is none.
    """
    top, left = max(0, start[0] - ground.reach_px), max(0, start[1] - ground.reach_px)
    view = (slice(top, start[0] + ground.reach_px + 1), slice(left, start[1] + ground.reach_px + 1))
    rasters = (ground.probability[view], ground.edge[view], ground.along_m[view])
    price = price_probability(np.arange(256, dtype=np.uint8))
    goal, origin = _search(rasters, (start[0] - top, start[1] - left), (*ahead, *ground.pixel_m), own, price, budget)
    return np.asarray(_trace(goal, origin) + np.array([top, left]))


@entry
def _search(
    rasters: tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float64]],
    start: tuple[int, int],
    metric: tuple[float, float, float, float],
    own: tuple[int, float, float],
    price: NDArray[np.float64],
    budget: float,
) -> tuple[int, NDArray[np.int64]]:
    """Return the pixel at which the way ends, -1 for none, and (H, W) the pixel before each."""
    probability, edge, _ = rasters
    rows, cols = probability.shape
    least = np.full((rows, cols), np.inf)
    origin = np.full((rows, cols), -1, np.int64)
    least[start] = 0.0
    waiting = [(0.0, start[0] * cols + start[1])]
    while len(waiting) > 0:
        cost, here = heapq.heappop(waiting)
        row, col = here // cols, here % cols
        if cost > least[row, col]:
            continue
        if edge[row, col] >= 0 and cost > 0:
            return here, origin
        for turn in range(9):
            r, c = row + turn // 3 - 1, col + turn % 3 - 1
            if r < 0 or c < 0 or r >= rows or c >= cols or turn == 4 or _is_barred(rasters, (row, col, r, c), start, metric, own):
                continue
            step_m = math.hypot((c - col) * metric[2], (r - row) * metric[3])
            there = cost + step_m * (price[probability[row, col]] + price[probability[r, c]]) / 2
            if there < least[r, c] and there <= budget:
                least[r, c], origin[r, c] = there, here
                heapq.heappush(waiting, (there, r * cols + c))
    return -1, origin


@kernel
def _is_barred(
    rasters: tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float64]],
    step: tuple[int, int, int, int],
    start: tuple[int, int],
    metric: tuple[float, float, float, float],
    own: tuple[int, float, float],
) -> bool:
    """Whether a step leads behind the start, to the start's own line near by, or through a line."""
    _, edge, along = rasters
    row, col, r, c = step
    x, y = (c - start[1]) * metric[2], (r - start[0]) * metric[3]
    if x * metric[0] + y * metric[1] < 0:
        return True
    if edge[r, c] == own[0] and abs(along[r, c] - own[1]) < own[2] * math.hypot(x, y):
        return True
    return r != row and c != col and (edge[row, c] >= 0 or edge[r, col] >= 0)


@kernel
def _trace(goal: int, origin: NDArray[np.int64]) -> NDArray[np.int64]:
    cols = origin.shape[1]
    count, at = 0, goal
    while at >= 0:
        count, at = count + 1, origin[at // cols, at % cols]
    path = np.empty((count, 2), np.int64)
    at = goal
    for i in range(count - 1, -1, -1):
        path[i, 0], path[i, 1] = at // cols, at % cols
        at = origin[at // cols, at % cols]
    return path
