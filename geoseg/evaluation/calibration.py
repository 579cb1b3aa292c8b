"""Whether a confidence of 80 % is right in 80 % of the pixels (Guo et al. 2017, "On calibration of modern neural networks")."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PERCENTS = 101
"""Confidences are whole percents, 0..100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A reliability diagram and its one number."""

    edges: NDArray[np.float64]
    """(B + 1,) confidence where bins begin and end."""
    pixels: NDArray[np.int64]
    """(B,) pixels of each bin."""
    confidence: NDArray[np.float64]
    """(B,) mean confidence; NaN in empty bins."""
    accuracy: NDArray[np.float64]
    """(B,) share of the pixels that are right; NaN in empty bins."""

    @property
    def ece(self) -> float:
        """Expected calibration error: mean gap between confidence and accuracy, weighted by pixels; NaN of nothing."""
        total = self.pixels.sum()
        if total == 0:
            return float("nan")
        return float(np.nansum(self.pixels * np.abs(self.confidence - self.accuracy)) / total)


def count_confidence(confidence: NDArray[np.uint8], right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count pixels, and right ones, by confidence.

    Args:
        confidence: (n,) percents; above 100 is left out.
        right: (n,) whether the class is the true one.

    Returns:
        (101, 2) pixels and right pixels.
    """
    known = confidence < PERCENTS
    pixels = np.bincount(confidence[known], minlength=PERCENTS)
    hits = np.bincount(confidence[known & right], minlength=PERCENTS)
    return np.stack([pixels, hits], axis=1)


def calibrate(counts: NDArray[np.int64], bins: int = 10) -> Calibration:
    """Turn counts by percent into bins of equal width; a bin holds its lower edge, the last one both.

    Args:
        counts: (101, 2) pixels and right pixels.
        bins: Number of bins, a divisor of 100.
    """
    index = np.minimum(np.arange(PERCENTS) * bins // (PERCENTS - 1), bins - 1)
    pixels, hits = (np.bincount(index, weights=counts[:, i], minlength=bins) for i in (0, 1))
    percent = np.bincount(index, weights=counts[:, 0] * np.arange(PERCENTS), minlength=bins)
    nothing = np.full(bins, np.nan)
    return Calibration(
        edges=np.linspace(0, 1, bins + 1),
        pixels=pixels.astype(np.int64),
        confidence=np.divide(percent / 100, pixels, out=nothing.copy(), where=pixels > 0),
        accuracy=np.divide(hits, pixels, out=nothing.copy(), where=pixels > 0),
    )
