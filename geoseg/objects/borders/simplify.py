"""Simplify the arcs of a cell, each once, so that none ever crosses, touches or jumps over another one."""

import numpy as np
from numpy.typing import NDArray

from geoseg.objects.borders.arcs import FREE, Web, cross, next_slot, side_of
from geoseg.objects.borders.choose import Measures, choose
from geoseg.pixels.kernel import kernel

_MAX_ROUNDS = 250


def simplify(
    web: Web, states: NDArray[np.uint8], shape: tuple[int, int], measures: Measures, classes: NDArray[np.int64], cover_background: bool
) -> None:
    """Simplify every arc of a cell once, in place.

    A method chooses the corners that must stay, arc by arc. The others are taken out one at a time, and only if the triangle
    between a corner and its two neighbors holds no other corner: the borders are then a planar graph after each step, with the
    same faces around each junction as before (the invariant of Visvalingam-Whyatt in GEOS's coverage simplifier). No chord may
    come to lie on the outline of the cell, since the corners on its other side are unknown here.

    Args:
        web: Linked corners; ``edges`` and ``twins`` are changed.
        states: END at junctions, else UNSEEN; changed.
        shape: Cell (H, W).
        measures: Tolerance and method.
        classes: (n + 1,) class of each component, for :func:`geoseg.objects.borders.choose.choose`.
        cover_background: False lets components that border on outside only shrink there.
    """
    choose(web, states, measures, classes)
    rows = np.searchsorted(web.y, np.arange(shape[0] + 2, dtype=np.int32))
    _take_out(web, rows, np.flatnonzero(states == FREE).astype(np.int32), shape, cover_background)


@kernel
def _take_out(web: Web, rows: NDArray[np.int64], free: NDArray[np.int32], shape: tuple[int, int], cover_background: bool) -> None:
    """Take free corners out until none can go any more."""
    touched = np.zeros(len(web.x), np.uint8)
    for turn in range(1, _MAX_ROUNDS):
        left = 0
        for v in free:
            slot = next_slot(web.edges[v], -1)
            back, on = web.twins[4 * v + slot], web.twins[4 * v + next_slot(web.edges[v], slot)]
            # At most one of two neighbors per round: triangles stay small, as in a balanced tree.
            fresh = touched[back >> 2] != turn and touched[on >> 2] != turn
            allowed = fresh and (cover_background or _leaves_outside(web, v))
            if allowed and _is_removable(web, rows, (back >> 2, v, on >> 2), shape):
                web.twins[back], web.twins[on] = on, back
                web.twins[4 * v : 4 * v + 4] = -1
                web.edges[v] = 0
                touched[back >> 2], touched[on >> 2] = turn, turn
            else:
                free[left] = v
                left += 1
        if left == len(free):
            return
        free = free[:left]


@kernel
def _leaves_outside(web: Web, v: int) -> bool:
    """Tell whether outside keeps its ground when a corner with two edges is taken out."""
    slot = next_slot(web.edges[v], -1)
    other = next_slot(web.edges[v], slot)
    turn = cross(web, web.twins[4 * v + slot] >> 2, v, web.twins[4 * v + other] >> 2)
    # The inner side of the bend loses the triangle: right of the way on if it bends right, the side of the way back otherwise.
    return turn == 0 or side_of(web, 4 * v + (other if turn > 0 else slot)) > 0


@kernel
def _is_removable(web: Web, rows: NDArray[np.int64], triangle: tuple[int, int, int], shape: tuple[int, int]) -> bool:
    """Tell whether two neighbors of a corner can be joined: they are not yet, and the closed triangle holds no other corner."""
    a, v, b = triangle
    if a == b or _lies_on_outline(web, a, b, shape):
        return False
    for slot in range(4):
        if web.twins[4 * a + slot] >= 0 and web.twins[4 * a + slot] >> 2 == b:
            return False
    turn = cross(web, a, v, b)
    if turn == 0 or _is_empty(web, triangle, abs(turn)):
        return True
    corners = (a, v, b) if turn > 0 else (b, v, a)
    for y in range(min(web.y[a], web.y[v], web.y[b]), max(web.y[a], web.y[v], web.y[b]) + 1):
        if _holds_corner(web, rows, corners, y):
            return False
    return True


@kernel
def _is_empty(web: Web, triangle: tuple[int, int, int], doubled_area: int) -> bool:
    """Tell whether a triangle has no room for another corner, inside or on the new edge, by Pick's theorem: most stairs do not."""
    a, v, b = triangle
    if _steps(web, a, b) > 1:
        return False
    return bool(doubled_area == _steps(web, a, v) + _steps(web, v, b) - 1)


@kernel
def _steps(web: Web, a: int, b: int) -> int:
    """Return into how many parts the whole pixels on it divide the line between two corners."""
    m, n = abs(web.x[a] - web.x[b]), abs(web.y[a] - web.y[b])
    while n > 0:
        m, n = n, m % n
    return int(m)


@kernel
def _lies_on_outline(web: Web, a: int, b: int, shape: tuple[int, int]) -> bool:
    on_col = web.x[a] == web.x[b] and (web.x[a] == 0 or web.x[a] == shape[1])
    return bool(on_col or (web.y[a] == web.y[b] and (web.y[a] == 0 or web.y[a] == shape[0])))


@kernel
def _holds_corner(web: Web, rows: NDArray[np.int64], triangle: tuple[int, int, int], y: int) -> bool:
    """Tell whether a triangle, clockwise on the screen, holds a fourth corner in one pixel row."""
    a, b, c = triangle
    low, high = _reach(web, a, b, y, (np.inf, -np.inf))
    low, high = _reach(web, b, c, y, (low, high))
    low, high = _reach(web, c, a, y, (low, high))
    # Half a pixel more than enough, since corners are whole numbers: the exact test follows.
    k = rows[y] + np.searchsorted(web.x[rows[y] : rows[y + 1]], low - 0.5)
    while k < rows[y + 1] and web.x[k] < high + 0.5:
        is_other = web.edges[k] != 0 and k != a and k != b and k != c  # noqa: PLR1714  (numba looks up no tuple of mixed integers)
        if is_other and min(cross(web, a, b, k), cross(web, b, c, k), cross(web, c, a, k)) >= 0:
            return True
        k += 1
    return False


@kernel
def _reach(web: Web, a: int, b: int, y: int, found: tuple[float, float]) -> tuple[float, float]:
    """Widen the range of x in which a triangle meets a pixel row by one of its edges."""
    low, high = found
    xa, xb, ya, yb = float(web.x[a]), float(web.x[b]), web.y[a], web.y[b]
    if not min(ya, yb) <= y <= max(ya, yb):
        return low, high
    if ya == yb:
        return min(low, xa, xb), max(high, xa, xb)
    x = xa + (xb - xa) * (y - ya) / (yb - ya)
    return min(low, x), max(high, x)
