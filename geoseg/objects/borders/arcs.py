"""The borders of a cell of a label raster: corners, the web that they make up, and the arcs between its junctions.

A *cell* is a rectangle of pixels of a fixed lattice. It owns the upper and the left edge of each of its pixels; at the raster's
lower and right end the outer edges too. A *corner* is a pixel corner where a border turns, where three or more border edges meet,
or where a border meets the outline of the cell. Corners in row-major order need no stored links along a row: the next one is the
neighbor. A *half-edge* ``4 * corner + slot`` leaves a corner towards slot 0 north, 1 east, 2 south, 3 west, and has the component
on its right as its side. An *arc* is the chain of corners between two junctions; both of its components use the same one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.pixels.kernel import entry, kernel

UNSEEN, FREE, KEPT, END = 0, 1, 2, 3
_ACROSS, _ALONG = 10, 5


class Web(NamedTuple):
    """Linked corners in row-major order; a NamedTuple, since numba takes no dataclass.

    ``edges`` is 0 and ``twins`` -1 at corners that were simplified away.
    """

    x: NDArray[np.int32]
    """(n,) pixel columns, 0..w, counted from the cell."""
    y: NDArray[np.int32]
    """(n,) pixel rows, 0..h, ascending."""
    edges: NDArray[np.uint8]
    """(n,) bit ``1 << slot`` is set where a border edge of the cell leaves towards the slot."""
    sides: NDArray[np.int32]
    """(n, 3) components of the pixels north-east, south-east and south-west; 0 = outside."""
    twins: NDArray[np.int32]
    """(4n,) the half-edge at the other end, that points back; -1 = none."""


class Arcs(NamedTuple):
    """Borders between junctions."""

    starts: NDArray[np.int64]
    """(n + 1,) where each arc begins in ``x`` and ``y``; both its ends are among its points."""
    x: NDArray[np.float64]
    """(m,) pixel columns."""
    y: NDArray[np.float64]
    """(m,) pixel rows."""
    sides: NDArray[np.int64]
    """(n, 2) component on the right of the way there, and of the way back."""
    keys: NDArray[np.int64]
    """(n, 2) first half-edge of the way there and of the way back, ``4 * junction + slot`` with the junction numbered over the
    raster; a closed border without junction has those of its first corner."""
    is_loop: NDArray[np.bool_]
    """(n,) True for closed borders without junction."""


@entry
def find_web(labels: NDArray[np.int32], is_last: tuple[bool, bool]) -> Web:
    """Find the corners of a cell and link them.

    Args:
        labels: (h + 2, w + 2) components of the cell, 4-connected, framed by the pixels above and on the left, else 0 = outside.
        is_last: Whether the raster ends at the cell's lower and at its right edge.

    Returns:
        The web of the edges that the cell owns.
    """
    height, width = labels.shape[0] - 2, labels.shape[1] - 2
    # Pages that are not written to take no memory.
    most = (height + 1) * (width + 1)
    x, y = np.empty(most, np.int32), np.empty(most, np.int32)
    edges, sides = np.empty(most, np.uint8), np.empty((most, 3), np.int32)
    n = 0
    for i in range(height + 1):
        nw, sw = labels[i, 0], labels[i + 1, 0]
        for j in range(width + 1):
            ne, se = labels[i, j + 1], labels[i + 1, j + 1]
            if nw != sw or ne != se or nw != ne:
                slots = _corner_at(labels, i, j, is_last)
                if slots > 0:
                    x[n], y[n], edges[n] = j, i, slots
                    sides[n, 0], sides[n, 1], sides[n, 2] = ne, se, sw
                    n += 1
            nw, sw = ne, se
    found = x[:n].copy(), edges[:n].copy()
    return Web(found[0], y[:n].copy(), found[1], sides[:n].copy(), _link(found[0], found[1], width))


@kernel
def mark_ends(web: Web, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the state of each corner of a cell (H, W): END at junctions and on the cell's outline, else UNSEEN."""
    states = np.full(len(web.x), UNSEEN, np.uint8)
    for v in range(len(web.x)):
        on_outline = web.x[v] == 0 or web.x[v] == shape[1] or web.y[v] == 0 or web.y[v] == shape[0]
        if on_outline or web.edges[v] not in (3, 5, 6, 9, 10, 12):
            states[v] = END
    return states


@entry
def collect_arcs(web: Web, states: NDArray[np.uint8], origin: tuple[int, int, int]) -> Arcs:
    """Collect the arcs of a web: those between END corners, then the closed ones without any.

    Args:
        web: Linked corners, simplified or not.
        states: END at junctions.
        origin: Row and column of the cell in the raster, and junctions per raster row; junctions are numbered by it.

    Returns:
        Arcs with coordinates counted from the cell.
    """
    total = 0
    for v in range(len(web.x)):
        total += _degree(web.edges[v])
    starts, sides = np.zeros(total + 1, np.int64), np.empty((total, 2), np.int64)
    keys, is_loop = np.empty((total, 2), np.int64), np.zeros(total, np.bool_)
    path, seen = np.empty(2 * total + 1, np.int32), np.zeros(len(web.x), np.bool_)
    n = 0
    for turn in range(2):
        for half in range(len(web.twins)):
            v = half >> 2
            if web.twins[half] < 0 or seen[v] or (states[v] == END) == (turn == 1):
                continue
            stop, back = _follow(web, states, half, path, starts[n])
            # An arc is met from both of its ends, and counts once.
            if turn == 0 and back < half:
                continue
            for k in range(starts[n], stop):
                seen[path[k]] = states[path[k]] != END
            starts[n + 1], is_loop[n] = stop, turn == 1
            sides[n, 0], sides[n, 1] = side_of(web, half), side_of(web, back)
            keys[n, 0], keys[n, 1] = _key(web, half, origin), _key(web, back, origin)
            n += 1
    x, y = np.empty(starts[n], np.float64), np.empty(starts[n], np.float64)
    for k in range(starts[n]):
        x[k], y[k] = web.x[path[k]], web.y[path[k]]
    return Arcs(starts[: n + 1].copy(), x, y, sides[:n].copy(), keys[:n].copy(), is_loop[:n].copy())


def take_arcs(arcs: Arcs, chosen: NDArray[np.bool_]) -> Arcs:
    """Return some of the arcs."""
    lengths = np.diff(arcs.starts)
    points = np.repeat(chosen, lengths)
    starts = np.concatenate([[0], np.cumsum(lengths[chosen])])
    return Arcs(starts, arcs.x[points], arcs.y[points], arcs.sides[chosen], arcs.keys[chosen], arcs.is_loop[chosen])


def join_arcs(parts: Sequence[Arcs]) -> Arcs:
    """Return all arcs, one part after another."""
    pairs = np.empty((0, 2), np.int64)
    nothing = Arcs(np.zeros(1, np.int64), np.empty(0), np.empty(0), pairs, pairs, np.empty(0, np.bool_))
    starts, *others = zip(nothing, *parts, strict=True)
    lengths = np.concatenate([np.diff(start) for start in starts])
    return Arcs(np.concatenate([[0], np.cumsum(lengths)]), *(np.concatenate(arrays) for arrays in others))


@kernel
def side_of(web: Web, half: int) -> int:
    """Return the component on the right of a half-edge; going west it is the one north-east of the corner before."""
    corner, slot = half >> 2, half & 3
    if slot == 3:
        return int(web.sides[corner - 1, 0])
    return int(web.sides[corner, slot])


@kernel
def next_slot(slots: int, after: int) -> int:
    """Return the first slot in use after a given one, -1 for the very first."""
    slot = after + 1
    while not slots & (1 << (slot & 3)):
        slot += 1
    return slot & 3


@kernel
def cross(web: Web, a: int, b: int, c: int) -> int:
    """Return twice the signed area of a triangle of corners in pixels, above 0 if it turns right on the screen."""
    abx, aby = np.int64(web.x[b]) - web.x[a], np.int64(web.y[b]) - web.y[a]
    return int(abx * (np.int64(web.y[c]) - web.y[a]) - aby * (np.int64(web.x[c]) - web.x[a]))


@kernel
def _corner_at(labels: NDArray[np.int32], i: int, j: int, is_last: tuple[bool, bool]) -> int:
    """Return the slots of the cell's own edges at a pixel corner, 0 where there is no corner."""
    height, width = labels.shape[0] - 2, labels.shape[1] - 2
    nw, ne, sw, se = labels[i, j], labels[i, j + 1], labels[i + 1, j], labels[i + 1, j + 1]
    every = int((nw != ne) | (ne != se) << 1 | (se != sw) << 2 | (sw != nw) << 3)
    if every == 0:
        return 0
    on_row, on_col = i in (0, height), j in (0, width)
    if not on_row and not on_col:
        return 0 if every in (_ACROSS, _ALONG) else every
    owns_row, owns_col = i < height or is_last[0], j < width or is_last[1]
    owned = (owns_col and i > 0) | (owns_row and j < width) << 1 | (owns_col and i < height) << 2 | (owns_row and j > 0) << 3
    slots = every & owned
    # A border along the outline goes straight on; one that meets it has to end there.
    goes_on = (on_row and not on_col and slots == every == _ACROSS) or (on_col and not on_row and slots == every == _ALONG)
    return 0 if goes_on else slots


@kernel
def _link(x: NDArray[np.int32], edges: NDArray[np.uint8], width: int) -> NDArray[np.int32]:
    """Link corners in row-major order along rows and columns."""
    twins = np.full(4 * len(x), -1, np.int32)
    open_above = np.full(width + 1, -1, np.int32)
    for v in range(len(x)):
        if edges[v] & 2:
            twins[4 * v + 1], twins[4 * v + 7] = 4 * v + 7, 4 * v + 1
        if edges[v] & 1:
            above = 4 * open_above[x[v]] + 2
            twins[4 * v], twins[above] = above, 4 * v
        if edges[v] & 4:
            open_above[x[v]] = v
    return twins


@kernel
def _follow(web: Web, states: NDArray[np.uint8], half: int, path: NDArray[np.int32], n: int) -> tuple[int, int]:
    """Write an arc into ``path`` from position ``n``; return its end there and the half-edge by which it comes back."""
    first = half >> 2
    path[n] = first
    n += 1
    twin = web.twins[half]
    while True:
        corner = twin >> 2
        path[n] = corner
        n += 1
        if corner == first or states[corner] == END:
            return n, twin
        twin = web.twins[4 * corner + next_slot(web.edges[corner], twin & 3)]


@kernel
def _key(web: Web, half: int, origin: tuple[int, int, int]) -> int:
    corner = half >> 2
    junction = (origin[0] + np.int64(web.y[corner])) * origin[2] + origin[1] + web.x[corner]
    return int(4 * junction + (half & 3))


@kernel
def _degree(slots: int) -> int:
    return (slots & 1) + (slots >> 1 & 1) + (slots >> 2 & 1) + (slots >> 3 & 1)
