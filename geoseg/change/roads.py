"""Roads of two dates: what is new, what is lost, what stayed."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

_TOUCH_M = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The roads of one date."""

    shapes: NDArray[np.object_]
    """(n,) lines, in metres on a plane."""
    width_m: NDArray[np.float64]
    """(n,) width of each."""
    unknown: NDArray[np.object_]
    """Polygons where the other date has no data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadPieces:
    """Pieces of road of one date."""

    shapes: NDArray[np.object_]
    """(m,) lines."""
    source: NDArray[np.int64]
    """(m,) position of the road that each is a piece of."""
    changed: NDArray[np.bool_]
    """(m,) whether the other date has no road there."""
    unknown_m: float
    """Length that is left out, since the other date has no data there."""


def find_pieces(own: Lines, other: Lines, tolerance_m: float, min_length_m: float) -> RoadPieces:
    """Cut the roads of one date where those of the other end.

    A line runs on a road of the other date where it is no farther from its line than half its width and the tolerance. Changed pieces
    that hang together over less than the minimum length are none.

    Args:
        own: Roads to be cut.
        other: Roads to compare them with.
        tolerance_m: How far lines may lie apart.
        min_length_m: Least length of a change.
    """
    known, hidden = _cut(own.shapes, shapely.buffer(own.unknown, tolerance_m))
    alone, shared = _cut(known, shapely.buffer(other.shapes, other.width_m / 2 + tolerance_m))
    changed, source = _parts(alone)
    long = _length_together(changed) >= min_length_m
    # what is too short for a change belongs to what stayed
    rest, rest_source = _parts(shared)
    stayed, stayed_source = _join(np.concatenate([rest, changed[~long]]), np.concatenate([rest_source, source[~long]]))
    return RoadPieces(
        shapes=np.concatenate([changed[long], stayed]),
        source=np.concatenate([source[long], stayed_source]),
        changed=np.repeat([True, False], [int(long.sum()), len(stayed)]),
        unknown_m=float(shapely.length(hidden).sum()),
    )


def _cut(lines: NDArray[np.object_], areas: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Return what of lines lies outside of areas, and what inside, each (n,); a line meets only its neighbors.

    Both come of the overlay with the same areas. A part is never what another one leaves of its line: the new ends of parts lie beside an
    oblique line, by a rounding, so that nothing would be taken away.
    """
    outside, inside = lines.copy(), np.full(len(lines), shapely.LineString(), dtype=object)
    index, near = shapely.STRtree(areas).query(lines, predicate="intersects")
    order = np.argsort(index, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(index[order])) + 1) if len(order) else []:
        row, area = index[members[0]], shapely.union_all(areas[near[members]])
        outside[row], inside[row] = shapely.difference(lines[row], area), shapely.intersection(lines[row], area)
    return outside, inside


def _parts(lines: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return the single lines of overlays, and the position of the overlay of each; places where a line only touches are none."""
    parts, source = shapely.get_parts(lines, return_index=True)
    there = shapely.length(parts) > 0
    return _join(parts[there], source[there])


def _join(lines: NDArray[np.object_], source: NDArray[np.int64]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return lines with those of one source in one where they meet end to end, in order of their sources."""
    names, group = np.unique(source, return_inverse=True)
    order = np.argsort(group, kind="stable")
    joined = shapely.line_merge(shapely.multilinestrings(lines[order], indices=group[order]))
    parts, which = shapely.get_parts(joined, return_index=True)
    return parts, names[which]


def _length_together(pieces: NDArray[np.object_]) -> NDArray[np.float64]:
    """Return for each piece the length of all that hang together with it."""
    if len(pieces) == 0:
        return np.zeros(0)
    one, other = shapely.STRtree(pieces).query(pieces, predicate="dwithin", distance=_TOUCH_M)
    graph = sparse.coo_array((np.ones(len(one), bool), (one, other)), shape=(len(pieces),) * 2)
    _, group = connected_components(graph, directed=False)
    return np.asarray(np.bincount(group, shapely.length(pieces))[group])
