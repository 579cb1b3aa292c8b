"""Which corners of an arc stay when it is simplified, and which of them to take so that areas are kept."""

from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.objects.borders.arcs import END, FREE, KEPT, UNSEEN, Web, next_slot, side_of
from geoseg.pixels.kernel import kernel

DOUGLAS_PEUCKER, VISVALINGAM = 0, 1
_REACH = 3
"""How many corners along its arc a corner may hand its place on."""
_TURNS = 2
_SETTLED = 16.0
"""Twice the pixels in a cell that no class minds."""
_GIVING = 2.0
"""Twice the pixels that an arc may give or take per corner for the sake of other arcs."""


class Measures(NamedTuple):
    """What is short and what is small."""

    width_m: float
    """Width of a pixel."""
    height_m: float
    """Height of a pixel."""
    limit_m2: float
    """Squared distance for DOUGLAS_PEUCKER, area for VISVALINGAM."""
    method: int
    """One of the two."""
    smoothing: float
    """Share of the triangle at a corner that smoothing will cut off."""


@kernel
def choose(web: Web, states: NDArray[np.uint8], measures: Measures, classes: NDArray[np.int64]) -> None:
    """Turn the state of every UNSEEN corner into KEPT or FREE: first in arcs between END corners, then in closed ones.

    Args:
        web: Linked corners.
        states: END at junctions, UNSEEN elsewhere; changed.
        measures: Tolerance and method.
        classes: (n + 1,) class of each component, whose areas are to be kept; 0 for outside, which gets and loses what it may.
    """
    path, heads, count = np.empty(len(web.x) + 1, np.int32), np.empty(len(web.x), np.int32), 0
    gained = np.zeros(classes.max() + 1, np.float64)
    for half in range(len(web.twins)):
        # An arc is met from both ends; at the second one its corners have been seen.
        if states[half >> 2] == END and web.twins[half] >= 0 and states[web.twins[half] >> 2] == UNSEEN:
            _choose_in_arc(web, states, path[: _walk(web, states, half, path)], measures)
            heads[count] = half
            count += 1
    for corner in range(len(web.x)):
        if states[corner] == UNSEEN:
            half = 4 * corner + next_slot(web.edges[corner], -1)
            _choose_in_arc(web, states, path[: _walk(web, states, half, path)], measures)
            states[corner] = KEPT
            heads[count] = half
            count += 1
    for turn in range(_TURNS):
        if turn > 0 and np.abs(gained).max() < _SETTLED:
            return
        for half in heads[:count]:
            arc = path[: _walk(web, states, half, path)]
            right, left = classes[side_of(web, half)], classes[side_of(web, web.twins[half])]
            if turn > 0:
                _book(gained, right, left, -_drift(web, states, arc, measures.smoothing))
            _balance(web, states, arc, measures, (gained, right, left))
            _book(gained, right, left, _drift(web, states, arc, measures.smoothing))


@kernel
def _book(gained: NDArray[np.float64], right: int, left: int, drift: float) -> None:
    """Write down what the right side of an arc wins and the left one loses; outside keeps no accounts."""
    if right > 0:
        gained[right] += drift
    if left > 0:
        gained[left] -= drift


@kernel
def _walk(web: Web, states: NDArray[np.uint8], half: int, path: NDArray[np.int32]) -> int:
    """Write the corners of an arc or a ring into ``path``, both ends included; return how many there are."""
    path[0] = half >> 2
    count, twin = 1, web.twins[half]
    while True:
        corner = twin >> 2
        path[count] = corner
        count += 1
        if corner == path[0] or states[corner] == END:
            return count
        if states[corner] == UNSEEN:
            states[corner] = FREE
        twin = web.twins[4 * corner + next_slot(web.edges[corner], twin & 3)]


@kernel
def _choose_in_arc(web: Web, states: NDArray[np.uint8], path: NDArray[np.int32], measures: Measures) -> None:
    last = len(path) - 1
    if path[0] != path[last]:
        _choose_between(web, states, path, (0, last), measures)
    else:
        # A closed arc has no chord: four corners far from one another stay, so that the smallest island keeps its shape.
        far = _farthest(web, path, (0, last), measures)[0]
        before, after = _farthest(web, path, (0, far), measures)[0], _farthest(web, path, (far, last), measures)[0]
        for corner in (before, far, after):
            states[path[corner]] = KEPT
        for span in ((0, before), (before, far), (far, after), (after, last)):
            _choose_between(web, states, path, span, measures)


@kernel
def _choose_between(web: Web, states: NDArray[np.uint8], path: NDArray[np.int32], span: tuple[int, int], measures: Measures) -> None:
    if measures.method == VISVALINGAM:
        _choose_by_area(web, states, path, span, measures)
    else:
        _choose_by_distance(web, states, path, span, measures)


@kernel
def _choose_by_distance(web: Web, states: NDArray[np.uint8], path: NDArray[np.int32], span: tuple[int, int], measures: Measures) -> None:
    """Keep the corners of Douglas and Peucker (1973) between two corners that stay."""
    waiting = np.empty((64, 2), np.int64)
    depth = 0
    first, last = span
    while True:
        far, distance = _farthest(web, path, (first, last), measures)
        if distance > measures.limit_m2:
            states[path[far]] = KEPT
            # The longer part waits, so that no more than log2(n) parts ever do.
            left_first = far - first <= last - far
            waiting[depth, 0], waiting[depth, 1] = (far, last) if left_first else (first, far)
            first, last = (first, far) if left_first else (far, last)
            depth += 1
        elif depth > 0:
            depth -= 1
            first, last = waiting[depth, 0], waiting[depth, 1]
        else:
            return


@kernel
def _choose_by_area(web: Web, states: NDArray[np.uint8], path: NDArray[np.int32], span: tuple[int, int], measures: Measures) -> None:
    """Keep the corners of Visvalingam and Whyatt (1993): the smallest triangle goes first, until all are larger than allowed."""
    first, last = span
    before, after = np.arange(first - 1, last), np.arange(first + 1, last + 2)
    heap = [(0.0, 0)]
    heap.clear()
    for k in range(first + 1, last):
        states[path[k]] = KEPT
        heappush(heap, (_triangle(web, path, (k - 1, k, k + 1), measures), k))
    while len(heap) > 0:
        area, k = heappop(heap)
        a, b = before[k - first], after[k - first]
        if states[path[k]] == FREE or area != _triangle(web, path, (a, k, b), measures):
            continue
        if area > measures.limit_m2:
            return
        states[path[k]] = FREE
        after[a - first], before[b - first] = b, a
        if a > first:
            heappush(heap, (_triangle(web, path, (before[a - first], a, b), measures), a))
        if b < last:
            heappush(heap, (_triangle(web, path, (a, b, after[b - first]), measures), b))


@kernel
def _triangle(web: Web, path: NDArray[np.int32], at: tuple[int, int, int], measures: Measures) -> float:
    """Return the area of a triangle of places in a path, m2."""
    doubled = _area(web, path, at[0], at[1]) + _area(web, path, at[1], at[2]) + _area(web, path, at[2], at[0])
    return float(abs(doubled) * measures.width_m * measures.height_m / 2)


@kernel
def _farthest(web: Web, path: NDArray[np.int32], span: tuple[int, int], measures: Measures) -> tuple[int, float]:
    """Return the place in ``path`` that is farthest from the chord of a span, and its squared distance in m2, -1 if none."""
    first, last = span
    a, b = path[first], path[last]
    dx, dy = (web.x[b] - web.x[a]) * measures.width_m, (web.y[b] - web.y[a]) * measures.height_m
    shorter = 1 / max(dx * dx + dy * dy, 1e-300)
    best, farthest, tie = first, -1.0, -1.0
    for k in range(first + 1, last):
        px, py = (web.x[path[k]] - web.x[a]) * measures.width_m, (web.y[path[k]] - web.y[a]) * measures.height_m
        along = min(max((px * dx + py * dy) * shorter, 0.0), 1.0)
        px, py = px - along * dx, py - along * dy
        distance = px * px + py * py
        if distance <= tie:
            continue
        # Stairs have many equally far corners; the middle one halves the work that is left.
        if distance > farthest * (1 + 1e-9) or abs(2 * k - first - last) < abs(2 * best - first - last):
            best, farthest = k, max(distance, farthest)
            tie = farthest * (1 - 1e-9)
    return best, farthest


@kernel
def _balance(
    web: Web, states: NDArray[np.uint8], path: NDArray[np.int32], measures: Measures, sides: tuple[NDArray[np.float64], int, int]
) -> None:
    """Let corners hand their place on to one beside them where that evens out what classes have lost to others so far.

    Chords of a curve cut off what bulges: convex patches would shrink. Inner and outer corners of a stair take turns, so the
    one beside a corner lies on the other side of the curve. ``sides`` are what each class gained, and those right and left.
    """
    gained, right, left = sides
    drift = _drift(web, states, path, measures.smoothing)
    due = (gained[left] - gained[right]) / (1 if right == 0 or left == 0 else 2)
    # a long arc can give more than a short one without being bent
    rest = drift - min(max(due, -_GIVING * len(path)), _GIVING * len(path))
    a, c = 0, _next_kept(states, path, 0)
    while c < len(path) - 1 and abs(rest) >= 1:
        b = _next_kept(states, path, c)
        best, change = c, 0.0
        for k in range(max(a + 1, c - _REACH), min(b, c + _REACH + 1)):
            moved = _area(web, path, a, k) + _area(web, path, k, b) - _area(web, path, a, c) - _area(web, path, c, b)
            other = moved * (1 - measures.smoothing)
            if abs(rest + other) < abs(rest + change) and _is_near(web, path, (a, k, b), measures):
                best, change = k, other
        states[path[c]], states[path[best]] = FREE, KEPT
        rest += change
        a, c = best, b


@kernel
def _drift(web: Web, states: NDArray[np.uint8], path: NDArray[np.int32], smoothing: float) -> float:
    """Return twice the area that the right side of an arc wins when only its KEPT corners stay and are smoothed, pixels."""
    won, bends, lost = np.int64(0), np.int64(0), np.int64(0)
    before, here = -1, 0
    for k in range(1, len(path)):
        lost += _area(web, path, k - 1, k)
        if states[path[k]] != FREE or k == len(path) - 1:
            won += _area(web, path, here, k)
            if before >= 0:
                bends += _area(web, path, before, here) + _area(web, path, here, k) + _area(web, path, k, before)
            before, here = here, k
    return float(won - lost) - smoothing * bends


@kernel
def _is_near(web: Web, path: NDArray[np.int32], at: tuple[int, int, int], measures: Measures) -> bool:
    """Tell whether two chords stay within the tolerance, which for Visvalingam-Whyatt is an area and no distance."""
    if measures.method == VISVALINGAM:
        return True
    near = _farthest(web, path, (at[0], at[1]), measures)[1] <= measures.limit_m2
    return bool(near and _farthest(web, path, (at[1], at[2]), measures)[1] <= measures.limit_m2)


@kernel
def _next_kept(states: NDArray[np.uint8], path: NDArray[np.int32], after: int) -> int:
    k = after + 1
    while k < len(path) - 1 and states[path[k]] == FREE:
        k += 1
    return k


@kernel
def _area(web: Web, path: NDArray[np.int32], a: int, b: int) -> int:
    """Return twice the signed area between the origin and two places of a path, pixels."""
    return int(np.int64(web.x[path[a]]) * web.y[path[b]] - np.int64(web.x[path[b]]) * web.y[path[a]])
