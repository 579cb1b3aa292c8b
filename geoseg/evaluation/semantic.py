"""How well a class map agrees with labels, from counts of pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def confusion_matrix(truth: NDArray[np.integer], found: NDArray[np.integer], size: int) -> NDArray[np.int64]:
    """Count pixels by true (row) and found (column) class.

    Args:
        truth: Any shape, 0..size-1; other values are left out.
        found: Same shape, 0..size-1 wherever the truth is.
        size: Number of classes.

    Returns:
        (size, size) counts.
    """
    known = truth < size
    pairs = truth[known].astype(np.int64) * size + found[known].astype(np.int64)
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


def iou_per_class(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return intersection over union of each class, (K,); NaN where a class is neither true nor found."""
    return score_classes(confusion).iou


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores:
    """What a confusion matrix tells. NaN where a number is not defined, for example the recall of a class that never occurs."""

    iou: NDArray[np.float64]
    """(K,) intersection over union."""
    precision: NDArray[np.float64]
    """(K,) share of the found pixels that are right: the user's accuracy of the pixels compared."""
    recall: NDArray[np.float64]
    """(K,) share of the true pixels that were found: the producer's accuracy of the pixels compared."""
    f1: NDArray[np.float64]
    """(K,) harmonic mean of precision and recall."""
    accuracy: float
    """Share of the pixels that are right."""
    kappa: float
    """Agreement beyond chance (Cohen 1960)."""

    @property
    def mean_iou(self) -> float:
        """Mean over the classes that are true or found somewhere."""
        return _mean(self.iou)

    @property
    def mean_f1(self) -> float:
        """Mean over the classes that are true or found somewhere."""
        return _mean(self.f1)


def score_classes(confusion: NDArray[np.int64]) -> ClassScores:
    """Turn a confusion matrix into scores.

    Args:
        confusion: (K, K) pixels by true (row) and found (column) class.
    """
    hits = np.diag(confusion).astype(np.float64)
    found, true = confusion.sum(axis=0), confusion.sum(axis=1)
    total = confusion.sum()
    accuracy = ratio(hits.sum(), total)
    chance = ratio(float(found.astype(np.float64) @ true), float(total) ** 2)
    return ClassScores(
        iou=_divide(hits, found + true - hits),
        precision=_divide(hits, found),
        recall=_divide(hits, true),
        f1=_divide(2 * hits, found + true),
        accuracy=accuracy,
        kappa=ratio(accuracy - chance, 1 - chance),
    )


def ratio(part: float, whole: float) -> float:
    """Return a quotient; NaN of nothing."""
    return float(part / whole) if whole else float("nan")


def _divide(part: NDArray[np.float64], whole: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0))


def _mean(scores: NDArray[np.float64]) -> float:
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")
