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
    known = _outside(own.shapes, shapely.buffer(own.unknown, tolerance_m))
    unknown_m = float(shapely.length(own.shapes).sum() - shapely.length(known).sum())
    roads = shapely.buffer(other.shapes, other.width_m / 2 + tolerance_m)
    changed, source = _parts(_outside(known, roads))
    long = _length_together(changed) >= min_length_m
    changed, source = changed[long], source[long]
    # what is too short for a change belongs to what stayed
    gone = np.array(known, dtype=object)
    for row in np.unique(source):
        gone[row] = shapely.difference(known[row], shapely.union_all(changed[source == row]))
    stayed, stayed_source = _parts(gone)
    return RoadPieces(
        shapes=np.concatenate([changed, stayed]),
        source=np.concatenate([source, stayed_source]),
        changed=np.repeat([True, False], [len(changed), len(stayed)]),
        unknown_m=unknown_m,
    )


def _outside(lines: NDArray[np.object_], areas: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return lines without what lies in areas; each meets only its neighbors."""
    kept = lines.copy()
    index, near = shapely.STRtree(areas).query(lines, predicate="intersects")
    order = np.argsort(index, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(index[order])) + 1) if len(order) else []:
        row = index[members[0]]
        kept[row] = shapely.difference(lines[row], shapely.union_all(areas[near[members]]))
    return kept


def _parts(lines: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    merged = [shapely.line_merge(line) if line.geom_type == "MultiLineString" else line for line in lines]
    parts, source = shapely.get_parts(np.array([*merged, None], dtype=object)[:-1], return_index=True)
    there = shapely.length(parts) > 0
    return parts[there], source[there]


def _length_together(pieces: NDArray[np.object_]) -> NDArray[np.float64]:
    """Return for each piece the length of all that hang together with it."""
    if len(pieces) == 0:
        return np.zeros(0)
    one, other = shapely.STRtree(pieces).query(pieces, predicate="dwithin", distance=_TOUCH_M)
    graph = sparse.coo_array((np.ones(len(one), bool), (one, other)), shape=(len(pieces),) * 2)
    _, group = connected_components(graph, directed=False)
    return np.asarray(np.bincount(group, shapely.length(pieces))[group])
