"""Found centrelines against reference lines: how much of one lies near the other.

Completeness, correctness and quality after Wiedemann et al. 1998 ("Empirical evaluation of automatically extracted road
axes") and Heipke et al. 1997.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.evaluation.semantic import ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadMatches:
    """Lengths in metres; those of several rasters add up."""

    reference_m: float
    """Length of the reference."""
    reference_matched_m: float
    """Of it, what lies within the buffer of a found line."""
    found_m: float
    """Length that was found."""
    found_matched_m: float
    """Of it, what lies within the buffer of a reference line."""

    def __add__(self, other: "RoadMatches") -> "RoadMatches":
        """Pool the roads of two rasters."""
        return RoadMatches(
            reference_m=self.reference_m + other.reference_m,
            reference_matched_m=self.reference_matched_m + other.reference_matched_m,
            found_m=self.found_m + other.found_m,
            found_matched_m=self.found_matched_m + other.found_matched_m,
        )

    @property
    def completeness(self) -> float:
        """Share of the reference that was found; NaN without reference."""
        return ratio(self.reference_matched_m, self.reference_m)

    @property
    def correctness(self) -> float:
        """Share of the found length that is right; 0 where nothing was found of something, NaN where there is nothing."""
        if self.found_m == 0:
            return 0.0 if self.reference_m else float("nan")
        return self.found_matched_m / self.found_m

    @property
    def quality(self) -> float:
        """Right length over everything found or missed, as an intersection over union of lines."""
        missed = self.reference_m - self.reference_matched_m
        return ratio(self.found_matched_m, self.found_m + missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of completeness and correctness."""
        return ratio(2 * self.completeness * self.correctness, self.completeness + self.correctness)


def match_roads(found: Sequence[shapely.Geometry], reference: Sequence[shapely.Geometry], buffer_m: float) -> RoadMatches:
    """Measure what of two sets of lines lies near the other.

    Args:
        found: Lines in a CRS whose unit is the metre.
        reference: Lines in the same CRS.
        buffer_m: Distance up to which a line counts as the same road.
    """
    one, other = np.asarray(found, dtype=object), np.asarray(reference, dtype=object)
    return RoadMatches(
        reference_m=float(shapely.length(other).sum()),
        reference_matched_m=_length_near(other, one, buffer_m),
        found_m=float(shapely.length(one).sum()),
        found_matched_m=_length_near(one, other, buffer_m),
    )


def _length_near(lines: NDArray[np.object_], others: NDArray[np.object_], buffer_m: float) -> float:
    """Return the length of lines within a distance of others; each line meets only its neighbors, so it scales."""
    if len(lines) == 0 or len(others) == 0:
        return 0.0
    index, near = shapely.STRtree(others).query(lines, predicate="dwithin", distance=buffer_m)
    order = np.argsort(index, kind="stable")
    index, near = index[order], near[order]
    zones = shapely.buffer(others, buffer_m, quad_segs=16)
    total = 0.0
    for members in np.split(np.arange(len(index)), np.flatnonzero(np.diff(index)) + 1):
        if len(members):
            total += shapely.intersection(lines[index[members[0]]], shapely.union_all(zones[near[members]])).length
    return total
