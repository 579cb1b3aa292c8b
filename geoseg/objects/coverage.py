"""Coverages: do polygons share their borders point by point, and nowhere overlap?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import STRtree

_MOST_SEGMENTS = 1_000_000
"""Segments whose partners are looked for at the same time; more take several passes."""
_BATCH_SEGMENTS = 250_000
"""Segments that are taken out of polygons, or laid into an index, at the same time."""
_FACTORS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
"""Odd numbers that spread the bits of coordinates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segments:
    """Directed pieces of borders, the polygon at their left."""

    ends: NDArray[np.float64]
    """(N, 4): x and y of the lesser end, x and y of the greater one."""
    forward: NDArray[np.bool_]
    """(N,): whether it leads from the lesser end to the greater one."""
    owner: NDArray[np.int64]
    """(N,): index of the polygon."""

    def __len__(self) -> int:
        """Return their number."""
        return len(self.owner)

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64] | slice) -> "_Segments":
        """Return some of them."""
        return _Segments(ends=self.ends[which], forward=self.forward[which], owner=self.owner[which])

    def lines(self) -> NDArray[np.object_]:
        """Return each of them as a line."""
        lines: NDArray[np.object_] = shapely.linestrings(self.ends.reshape(-1, 2, 2))
        return lines


def find_misfits(shapes: NDArray[np.object_]) -> NDArray[np.int64]:
    """Return polygons that keep others from making a coverage with them; none if, and only if, all of them make one.

    A segment of a border that has exactly one partner, the same two ends in the opposite direction, lies between two neighbors. What is
    left is the outer border, that of holes in the coverage, and of whatever is wrong. The number of polygons over a point changes only
    where a segment without a partner is crossed, so only these are compared with each other: time grows with the number of points, n log n.
    The verdict is that of ``shapely.coverage_is_valid``, except that GEOS 3.14 takes a chord across a corner of a hole for an overlap.
    Memory beside the polygons does not grow with them, except for segments without a partner: half a kilobyte for each.

    Args:
        shapes: (N,) polygons, each of them valid; what is none is left out.

    Returns:
        Indices of polygons that touch another along a border, or at a point, that is not one of both, ascending; if there are none, of
        those that overlap another.
    """
    alone, misfits = _find_alone(shapes)
    misfits = np.union1d(misfits, _find_meetings(alone))
    return misfits if len(misfits) else _find_doubled(alone)


def _find_alone(shapes: NDArray[np.object_]) -> tuple[_Segments, NDArray[np.int64]]:
    """Return the segments without any other of the same ends, and the polygons of those that have other than one partner."""
    passes = max(1, -(-int(shapely.get_num_coordinates(shapes).sum()) // _MOST_SEGMENTS))
    alone, misfits = [], []
    for number in range(passes):
        batches = list(_each_batch(shapes, passes, number))
        keys = np.concatenate([key for key, _ in batches])
        segments = _join([some for _, some in batches])
        batches.clear()
        segments = segments.take(_order(keys, segments.ends))
        first = np.flatnonzero(np.r_[True, (segments.ends[1:] != segments.ends[:-1]).any(axis=1)][: len(segments)])
        count = np.diff(np.r_[first, len(segments)])
        pair = first[count == 2]
        parted = (segments.forward[pair] != segments.forward[pair + 1]) & (segments.owner[pair] != segments.owner[pair + 1])
        wrong = np.r_[first[count > 2], pair[~parted]]
        alone.append(segments.take(first[count == 1]))
        misfits.append(segments.owner[np.isin(np.repeat(first, count), wrong)])
    return _join(alone), np.unique(np.concatenate(misfits))


def _order(keys: NDArray[np.uint64], ends: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return an order in which segments of the same ends follow each other."""
    order = np.argsort(keys)
    same = keys[order[1:]] == keys[order[:-1]]
    if (ends[order[1:][same]] != ends[order[:-1][same]]).any():
        # two segments that happen to have one key may lie among each other
        return np.lexsort(ends.T)
    return order


def _join(parts: list[_Segments]) -> _Segments:
    return _Segments(
        ends=np.concatenate([part.ends for part in parts]),
        forward=np.concatenate([part.forward for part in parts]),
        owner=np.concatenate([part.owner for part in parts]),
    )


def _each_batch(shapes: NDArray[np.object_], passes: int, number: int) -> Iterator[tuple[NDArray[np.uint64], _Segments]]:
    """Yield keys and segments of some polygons after the other: those that this pass looks at."""
    before = np.cumsum(shapely.get_num_coordinates(shapes)) // _BATCH_SEGMENTS
    starts = np.r_[0, np.flatnonzero(np.diff(before)) + 1]
    for start, stop in zip(starts, np.r_[starts[1:], len(shapes)], strict=True):
        segments = _cut(shapes[start:stop], int(start))
        keys = _hash(segments.ends)
        mine = keys % np.uint64(passes) == number
        yield keys[mine], segments.take(mine)


def _cut(shapes: NDArray[np.object_], first: int) -> _Segments:
    """Return all segments of polygons, the first of which has the index ``first``."""
    parts, part_of = shapely.get_parts(shapes, return_index=True)
    rings, ring_of = shapely.get_rings(parts, return_index=True)
    outer = np.diff(ring_of, prepend=-1) != 0
    turned = shapely.is_ccw(rings) != outer
    points, point_of = shapely.get_coordinates(rings, return_index=True)
    # there are two zeros
    points += 0.0
    start, end, ring = points[:-1], points[1:], point_of[:-1]
    within = (ring == point_of[1:]) & (start != end).any(axis=1)
    start, end, ring = start[within], end[within], ring[within]
    ascending = (start[:, 0] < end[:, 0]) | ((start[:, 0] == end[:, 0]) & (start[:, 1] < end[:, 1]))
    ends = np.hstack((np.where(ascending[:, None], start, end), np.where(ascending[:, None], end, start)))
    return _Segments(ends=ends, forward=ascending != turned[ring], owner=part_of[ring_of[ring]].astype(np.int64) + first)


def _hash(ends: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return a number for each segment, the same for the same ends."""
    bits = np.ascontiguousarray(ends).view(np.uint64)
    keys = np.zeros(len(bits), np.uint64)
    for column, factor in enumerate(_FACTORS):
        keys = (keys ^ bits[:, column]) * np.uint64(factor)
        keys ^= keys >> np.uint64(29)
    return keys


def _find_meetings(alone: _Segments) -> NDArray[np.int64]:
    """Return the polygons of segments that meet segments of another polygon elsewhere than at an end of both."""
    found = [np.empty(0, np.int64)]
    alone = alone.take(np.argsort(alone.ends[:, 0]))
    for start in range(0, len(alone), _BATCH_SEGMENTS):
        some = alone.take(slice(start, start + _BATCH_SEGMENTS))
        lines = some.lines()
        tree = STRtree(lines)
        # later ones begin further to the right
        end = int(np.searchsorted(alone.ends[:, 0], some.ends[:, 2].max(), "right"))
        for other in range(start, end, _BATCH_SEGMENTS):
            found.append(_find_meeting(some, lines, tree, alone.take(slice(other, other + _BATCH_SEGMENTS))))
    return np.unique(np.concatenate(found))


def _find_meeting(some: _Segments, lines: NDArray[np.object_], tree: STRtree, others: _Segments) -> NDArray[np.int64]:
    other_lines = others.lines()
    theirs, mine = tree.query(other_lines, predicate="intersects")
    # rings of one polygon may touch each other anywhere
    foreign = some.owner[mine] != others.owner[theirs]
    theirs, mine = theirs[foreign], mine[foreign]
    a, b = some.ends[mine].reshape(-1, 2, 1, 2), others.ends[theirs].reshape(-1, 1, 2, 2)
    meets = ~(a == b).all(axis=3).any(axis=(1, 2))
    # two that share an end have more in common only if one lies on the other
    at_end = np.flatnonzero(~meets)
    one, two = lines[mine[at_end]], other_lines[theirs[at_end]]
    meets[at_end] = shapely.covers(one, two) | shapely.covers(two, one)
    both: NDArray[np.int64] = np.r_[some.owner[mine[meets]], others.owner[theirs[meets]]]
    return both


def _find_doubled(alone: _Segments) -> NDArray[np.int64]:
    """Return the polygons at the borders of places that several polygons cover, or that are covered without any.

    The segments, which meet at their ends only, part the plane into faces. Crossing one from the right to the left, one polygon more
    covers the face. If all segments around each face have it on the same side, and have the outer face on their right, then covered and
    free faces take turns.
    """
    faces = shapely.get_parts(shapely.polygonize(alone.lines()))
    sides = _cut(faces, 0)
    segment = _find_rows(alone.ends, sides.ends)
    left = sides.forward == alone.forward[segment]
    covering, around = np.bincount(sides.owner, left, len(faces)), np.bincount(sides.owner, minlength=len(faces))
    mixed = (covering > 0) & (covering < around)
    faces_beside = np.bincount(segment, minlength=len(alone))
    wrong = mixed[sides.owner] | (faces_beside[segment] == 1) & ~left
    owners: NDArray[np.int64] = alone.owner[np.r_[segment[wrong], np.flatnonzero(faces_beside == 0)]]
    return np.unique(owners)


def _find_rows(table: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return where in a table, whose rows differ, each of some of its rows stands."""
    both = np.concatenate((table, rows))
    order = np.lexsort((np.arange(len(both)), *both.T))
    from_table = order < len(table)
    where = np.empty(len(both), np.int64)
    where[order] = order[from_table][np.cumsum(from_table) - 1]
    return where[len(table) :]
