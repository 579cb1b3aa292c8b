"""Road lines without the stairs and wiggles of pixels: within a tolerance, nodes fixed, no line across another."""

import math
from dataclasses import replace

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.objects.network.tracks import Tracks, draw_lines
from geoseg.pixels.kernel import kernel

_MOST_ROUNDS = 256
_REPAIRS = 4


def smooth_tracks(tracks: Tracks, smooth_m: float, simplify_m: float, step_m: float) -> Tracks:
    """Smooth lines and leave out the points that they do not need.

    Points move to the middle of their neighbors, again and again, but never out of a circle around where they were: a line stays
    within ``smooth_m`` of its pixels in the sense of Fréchet, and within ``smooth_m + simplify_m`` after simplification. Lines
    that would cross another one or themselves only then keep their pixels.

    Args:
        tracks: Lines through pixels.
        smooth_m: How far a point may move; 0 moves none.
        simplify_m: Douglas-Peucker tolerance; 0 keeps every point.
        step_m: Distance between points, at least a pixel's diagonal.

    Returns:
        The same network with other points between its nodes.
    """
    raw = tracks.lines
    drawn = raw
    if smooth_m > 0 and len(raw):
        fine = shapely.segmentize(raw, 1.01 * step_m)
        xy, line = shapely.get_coordinates(fine, return_index=True)
        starts = np.searchsorted(line, np.arange(len(raw) + 1))
        # Rounds of halving spread a point over sqrt(rounds / 2) steps; twice the tolerance is the shortest wave that is kept.
        rounds = min(_MOST_ROUNDS, max(8, math.ceil(8 * (smooth_m / step_m) ** 2)))
        drawn = draw_lines(_relax(xy, starts, smooth_m, rounds), starts)
    if simplify_m > 0:
        drawn = shapely.simplify(drawn, simplify_m)
    xy, line = shapely.get_coordinates(_restore(drawn, raw), return_index=True)
    return replace(tracks, xy=xy, starts=np.searchsorted(line, np.arange(len(raw) + 1)))


def _restore(drawn: NDArray[np.object_], raw: NDArray[np.object_]) -> NDArray[np.object_]:
    """Give their pixels back to lines that cross another one."""
    drawn = drawn.copy()
    kept = np.zeros(len(drawn), bool)
    for _ in range(_REPAIRS):
        one, other = shapely.STRtree(drawn).query(drawn, predicate="crosses")
        wrong = ~shapely.is_simple(drawn)
        wrong[one] = wrong[other] = True
        wrong &= ~kept
        if not wrong.any():
            break
        drawn[wrong] = raw[wrong]
        kept |= wrong
    return drawn


@kernel
def _relax(xy: NDArray[np.float64], starts: NDArray[np.int64], reach: float, rounds: int) -> NDArray[np.float64]:
    """Halve the bend at every inner point, ``rounds`` times, within ``reach`` of where the points were."""
    moved = xy.copy()
    for line in range(len(starts) - 1):
        for _ in range(rounds):
            before_x, before_y = moved[starts[line], 0], moved[starts[line], 1]
            for i in range(starts[line] + 1, starts[line + 1] - 1):
                here_x, here_y = moved[i, 0], moved[i, 1]
                x = here_x / 2 + (before_x + moved[i + 1, 0]) / 4 - xy[i, 0]
                y = here_y / 2 + (before_y + moved[i + 1, 1]) / 4 - xy[i, 1]
                far = math.hypot(x, y)
                if far > reach:
                    x, y = x * reach / far, y * reach / far
                before_x, before_y = here_x, here_y
                moved[i, 0], moved[i, 1] = xy[i, 0] + x, xy[i, 1] + y
    return moved
