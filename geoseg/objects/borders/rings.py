"""Join arcs to the rings of components, and rings to polygons."""

from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.objects.borders.arcs import Arcs
from geoseg.pixels.kernel import entry, kernel


class Halves(NamedTuple):
    """Ways along arcs that have a component on their right, sorted by component and first half-edge."""

    component: NDArray[np.int64]
    """(n,) component on the right, from 1."""
    key: NDArray[np.int64]
    """(n,) half-edge that it sets out by."""
    arc: NDArray[np.int64]
    """(n,) its arc."""
    back: NDArray[np.int64]
    """(n,) 0 on the way there, 1 on the way back."""


def build_polygons(arcs: Arcs, chosen: NDArray[np.bool_], ranks: NDArray[np.int64]) -> NDArray[np.object_]:
    """Build the polygons of components whose arcs are all known.

    Args:
        arcs: Arcs in raster coordinates.
        chosen: (n,) arcs that have one of the components at a side.
        ranks: (m + 1,) place of each component among the polygons, from 1; 0 = none. Sides below 0 have none.

    Returns:
        Polygons in the order of their ranks. Exteriors have a positive signed area in (x, y), holes a negative one. Junctions
        that borders only pass straight on, between the same two components, are left out.
    """
    halves = _sort_halves(arcs, np.flatnonzero(chosen), ranks)
    total = int(np.diff(arcs.starts)[halves.arc].sum())
    points, starts, component, area = _trace(arcs, halves, _find_next(arcs, halves), total)
    order = np.lexsort((area < 0, component))
    shells = np.append(np.flatnonzero(area[order] > 0), len(order))
    placed, offsets = _place(points, starts, order)
    return np.asarray(shapely.from_ragged_array(shapely.GeometryType.POLYGON, placed, (offsets, shells)), dtype=np.object_)


def _sort_halves(arcs: Arcs, arc: NDArray[np.int64], ranks: NDArray[np.int64]) -> Halves:
    component = np.concatenate([ranks[np.maximum(arcs.sides[arc, 0], 0)], ranks[np.maximum(arcs.sides[arc, 1], 0)]])
    key = np.concatenate([arcs.keys[arc, 0], arcs.keys[arc, 1]])
    back = np.repeat(np.array([0, 1]), len(arc))
    wanted = np.flatnonzero(component > 0)
    order = wanted[np.lexsort((key[wanted], component[wanted]))]
    return Halves(component[order], key[order], np.concatenate([arc, arc])[order], back[order])


@kernel
def _find_next(arcs: Arcs, halves: Halves) -> NDArray[np.int64]:
    """Return for each way the one by which its ring goes on: left if its component is there, else straight on, else right.

    Left first, since pixels of one component that touch diagonally are connected around one of the two others: the ring around
    that one and the ring around the rest then only touch here, and each stays simple.
    """
    nexts = np.empty(len(halves.key), np.int64)
    low, high = 0, 0
    for k in range(len(halves.key)):
        if halves.component[k] != halves.component[low] or high == 0:
            low = k
            high = low + np.searchsorted(halves.component[low:], halves.component[k] + 1)
        if arcs.is_loop[halves.arc[k]]:
            nexts[k] = k
            continue
        arrival = arcs.keys[halves.arc[k], 1 - halves.back[k]]
        for turn in range(1, 4):
            key = (arrival & ~3) | ((arrival + turn) & 3)
            place = low + np.searchsorted(halves.key[low:high], key)
            if place < high and halves.key[place] == key:
                nexts[k] = place
                break
    return nexts


@entry
def _trace(
    arcs: Arcs, halves: Halves, nexts: NDArray[np.int64], total: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the closed rings: (m, 2) points, (r + 1,) where each starts, its component, and twice its signed area."""
    points, starts = np.empty((total + len(nexts), 2), np.float64), np.zeros(len(nexts) + 1, np.int64)
    component, area = np.empty(len(nexts), np.int64), np.empty(len(nexts), np.float64)
    seen = np.zeros(len(nexts), np.bool_)
    r, n = 0, 0
    for start in range(len(nexts)):
        if seen[start]:
            continue
        half, before = start, start
        while not seen[half]:
            seen[half] = True
            before, half = half, nexts[half]
        # ``before`` now leads to the start again
        while True:
            n = _append(arcs, halves, (before, half), points, n)
            before, half = half, nexts[half]
            if half == start:
                break
        points[n] = points[starts[r]]
        n += 1
        component[r], area[r] = halves.component[start], _doubled_area(points[starts[r] : n])
        r += 1
        starts[r] = n
    return points, starts[: r + 1], component[:r], area[:r]


@kernel
def _append(arcs: Arcs, halves: Halves, ways: tuple[int, int], points: NDArray[np.float64], n: int) -> int:
    """Write the points of a way but its last one, without its first one if a border only goes straight on there."""
    before, half = ways
    arc, back = halves.arc[half], halves.back[half]
    first, last = arcs.starts[arc], arcs.starts[arc + 1] - 1
    k, step = (last, -1) if back else (first, 1)
    if _goes_straight(arcs, halves, before, half):
        k += step
    stop = first if back else last
    while k != stop:
        points[n, 0], points[n, 1] = arcs.x[k], arcs.y[k]
        n += 1
        k += step
    return n


@kernel
def _goes_straight(arcs: Arcs, halves: Halves, before: int, half: int) -> bool:
    """Tell whether a way goes on straight into the next one, with the same two components at its sides.

    Only a border that a line of the lattice cuts counts, whose pixel edges lie opposite each other. Where patches meet diagonally
    rings turn, and those around the others need the vertex even if simplifying has made this way straight.
    """
    one, other = halves.arc[before], halves.arc[half]
    opposite = (arcs.keys[one, 1 - halves.back[before]] ^ halves.key[half]) == 2
    if arcs.is_loop[other] or not opposite or arcs.sides[one, 1 - halves.back[before]] != arcs.sides[other, 1 - halves.back[half]]:
        return False
    p = arcs.starts[one] + 1 if halves.back[before] else arcs.starts[one + 1] - 2
    v, q = (arcs.starts[other + 1] - 1, arcs.starts[other + 1] - 2) if halves.back[half] else (arcs.starts[other], arcs.starts[other] + 1)
    ax, ay, bx, by = arcs.x[v] - arcs.x[p], arcs.y[v] - arcs.y[p], arcs.x[q] - arcs.x[v], arcs.y[q] - arcs.y[v]
    return bool(ax * by == ay * bx)


@kernel
def _doubled_area(points: NDArray[np.float64]) -> float:
    """Return twice the signed area of a closed ring, counted from its first point to lose no digits."""
    total = 0.0
    for k in range(1, len(points) - 1):
        ax, ay = points[k, 0] - points[0, 0], points[k, 1] - points[0, 1]
        total += ax * (points[k + 1, 1] - points[0, 1]) - ay * (points[k + 1, 0] - points[0, 0])
    return total


@entry
def _place(
    points: NDArray[np.float64], starts: NDArray[np.int64], order: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the rings in a given order: points, and (r + 1,) where each starts."""
    placed, offsets = np.empty((starts[len(starts) - 1], 2), np.float64), np.zeros(len(order) + 1, np.int64)
    n = 0
    for k in range(len(order)):
        for m in range(starts[order[k]], starts[order[k] + 1]):
            placed[n] = points[m]
            n += 1
        offsets[k + 1] = n
    return placed, offsets
