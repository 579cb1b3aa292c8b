"""The borders of a label raster as a web of corners: find the corners, link them, simplify the arcs, trace the rings.

A *corner* is a pixel corner where a border turns or where three or more border edges meet; corners where a border only goes
straight on are never kept. Corners in row-major order need no stored links along a row: the next one is the neighbor. A
*half-edge* ``4 * corner + slot`` leaves a corner towards slot 0 north, 1 east, 2 south, 3 west, and has the component on its
right as its side. An *arc* is the chain of corners between two junctions; both of its components use the same one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

UNSEEN, FREE, KEPT, END = 0, 1, 2, 3
_MAX_ROUNDS = 250

_F = TypeVar("_F", bound=Callable[..., Any])


def kernel(function: _F) -> _F:
    """Compile a function with numba; the machine code is cached beside the file."""
    return cast(_F, njit(cache=True, nogil=True, error_model="numpy")(function))


class Corners(NamedTuple):
    """Corners of a raster or a part of it; a NamedTuple, since numba takes no dataclass."""

    x: NDArray[np.int32]
    """(n,) pixel columns, 0..W."""
    y: NDArray[np.int32]
    """(n,) pixel rows, 0..H."""
    edges: NDArray[np.uint8]
    """(n,) bit ``1 << slot`` is set where a border edge leaves towards the slot."""
    sides: NDArray[np.int32]
    """(n, 3) components of the pixels north-east, south-east and south-west; 0 = outside."""


class Web(NamedTuple):
    """Linked corners in row-major order. ``edges`` is 0 and ``twins`` -1 at corners that were simplified away."""

    x: NDArray[np.int32]
    """(n,) pixel columns."""
    y: NDArray[np.int32]
    """(n,) pixel rows, ascending."""
    edges: NDArray[np.uint8]
    """(n,) slots in use."""
    sides: NDArray[np.int32]
    """(n, 3) components north-east, south-east and south-west."""
    twins: NDArray[np.int32]
    """(4n,) the half-edge at the other end, that points back; -1 = none."""


class Rings(NamedTuple):
    """Rings in the order of their first corners, each starting there and not repeating it at its end."""

    path: NDArray[np.int32]
    """(m,) corners."""
    starts: NDArray[np.int64]
    """(r + 1,) where each ring starts in ``path``."""
    component: NDArray[np.int64]
    """(r,) the component inside."""
    is_hole: NDArray[np.bool_]
    """(r,) False for the one exterior of each component."""


@kernel
def find_corners(labels: NDArray[np.int32], rows: int, cols: int) -> Corners:
    """Find the corners at the upper left of each pixel of a block.

    Args:
        labels: (h + 2, w + 2) components, 4-connected, framed by the pixels around the block; 0 = outside.
        rows: Corner rows to look at, h, or h + 1 where the block ends at the raster's lower edge.
        cols: Corner columns to look at, likewise.

    Returns:
        Corners in row-major order, ``x`` and ``y`` counted from the block's upper left.
    """
    count = 0
    for i in range(rows):
        for j in range(cols):
            count += _is_corner(_edges_at(labels, i, j))
    x, y = np.empty(count, np.int32), np.empty(count, np.int32)
    edges, sides = np.empty(count, np.uint8), np.empty((count, 3), np.int32)
    n = 0
    for i in range(rows):
        for j in range(cols):
            slots = _edges_at(labels, i, j)
            if _is_corner(slots):
                x[n], y[n], edges[n] = j, i, slots
                sides[n, 0], sides[n, 1], sides[n, 2] = labels[i, j + 1], labels[i + 1, j + 1], labels[i + 1, j]
                n += 1
    return Corners(x, y, edges, sides)


@kernel
def link(corners: Corners, ranks: NDArray[np.int32], width: int) -> Web:
    """Link corners, given in row-major order, along rows and columns; their sides become ``ranks`` in place, to save memory."""
    n = len(corners.x)
    twins = np.full(4 * n, -1, np.int32)
    open_above = np.full(width + 1, -1, np.int32)
    for v in range(n):
        for k in range(3):
            corners.sides[v, k] = ranks[corners.sides[v, k]]
        if corners.edges[v] & 2:
            twins[4 * v + 1], twins[4 * v + 7] = 4 * v + 7, 4 * v + 1
        x = corners.x[v]
        if corners.edges[v] & 1:
            above = 4 * open_above[x] + 2
            twins[4 * v], twins[above] = above, 4 * v
        if corners.edges[v] & 4:
            open_above[x] = v
    return Web(corners.x, corners.y, corners.edges, corners.sides, twins)


def simplify(web: Web, shape: tuple[int, int], pixel_m: tuple[float, float], tolerance_m: float, cover_background: bool) -> None:
    """Simplify every arc once, in place; no arc ever crosses, touches or jumps over another one.

    Douglas and Peucker (1973) choose the corners that must stay, arc by arc. The others are taken out one at a time, and only if
    the triangle between a corner and its two neighbors holds no other corner: the borders are then a planar graph after each
    step, with the same faces around each junction as before (the invariant of Visvalingam-Whyatt in GEOS's coverage simplifier).

    Args:
        web: Linked corners; ``edges`` and ``twins`` are changed.
        shape: Raster (H, W); its four corners stay.
        pixel_m: Width and height of a pixel in metres.
        tolerance_m: How far a border may move, metres.
        cover_background: False lets components that border on outside only shrink there.
    """
    height, width = shape
    on_frame = ((web.x == 0) | (web.x == width)) & ((web.y == 0) | (web.y == height))
    degree = np.bitwise_count(web.edges)
    states = np.where((degree != 2) | on_frame, END, UNSEEN).astype(np.uint8)
    # The slack keeps borders that lie at the tolerance exactly (whole pixels) on one side of it, whatever the rounding.
    _choose(web, states, (float(pixel_m[0]), float(pixel_m[1]), tolerance_m**2 * (1 + 1e-9)))
    rows = np.searchsorted(web.y, np.arange(height + 2, dtype=np.int32))
    _take_out(web, rows, np.flatnonzero(states == FREE).astype(np.int32), cover_background)


@kernel
def trace(web: Web) -> Rings:
    """Trace the rings around all components, the inside on the right (y down); uses up ``web.twins``."""
    halves = 0
    for half in range(len(web.twins)):
        halves += web.twins[half] >= 0 and _side(web, half) > 0
    path = np.empty(halves, np.int32)
    starts = np.zeros(halves // 3 + 1, np.int64)
    component = np.empty(halves // 3, np.int64)
    is_hole = np.empty(halves // 3, np.bool_)
    n, r = 0, 0
    for half in range(len(web.twins)):
        if web.twins[half] >= 0 and _side(web, half) > 0:
            component[r] = _side(web, half)
            n, area = _trace_ring(web, half, path, n)
            is_hole[r] = area < 0
            r += 1
            starts[r] = n
    return Rings(path, starts[: r + 1], component[:r], is_hole[:r])


@kernel
def _edges_at(labels: NDArray[np.int32], i: int, j: int) -> int:
    nw, ne, sw, se = labels[i, j], labels[i, j + 1], labels[i + 1, j], labels[i + 1, j + 1]
    return int((nw != ne) | (ne != se) << 1 | (se != sw) << 2 | (sw != nw) << 3)


@kernel
def _is_corner(slots: int) -> bool:
    return slots not in (0, 5, 10)


@kernel
def _side(web: Web, half: int) -> int:
    """Return the component on the right of a half-edge; going west it is the one north-east of the corner before."""
    corner, slot = half >> 2, half & 3
    if slot == 3:
        return int(web.sides[corner - 1, 0])
    return int(web.sides[corner, slot])


@kernel
def _trace_ring(web: Web, start: int, path: NDArray[np.int32], n: int) -> tuple[int, int]:
    """Write one ring into ``path`` from position ``n``; return its end there and twice its area, below 0 for holes."""
    component, area = _side(web, start), 0
    half = start
    while web.twins[half] >= 0:
        twin = web.twins[half]
        # Each half-edge belongs to one ring: a used one needs no other flag.
        web.twins[half] = -1
        a, b = half >> 2, twin >> 2
        area += np.int64(web.x[a]) * web.y[b] - np.int64(web.x[b]) * web.y[a]
        path[n] = a
        n += 1
        half = _turn(web, twin, component)
    return n, area


@kernel
def _turn(web: Web, arrival: int, component: int) -> int:
    """Return the half-edge by which a ring goes on: left if its component is there, else straight on, else right.

    Left first, since pixels of one component that touch diagonally are connected around one of the two others: the ring around
    that one and the ring around the rest then only touch here, and each stays simple.
    """
    corner, slot = arrival >> 2, arrival & 3
    for turn in range(1, 3):
        ahead = (slot + turn) & 3
        if web.edges[corner] & (1 << ahead) and _side(web, 4 * corner + ahead) == component:
            return 4 * corner + ahead
    return 4 * corner + ((slot + 3) & 3)


@kernel
def _next_slot(slots: int, after: int) -> int:
    """Return the first slot in use after a given one, -1 for the very first."""
    slot = after + 1
    while not slots & (1 << (slot & 3)):
        slot += 1
    return slot & 3


@kernel
def _choose(web: Web, states: NDArray[np.uint8], metric: tuple[float, float, float]) -> None:
    """Turn the state of every UNSEEN corner into KEPT or FREE: first in arcs between END corners, then in closed rings."""
    path = np.empty(len(web.x) + 1, np.int32)
    for half in range(len(web.twins)):
        # An arc is met from both ends; at the second one its corners have been seen.
        if states[half >> 2] == END and web.twins[half] >= 0 and states[web.twins[half] >> 2] == UNSEEN:
            _choose_in_arc(web, states, path[: _walk(web, states, half, path)], metric)
    for corner in range(len(web.x)):
        if states[corner] == UNSEEN:
            half = 4 * corner + _next_slot(web.edges[corner], -1)
            _choose_in_arc(web, states, path[: _walk(web, states, half, path)], metric)
            states[corner] = KEPT


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
        states[corner] = FREE
        twin = web.twins[4 * corner + _next_slot(web.edges[corner], twin & 3)]


@kernel
def _choose_in_arc(web: Web, states: NDArray[np.uint8], path: NDArray[np.int32], metric: tuple[float, float, float]) -> None:
    last = len(path) - 1
    if path[0] != path[last]:
        _choose_between(web, states, path, (0, last), metric)
        return
    # A closed arc has no chord: four corners far from one another stay, so that the smallest island keeps its shape.
    far = _farthest(web, path, (0, last), metric)[0]
    before, after = _farthest(web, path, (0, far), metric)[0], _farthest(web, path, (far, last), metric)[0]
    for corner in (before, far, after):
        states[path[corner]] = KEPT
    for span in ((0, before), (before, far), (far, after), (after, last)):
        _choose_between(web, states, path, span, metric)


@kernel
def _choose_between(
    web: Web, states: NDArray[np.uint8], path: NDArray[np.int32], span: tuple[int, int], metric: tuple[float, float, float]
) -> None:
    """Keep the corners of Douglas and Peucker (1973) between two corners that stay."""
    waiting = np.empty((64, 2), np.int64)
    depth = 0
    first, last = span
    while True:
        far, distance = _farthest(web, path, (first, last), metric)
        if distance > metric[2]:
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
def _farthest(web: Web, path: NDArray[np.int32], span: tuple[int, int], metric: tuple[float, float, float]) -> tuple[int, float]:
    """Return the place in ``path`` that is farthest from the chord of a span, and its squared distance in m2, -1 if none."""
    first, last = span
    a, b = path[first], path[last]
    dx, dy = (web.x[b] - web.x[a]) * metric[0], (web.y[b] - web.y[a]) * metric[1]
    length = max(dx * dx + dy * dy, 1e-300)
    best, farthest = first, -1.0
    for k in range(first + 1, last):
        px, py = (web.x[path[k]] - web.x[a]) * metric[0], (web.y[path[k]] - web.y[a]) * metric[1]
        along = min(max((px * dx + py * dy) / length, 0.0), 1.0)
        distance = (px - along * dx) ** 2 + (py - along * dy) ** 2
        # Stairs have many equally far corners; the middle one halves the work that is left.
        tied = distance > farthest * (1 - 1e-9) and abs(2 * k - first - last) < abs(2 * best - first - last)
        if distance > farthest * (1 + 1e-9) or tied:
            best, farthest = k, max(distance, farthest)
    return best, farthest


@kernel
def _take_out(web: Web, rows: NDArray[np.int64], free: NDArray[np.int32], cover_background: bool) -> None:
    """Take free corners out until none can go any more."""
    touched = np.zeros(len(web.x), np.uint8)
    for turn in range(1, _MAX_ROUNDS):
        left = 0
        for v in free:
            slot = _next_slot(web.edges[v], -1)
            back, on = web.twins[4 * v + slot], web.twins[4 * v + _next_slot(web.edges[v], slot)]
            # At most one of two neighbors per round: triangles stay small, as in a balanced tree.
            fresh = touched[back >> 2] != turn and touched[on >> 2] != turn
            if fresh and _is_removable(web, rows, (back >> 2, v, on >> 2)) and (cover_background or _leaves_outside(web, v)):
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
    slot = _next_slot(web.edges[v], -1)
    other = _next_slot(web.edges[v], slot)
    turn = _cross(web, web.twins[4 * v + slot] >> 2, v, web.twins[4 * v + other] >> 2)
    # The inner side of the bend loses the triangle: right of the way on if it bends right, the side of the way back otherwise.
    return turn == 0 or _side(web, 4 * v + (other if turn > 0 else slot)) > 0


@kernel
def _is_removable(web: Web, rows: NDArray[np.int64], triangle: tuple[int, int, int]) -> bool:
    """Tell whether two neighbors of a corner can be joined: they are not yet, and the closed triangle holds no other corner."""
    a, v, b = triangle
    if a == b:
        return False
    for slot in range(4):
        if web.twins[4 * a + slot] >= 0 and web.twins[4 * a + slot] >> 2 == b:
            return False
    turn = _cross(web, a, v, b)
    if turn == 0:
        return True
    corners = (a, v, b) if turn > 0 else (b, v, a)
    for y in range(min(web.y[a], web.y[v], web.y[b]), max(web.y[a], web.y[v], web.y[b]) + 1):
        if _holds_corner(web, rows, corners, y):
            return False
    return True


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
        if is_other and min(_cross(web, a, b, k), _cross(web, b, c, k), _cross(web, c, a, k)) >= 0:
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


@kernel
def _cross(web: Web, a: int, b: int, c: int) -> int:
    """Return twice the signed area of a triangle in pixels, above 0 if it turns right on the screen."""
    abx, aby = np.int64(web.x[b]) - web.x[a], np.int64(web.y[b]) - web.y[a]
    return int(abx * (np.int64(web.y[c]) - web.y[a]) - aby * (np.int64(web.x[c]) - web.x[a]))
