"""Checks that a new outline must pass to replace the one that came in."""

from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.pixels.kernel import kernel

MIN_CLEARANCE_M = 0.005
"""Least distance of corners from one another and from walls that do not end there: what is closer may cross when coordinates are
rounded in another CRS."""

_AREA_SLACK_M2 = 1e-6
_STEPS = 8


class Drawn(NamedTuple):
    """New outlines."""

    polygons: NDArray[np.object_]
    """(n,) polygons, valid or not."""
    whole: NDArray[np.bool_]
    """(n,) False where a ring vanished."""
    still: NDArray[np.bool_]
    """(n,) True where the polygon is the one that came in."""
    new: NDArray[np.bool_]
    """(n,) False where the polygon has passed before, and is the same."""


def find_faults(outlines: NDArray[np.object_], drawn: Drawn, tolerance_m: float, min_iou: float) -> NDArray[np.bool_]:
    """Find new outlines that are invalid or almost so, moved too far, agree too little, or reach into another one more than before.

    Args:
        outlines: (n,) polygons that came in.
        drawn: What is to replace them.
        tolerance_m: Largest Hausdorff distance of the boundaries, metres.
        min_iou: Least intersection over union of old and new.

    Returns:
        (n,) True where the new outline must not be taken. Of two that overlap, those are named that reach into the other's old
        outline; if none does, both.
    """
    faults = np.zeros(len(outlines), np.bool_)
    asked = np.flatnonzero(drawn.new & ~drawn.still)
    faults[asked] = ~(drawn.whole[asked] & _is_clear(drawn.polygons[asked]))
    checked = asked[~faults[asked]]
    old, new = outlines[checked], drawn.polygons[checked]
    common = _common_area(old, new)
    faults[checked] |= common < min_iou * (shapely.area(old) + shapely.area(new) - common)
    left = np.flatnonzero(~faults[checked])
    faults[checked[left]] = moved_beyond(old[left], new[left], tolerance_m, tolerance_m / _STEPS)
    sound = np.flatnonzero(~faults)
    subset = Drawn(drawn.polygons[sound], drawn.whole[sound], drawn.still[sound], drawn.new[sound])
    faults[sound] |= _reaching(outlines[sound], subset)
    return faults


def moved_beyond(old: NDArray[np.object_], new: NDArray[np.object_], limit_m: float, step_m: float) -> NDArray[np.bool_]:
    """Return (n,) True where the Hausdorff distance between boundaries exceeds a limit, metres; or may, by less than half a step."""
    if len(old) == 0:
        return np.zeros(0, np.bool_)
    parts = []
    for polygons in (old, new):
        _, coordinates, (rings, shells) = shapely.to_ragged_array(polygons)
        parts.append((np.asarray(coordinates[:, :2], np.float64), np.asarray(rings, np.int64), np.asarray(shells, np.int64)))
    return _find_beyond(parts[0], parts[1], limit_m, step_m)


def _is_clear(polygons: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Return (n,) which polygons are valid, and stay so however their points are rounded."""
    clear = np.asarray(shapely.is_valid(polygons), np.bool_)
    valid = np.flatnonzero(clear)
    clear[valid] = shapely.minimum_clearance(polygons[valid]) >= MIN_CLEARANCE_M
    return clear


def _reaching(old: NDArray[np.object_], drawn: Drawn) -> NDArray[np.bool_]:
    """Return (n,) which polygons overlap another one more than before."""
    new, still = drawn.polygons, drawn.still
    reaching = np.zeros(len(old), np.bool_)
    asked = np.flatnonzero(drawn.new)
    one, other = shapely.STRtree(new).query(new[asked], predicate="intersects")
    one = asked[one]
    kept = (one != other) & ~(still[one] & still[other]) & (~drawn.new[other] | (one < other))
    one, other = one[kept], other[kept]
    grown = np.flatnonzero(_common_area(new[one], new[other]) > _AREA_SLACK_M2)
    one, other = one[grown], other[grown]
    before = _common_area(old[one], old[other]) + _AREA_SLACK_M2
    grown = np.flatnonzero(_common_area(new[one], new[other]) > before)
    one, other, before = one[grown], other[grown], before[grown]
    first = ~still[one] & (_common_area(new[one], old[other]) > before)
    second = ~still[other] & (_common_area(old[one], new[other]) > before)
    neither = ~(first | second)
    reaching[one[first | neither]] = True
    reaching[other[second | neither]] = True
    return reaching & ~still


def _common_area(one: NDArray[np.object_], other: NDArray[np.object_]) -> NDArray[np.float64]:
    return np.asarray(shapely.area(shapely.intersection(one, other)))


_Rings = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]


@kernel
def _find_beyond(old: _Rings, new: _Rings, limit_m: float, step_m: float) -> NDArray[np.bool_]:
    beyond = np.empty(len(old[2]) - 1, np.bool_)
    for p in range(len(beyond)):
        beyond[p] = _leaves(old, new, p, limit_m, step_m) or _leaves(new, old, p, limit_m, step_m)
    return beyond


@kernel
def _leaves(one: _Rings, other: _Rings, p: int, limit_m: float, step_m: float) -> bool:
    """Tell whether a point of one boundary lies farther from the other than the limit, half the distance between points tested added."""
    near = other[1][other[2][p]]
    for r in range(one[2][p], one[2][p + 1]):
        for k in range(one[1][r] + 1, one[1][r + 1]):
            ax, ay = one[0][k - 1]
            bx, by = one[0][k]
            pieces = int(np.hypot(bx - ax, by - ay) / step_m) + 1
            # from the middle of each piece, no point of it is farther than half of it
            free_m = limit_m - np.hypot(bx - ax, by - ay) / pieces / 2
            for m in range(pieces):
                at = (m + 0.5) / pieces
                near = _find_near(ax + (bx - ax) * at, ay + (by - ay) * at, other, p, near, free_m)
                if near < 0:
                    return True
    return False


@kernel
def _find_near(x: float, y: float, other: _Rings, p: int, hint: int, free_m: float) -> int:
    """Return the end of an edge of a boundary that a point lies near, or -1; edges are looked at from that of the last point on."""
    first, last = other[1][other[2][p]], other[1][other[2][p + 1]]
    size = last - first
    ring = other[2][p]
    for d in range(size + 1):
        k = first + (hint - first + ((d + 1) // 2 if d % 2 else -(d // 2))) % size
        while other[1][ring] > k:
            ring -= 1
        while other[1][ring + 1] <= k:
            ring += 1
        # the first point of a ring ends no edge
        if k > other[1][ring] and _lies_near(x, y, other[0][k - 1], other[0][k], free_m):
            return int(k)
    return -1


@kernel
def _lies_near(x: float, y: float, a: NDArray[np.float64], b: NDArray[np.float64], free_m: float) -> bool:
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = dx * dx + dy * dy
    at = min(max(((x - a[0]) * dx + (y - a[1]) * dy) / length, 0.0), 1.0) if length > 0 else 0.0
    return free_m >= 0 and (a[0] + at * dx - x) ** 2 + (a[1] + at * dy - y) ** 2 <= free_m**2
