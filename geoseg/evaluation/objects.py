"""Found polygons against reference polygons: precision, recall and F1, average precision, panoptic quality.

Average precision as COCO defines it (Lin et al. 2014): matching by score, 101 recall levels, IoU 0.5 to 0.95. Panoptic
quality after Kirillov et al. 2019. What lies outside the labelled area is treated as COCO treats crowds: it is neither
missed nor wrong.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components

from geoseg.evaluation.semantic import ratio

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""IoU from which COCO calls an object found."""
_RECALLS = np.linspace(0, 1, 101)
_MISS, _HIT, _IGNORED = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Polygons:
    """Objects of one side, in one CRS."""

    shapes: NDArray[np.object_]
    """(n,) valid polygons."""
    counts: NDArray[np.bool_]
    """(n,) whether the object lies in the labelled area."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectMatches:
    """What matching leaves behind; those of several rasters add up."""

    references: int
    """Reference objects in the labelled area."""
    scores: NDArray[np.float64]
    """(n,) of the found objects."""
    outcomes: NDArray[np.uint8]
    """(10, n) 0 wrong, 1 right, 2 ignored, of each found object at each threshold; matched by score."""
    overlaps: NDArray[np.float64]
    """(m,) IoU of the pairs that were matched one to one at IoU 0.5."""
    found: int
    """Found objects that are in one of those pairs, or wrong."""

    def __add__(self, other: Self) -> "ObjectMatches":
        """Pool the objects of two rasters."""
        return ObjectMatches(
            references=self.references + other.references,
            scores=np.concatenate([self.scores, other.scores]),
            outcomes=np.concatenate([self.outcomes, other.outcomes], axis=1),
            overlaps=np.concatenate([self.overlaps, other.overlaps]),
            found=self.found + other.found,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectScores:
    """Scores of objects; NaN where there is nothing to score."""

    references: int
    """Reference objects."""
    found: int
    """Found objects."""
    matched: int
    """Pairs with an IoU of at least 0.5, one to one."""
    precision: float
    """Share of the found objects that are matched."""
    recall: float
    """Share of the reference objects that are matched."""
    f1: float
    """Harmonic mean of both; the recognition quality RQ is the same number."""
    sq: float
    """Segmentation quality: mean IoU of the pairs."""
    pq: float
    """Panoptic quality: SQ times RQ."""
    ap50: float
    """Average precision at IoU 0.5."""
    ap: float
    """Average precision, mean over IoU 0.5 to 0.95."""


def match_objects(found: Polygons, scores: NDArray[np.float64], reference: Polygons) -> ObjectMatches:
    """Match found objects with reference objects.

    Args:
        found: What was found.
        scores: (n,) confidence of each.
        reference: What is there.
    """
    pairs = _Pairs.between(found.shapes, reference.shapes)
    order = np.argsort(-scores, kind="stable")
    outcomes = np.stack([_match_by_score(pairs, order, found.counts, reference.counts, t) for t in THRESHOLDS])
    one, other, overlap = pairs.assign(THRESHOLDS[0])
    counted = reference.counts[other]
    unmatched = np.setdiff1d(np.flatnonzero(found.counts), one, assume_unique=True)
    return ObjectMatches(
        references=int(reference.counts.sum()),
        scores=np.asarray(scores, np.float64),
        outcomes=outcomes,
        overlaps=overlap[counted],
        found=int(counted.sum()) + len(unmatched),
    )


def score_objects(matches: ObjectMatches) -> ObjectScores:
    """Turn matches into scores."""
    matched = len(matches.overlaps)
    sq = ratio(float(matches.overlaps.sum()), matched)
    f1 = ratio(2 * matched, matches.found + matches.references)
    precisions = [average_precision(matches.scores, outcome, matches.references) for outcome in matches.outcomes]
    return ObjectScores(
        references=matches.references,
        found=matches.found,
        matched=matched,
        precision=ratio(matched, matches.found),
        recall=ratio(matched, matches.references),
        f1=f1,
        sq=sq,
        pq=f1 * sq if matched else f1,
        ap50=precisions[0],
        ap=float(np.mean(precisions)),
    )


def average_precision(scores: NDArray[np.float64], outcomes: NDArray[np.uint8], references: int) -> float:
    """Return the mean precision at 101 levels of recall, each the best one that is reached at that recall or above.

    Args:
        scores: (n,) confidence.
        outcomes: (n,) 0 wrong, 1 right, 2 ignored.
        references: Objects that there are; without any the result is NaN.
    """
    if references == 0:
        return float("nan")
    counted = outcomes != _IGNORED
    right = (outcomes[counted] == _HIT)[np.argsort(-scores[counted], kind="stable")]
    hits = np.cumsum(right)
    recall, precision = hits / references, hits / np.arange(1, len(hits) + 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)
    return float(envelope[np.searchsorted(recall, _RECALLS - 1e-12)].mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairs:
    """Found and reference objects that overlap, sorted by the found one."""

    one: NDArray[np.int64]
    other: NDArray[np.int64]
    iou: NDArray[np.float64]
    sizes: tuple[int, int]

    @classmethod
    def between(cls, found: NDArray[np.object_], reference: NDArray[np.object_]) -> "_Pairs":
        """Compare every found object with the reference objects that it touches."""
        one, other = shapely.STRtree(reference).query(found, predicate="intersects")
        common = shapely.area(shapely.intersection(found[one], reference[other]))
        iou = common / (shapely.area(found)[one] + shapely.area(reference)[other] - common)
        order = np.lexsort((other, one))
        return cls(one=one[order], other=other[order], iou=iou[order], sizes=(len(found), len(reference)))

    def of(self, index: int) -> slice:
        """Return where the pairs of a found object stand."""
        return slice(*np.searchsorted(self.one, [index, index + 1]))

    def assign(self, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Match one to one: as many pairs of at least the threshold as possible, of these the best overlaps.

        Returns:
            Found index, reference index and IoU, each (m,).
        """
        near = self.iou >= threshold
        one, other, iou = self.one[near], self.other[near], self.iou[near]
        _, group = connected_components(sparse.coo_array((iou, (one, other + self.sizes[0])), shape=(sum(self.sizes),) * 2), directed=False)
        chosen = []
        order = np.argsort(group[one], kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(group[one][order])) + 1):
            chosen.append(members if len(members) < 2 else members[_best(one[members], other[members], iou[members])])
        kept = np.concatenate(chosen) if len(order) else order
        return one[kept], other[kept], iou[kept]


def _best(one: NDArray[np.int64], other: NDArray[np.int64], iou: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the positions of the best one-to-one pairs of a group."""
    rows, row = np.unique(one, return_inverse=True)
    cols, col = np.unique(other, return_inverse=True)
    # a further pair outweighs any gain of overlap
    gain = np.zeros((len(rows), len(cols)))
    gain[row, col] = len(one) + iou
    position = np.full(gain.shape, -1)
    position[row, col] = np.arange(len(one))
    taken = position[linear_sum_assignment(gain, maximize=True)]
    return np.asarray(taken[taken >= 0])


def _match_by_score(
    pairs: _Pairs, order: NDArray[np.int64], counts: NDArray[np.bool_], wanted: NDArray[np.bool_], threshold: float
) -> NDArray[np.uint8]:
    """Let found objects choose in the order of their scores: the best free reference, one that counts before one that does not."""
    outcome = np.where(counts, _MISS, _IGNORED).astype(np.uint8)
    free = np.ones(len(wanted), bool)
    for index in order:
        where = pairs.of(int(index))
        other, iou = pairs.other[where], pairs.iou[where]
        usable = free[other] & (iou >= threshold)
        if not usable.any():
            continue
        best = other[usable][np.lexsort((iou[usable], wanted[other[usable]]))[-1]]
        free[best] = False
        outcome[index] = _HIT if wanted[best] else _IGNORED
    return outcome
