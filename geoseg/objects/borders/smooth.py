"""Round the corners of arcs off, without moving a junction and without any two borders meeting."""

import numpy as np
from numpy.typing import NDArray

from geoseg.objects.borders.arcs import Arcs
from geoseg.pixels.kernel import entry, kernel

_BITS = 3
"""Binary digits that a round adds to coordinates: cuts are at a quarter or an eighth of an edge."""
_BIN_PX = 8


def smooth(arcs: Arcs, shape: tuple[int, int], rounds: int, cover_background: bool) -> Arcs:
    """Cut the corners of arcs (Chaikin 1974), once for both sides of each.

    A round replaces each corner between junctions by two, a quarter along its edges. The triangle that this cuts off must hold no
    other corner; else an eighth is tried, else the corner stays. Since no border ends in a triangle, none passes through it
    either: an edge could only come in over the cut and cannot turn back. Triangles of one edge take at most a quarter of it
    each, so all cuts of a round can be made at once. Coordinates are whole multiples of ``2**(-3 * rounds)`` px, and tests exact.

    Args:
        arcs: Arcs of a cell, coordinates counted from it.
        shape: Cell (H, W).
        rounds: How often, up to MAX_ROUNDS of the options.
        cover_background: False only cuts corners whose ground is lost to outside.

    Returns:
        The same arcs with more points.
    """
    scale = 1 << (_BITS * rounds)
    starts, x, y = arcs.starts, (arcs.x * scale).astype(np.int64), (arcs.y * scale).astype(np.int64)
    for _ in range(rounds):
        bins = (shape[0] // _BIN_PX + 1, shape[1] // _BIN_PX + 1, _BIN_PX * scale)
        first, members = _sort_into_bins(x, y, bins)
        starts, x, y = _cut_all(arcs, (starts, x, y), bins, (first, members), cover_background)
    return arcs._replace(starts=starts, x=x / scale, y=y / scale)


def share_cut_off(rounds: int) -> float:
    """Return how much of the triangle of a corner and its two neighbors is cut off in some rounds: 1/16, then a quarter of that."""
    return (1 - 0.25**rounds) / 12


@entry
def _sort_into_bins(x: NDArray[np.int64], y: NDArray[np.int64], bins: tuple[int, int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each square bin starts among the points that are sorted by bins, and the points."""
    first = np.zeros(bins[0] * bins[1] + 1, np.int64)
    for k in range(len(x)):
        first[y[k] // bins[2] * bins[1] + x[k] // bins[2] + 1] += 1
    first = np.cumsum(first)
    members, placed = np.empty(len(x), np.int64), first.copy()
    for k in range(len(x)):
        where = y[k] // bins[2] * bins[1] + x[k] // bins[2]
        members[placed[where]] = k
        placed[where] += 1
    return first, members


@entry
def _cut_all(
    arcs: Arcs,
    points: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    bins: tuple[int, int, int],
    sorted_points: tuple[NDArray[np.int64], NDArray[np.int64]],
    cover_background: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Make one round of cuts; return the arcs' new starts and points."""
    starts, x, y = points
    cut_starts = np.zeros_like(starts)
    cut_x, cut_y = np.empty(2 * len(x), np.int64), np.empty(2 * len(x), np.int64)
    n = 0
    for arc in range(len(starts) - 1):
        first, last = starts[arc], starts[arc + 1] - 1
        for k in range(first, last + 1):
            if (k == first and arcs.is_loop[arc]) or first < k < last:
                at = (last - 1 if k == first else k - 1, k, k + 1)
                parts = _find_cut(arcs.sides[arc], (x, y), at, bins, sorted_points, cover_background)
            else:
                parts = 0
            if parts > 0:
                cut_x[n], cut_y[n] = x[k] + (x[at[0]] - x[k]) // parts, y[k] + (y[at[0]] - y[k]) // parts
                n += 1
                cut_x[n], cut_y[n] = x[k] + (x[at[2]] - x[k]) // parts, y[k] + (y[at[2]] - y[k]) // parts
            elif k == last and arcs.is_loop[arc]:
                cut_x[n], cut_y[n] = cut_x[cut_starts[arc]], cut_y[cut_starts[arc]]
            else:
                cut_x[n], cut_y[n] = x[k], y[k]
            n += 1
        cut_starts[arc + 1] = n
    return cut_starts, cut_x[:n].copy(), cut_y[:n].copy()


@kernel
def _find_cut(
    sides: NDArray[np.int64],
    points: tuple[NDArray[np.int64], NDArray[np.int64]],
    at: tuple[int, int, int],
    bins: tuple[int, int, int],
    sorted_points: tuple[NDArray[np.int64], NDArray[np.int64]],
    cover_background: bool,
) -> int:
    """Return into how many parts the edges at a corner are cut, 0 if it has to stay."""
    x, y = points
    a, v, b = at
    ax, ay, bx, by = x[a] - x[v], y[a] - y[v], x[b] - x[v], y[b] - y[v]
    # Above 0 the way bends right on the screen, and its right side loses the triangle.
    turn = bx * ay - by * ax
    if turn == 0 or (not cover_background and sides[0 if turn > 0 else 1] == 0):
        return 0
    for parts in (4, 8):
        if not _holds_point(points, v, (ax // parts, ay // parts, bx // parts, by // parts), bins, sorted_points):
            return parts
    return 0


@kernel
def _holds_point(
    points: tuple[NDArray[np.int64], NDArray[np.int64]],
    v: int,
    legs: tuple[int, int, int, int],
    bins: tuple[int, int, int],
    sorted_points: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> bool:
    """Tell whether the closed triangle of a corner and the ends of two legs holds another point."""
    x, y = points
    first, members = sorted_points
    ax, ay, bx, by = legs
    sign = 1 if bx * ay - by * ax > 0 else -1
    for row in range((y[v] + min(ay, by, 0)) // bins[2], (y[v] + max(ay, by, 0)) // bins[2] + 1):
        for col in range((x[v] + min(ax, bx, 0)) // bins[2], (x[v] + max(ax, bx, 0)) // bins[2] + 1):
            where = row * bins[1] + col
            for m in range(first[where], first[where + 1]):
                px, py = x[members[m]] - x[v], y[members[m]] - y[v]
                if px == 0 and py == 0:
                    continue
                on_a, on_b = sign * (px * ay - py * ax), sign * (bx * py - by * px)
                beyond = sign * ((px - bx) * (ay - by) - (py - by) * (ax - bx))
                if on_a >= 0 and on_b >= 0 and beyond <= 0:
                    return True
    return False
