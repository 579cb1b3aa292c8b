"""Buildings of two dates, matched by overlap: new, gone, grown, shrunk or the same."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

_OVERLAP = 0.3
"""Of the smaller building; less is a wall that lies beside its place."""
_BORNE_OUT = 0.5
"""Of what is said to be built or gone; less, and the class maps say otherwise."""
_CERTAIN = 0.85
"""Change of the probability of building beyond which it may be as small as it likes; no false report of the drawn towns reaches it."""
_LEFT = 0.2
"""Of a building without a match; what is less beyond the tolerance around others belongs to one of them."""


class BuildingStatus(StrEnum):
    """What became of a building."""

    NEW = "new"
    GONE = "gone"
    GROWN = "grown"
    SHRUNK = "shrunk"
    SAME = "same"
    UNSURE = "unsure"
    """The outlines say a change, and the evidence of the models does not bear it out."""
    UNKNOWN = "unknown"
    """One of the dates has no data here."""


_CHANGES = (BuildingStatus.NEW, BuildingStatus.GONE, BuildingStatus.GROWN, BuildingStatus.SHRUNK)


class Relation(StrEnum):
    """How many buildings stand for one another."""

    NONE = "none"
    ONE = "one_to_one"
    SPLIT = "split"
    MERGED = "merged"
    REGROUPED = "regrouped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprints:
    """The buildings of one date."""

    shapes: NDArray[np.object_]
    """(n,) valid polygons, in metres on a plane."""
    known: NDArray[np.bool_]
    """(n,) whether the other date has data all around."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lenience:
    """What is no change of a building."""

    tolerance_m: float
    """Walls may lie so far apart."""
    min_area_m2: float
    """Least area by which a building grows or shrinks."""
    min_growth: float
    """The same as a share of its area before."""
    min_evidence: float = 0.0
    """Least change of the probability of building on the ground that changed; 0 takes every change, whatever the evidence says."""
    min_sure_m2: float = 0.0
    """Least such ground times that change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Buildings that stand for one another; one of the sides may be empty."""

    before: tuple[int, ...]
    """Positions among the buildings before."""
    after: tuple[int, ...]
    """Positions among the buildings after."""
    status: BuildingStatus
    """What became of them."""
    shapes: tuple[shapely.Geometry | None, shapely.Geometry | None]
    """Their union before and after."""
    iou: float = 0.0
    """Intersection over union of the unions."""
    grown_m2: float = 0.0
    """Ground that is built up since, farther from the walls before than the tolerance."""
    lost_m2: float = 0.0
    """Ground that no longer is."""
    evidence: tuple[float, float] = (math.nan, math.nan)
    """Mean probability of building before and after on the ground that changed; no numbers where it was not looked at."""

    @property
    def relation(self) -> Relation:
        """How many stand for one another."""
        if not self.before or not self.after:
            return Relation.NONE
        if len(self.before) == 1:
            return Relation.ONE if len(self.after) == 1 else Relation.SPLIT
        return Relation.MERGED if len(self.after) == 1 else Relation.REGROUPED


def match_buildings(before: Footprints, after: Footprints, lenience: Lenience) -> list[Match]:
    """Match the buildings of two dates and say what became of each.

    Two stand for one another if they share 30 % of the smaller one. Groups that hang together are judged as one: by what of the union after
    lies farther from the union before than the tolerance, and the other way round. So a house that was drawn as two is no change.

    Returns:
        Groups in the order of their first building before; new ones follow in their own order.
    """
    groups = _group(before, after, lenience.tolerance_m)
    return [_judge(group, before, after, lenience) for group in groups]


def confirm(matches: Sequence[Match], built_m2: NDArray[np.float64], cleared_m2: NDArray[np.float64]) -> list[Match]:
    """Let the class maps confirm what became of buildings: what they do not bear out to at least a half is the same.

    Which pixels are one building is a harder question than which are building at all. What a model took for one building at one date,
    and for none at the other, has not been pulled down as long as the class covers its ground.

    Args:
        matches: As :func:`match_buildings` returns them.
        built_m2: (n,) ground in the footprint after that became building, by the class maps.
        cleared_m2: (n,) ground in the footprint before that was building and no longer is.
    """
    confirmed = []
    for match, built, cleared in zip(matches, built_m2, cleared_m2, strict=True):
        says = {BuildingStatus.NEW: (match.grown_m2, built), BuildingStatus.GROWN: (match.grown_m2, built)}
        says |= {BuildingStatus.GONE: (match.lost_m2, cleared), BuildingStatus.SHRUNK: (match.lost_m2, cleared)}
        claimed, borne_out = says.get(match.status, (0.0, 0.0))
        confirmed.append(match if borne_out >= _BORNE_OUT * claimed else replace(match, status=BuildingStatus.SAME))
    return confirmed


def changed_ground(match: Match, tolerance_m: float) -> shapely.Geometry | None:
    """Return what is said to be built up or cleared, farther from the walls of the other date than the tolerance; None if nothing is."""
    one, other = match.shapes
    own, beside = (other, one) if match.status in (BuildingStatus.NEW, BuildingStatus.GROWN) else (one, other)
    if match.status not in _CHANGES or own is None:
        return None
    return own if beside is None else own.difference(shapely.buffer(beside, tolerance_m))


def weigh(matches: Sequence[Match], evidence: NDArray[np.float64], areas_m2: NDArray[np.float64], lenience: Lenience) -> list[Match]:
    """Let the evidence of both dates decide which changes count: both have to be sure, the surer the smaller the ground.

    A model that takes a roof for building with 60 % at one date and with 40 % at the other draws it once. That is no change.

    Args:
        matches: As :func:`confirm` returns them.
        evidence: (n, 2) mean probability of building before and after on the ground that changed; NaN is no evidence.
        areas_m2: (n,) that ground.
        lenience: How sure they have to be.
    """
    weighed = []
    for match, (before, after), area in zip(matches, evidence.tolist(), areas_m2.tolist(), strict=True):
        if match.status not in _CHANGES:
            weighed.append(match)
            continue
        rise = np.nan_to_num(after - before) * (1 if match.status in (BuildingStatus.NEW, BuildingStatus.GROWN) else -1)
        is_large = rise * area >= lenience.min_sure_m2 or rise >= _CERTAIN
        is_sure = not lenience.min_evidence or (rise >= lenience.min_evidence and is_large)
        weighed.append(replace(match, status=match.status if is_sure else BuildingStatus.UNSURE, evidence=(before, after)))
    return weighed


def _group(before: Footprints, after: Footprints, tolerance_m: float) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    one, other = _overlaps(before.shapes, after.shapes)
    first = np.setdiff1d(np.arange(len(before.shapes)), one)
    second = np.setdiff1d(np.arange(len(after.shapes)), other)
    near_one = _neighbors(before.shapes, first, after.shapes, tolerance_m)
    near_other = _neighbors(after.shapes, second, before.shapes, tolerance_m)
    rows = np.concatenate([one, near_one[0], near_other[1]])
    cols = np.concatenate([other, near_one[1], near_other[0]])
    count, total = len(before.shapes), len(before.shapes) + len(after.shapes)
    graph = sparse.coo_array((np.ones(len(rows), bool), (rows, cols + count)), shape=(total, total))
    _, group = connected_components(graph, directed=False)
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if total else []
    for them in sorted(members, key=lambda them: int(them[0])):
        yield them[them < count], them[them >= count] - count


def _overlaps(before: NDArray[np.object_], after: NDArray[np.object_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    one, other = shapely.STRtree(after).query(before, predicate="intersects")
    common = shapely.area(shapely.intersection(before[one], after[other]))
    matched = common >= _OVERLAP * np.minimum(shapely.area(before)[one], shapely.area(after)[other])
    return one[matched], other[matched]


def _neighbors(
    shapes: NDArray[np.object_], single: NDArray[np.int64], others: NDArray[np.object_], tolerance_m: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return thin buildings without a match and the neighbor that explains most of each: nearly all of it lies within the tolerance."""
    index, near = shapely.STRtree(others).query(shapes[single], predicate="dwithin", distance=tolerance_m)
    thin, chosen = [], []
    order = np.argsort(index, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(index[order])) + 1) if len(order) else []:
        shape = shapes[single[index[members[0]]]]
        around = shapely.buffer(others[near[members]], tolerance_m)
        if shape.difference(shapely.union_all(around)).area < _LEFT * shape.area:
            thin.append(single[index[members[0]]])
            chosen.append(near[members[np.argmax(shapely.area(shapely.intersection(shape, around)))]])
    return np.array(thin, np.int64), np.array(chosen, np.int64)


def _judge(group: tuple[NDArray[np.int64], NDArray[np.int64]], before: Footprints, after: Footprints, lenience: Lenience) -> Match:
    one, other = (_unite(side.shapes[rows]) for side, rows in zip((before, after), group, strict=True))
    members = tuple(group[0].tolist()), tuple(group[1].tolist())
    known = all(side.known[rows].all() for side, rows in zip((before, after), group, strict=True))
    if one is None or other is None:
        status = BuildingStatus.NEW if one is None else BuildingStatus.GONE
        return Match(
            before=members[0],
            after=members[1],
            shapes=(one, other),
            status=status if known else BuildingStatus.UNKNOWN,
            grown_m2=0.0 if other is None else other.area,
            lost_m2=0.0 if one is None else one.area,
        )
    grown, lost = (a.difference(shapely.buffer(b, lenience.tolerance_m)).area for a, b in ((other, one), (one, other)))
    common = one.intersection(other).area
    least = max(lenience.min_area_m2, lenience.min_growth * one.area)
    status = BuildingStatus.SAME
    if max(grown, lost) > least:
        status = BuildingStatus.GROWN if grown >= lost else BuildingStatus.SHRUNK
    return Match(
        before=members[0],
        after=members[1],
        shapes=(one, other),
        status=status if known else BuildingStatus.UNKNOWN,
        iou=common / (one.area + other.area - common),
        grown_m2=grown,
        lost_m2=lost,
    )


def _unite(shapes: NDArray[np.object_]) -> shapely.Geometry | None:
    if len(shapes) == 0:
        return None
    return shapes[0] if len(shapes) == 1 else shapely.union_all(shapes)
