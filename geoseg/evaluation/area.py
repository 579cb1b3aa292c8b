"""Area and accuracy of a class map from a stratified sample.

After Olofsson et al. 2014, "Good practices for estimating area and assessing accuracy of land change".

Counting the pixels of a map gives biased areas, since maps err. A random sample of points, drawn within each mapped class and looked at
by a person, says how much and in which direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import LabelError

Z_95 = 1.959964
"""Standard errors in half a 95 % confidence interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """Numbers with their standard errors."""

    value: NDArray[np.float64]
    """(K,) estimates; NaN where the sample says nothing."""
    error: NDArray[np.float64]
    """(K,) standard errors."""

    @property
    def margin(self) -> NDArray[np.float64]:
        """(K,) half width of the 95 % confidence interval."""
        return Z_95 * self.error


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaEstimate:
    """What a stratified sample says about a map."""

    proportions: NDArray[np.float64]
    """(K, K) error matrix of area proportions, mapped class (row) by reference class (column); equation 4 of the paper."""
    overall: Estimates
    """(1,) overall accuracy; equations 1 and 5."""
    users: Estimates
    """(K,) user's accuracy: of what is mapped as a class, how much is; equations 2 and 6."""
    producers: Estimates
    """(K,) producer's accuracy: of what is a class, how much is mapped as such; equations 3 and 7."""
    area_m2: Estimates
    """(K,) area of each class; equations 9 to 11."""
    mapped_m2: NDArray[np.float64]
    """(K,) area that the map gives to each class."""


def least_points(pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many points (K,) classes of so many pixels (K,) need: two for a variance, but of a single pixel one says all."""
    return np.minimum(pixels, 2)


def estimate_area(
    counts: NDArray[np.int64], mapped_m2: NDArray[np.float64], *, names: Sequence[str] = (), pixels: NDArray[np.int64] | None = None
) -> AreaEstimate:
    """Estimate accuracies and areas.

    Args:
        counts: (K, K) sample points by mapped class (row) and reference class (column).
        mapped_m2: (K,) area of each mapped class, the strata. A class that is only in the reference has none.
        names: K names, for messages; without them classes are told by position.
        pixels: (K,) pixels of each mapped class; None means many.

    Raises:
        LabelError: If a mapped class has fewer than two points, so that its variance is unknown, and not all of its pixels.
    """
    sampled = counts.sum(axis=1)
    least = least_points(np.full(len(counts), 2) if pixels is None else pixels)
    called = names or [f"position {i}" for i in range(len(counts))]
    short = [f"{called[int(i)]} ({sampled[i]})" for i in np.flatnonzero((mapped_m2 > 0) & (sampled < least))]
    if short:
        raise LabelError(
            f"Every mapped class needs at least 2 interpreted points; too few have {', '.join(short)}. "
            "Interpret more points, or draw again with --minimum."
        )
    weights = mapped_m2 / mapped_m2.sum()
    shares = counts / np.maximum(sampled, 1)[:, None]
    proportions = weights[:, None] * shares
    # variance of a share within its stratum
    variances = shares * (1 - shares) / np.maximum(sampled - 1, 1)[:, None]
    users, own = np.diag(shares), np.diag(variances)
    return AreaEstimate(
        proportions=proportions,
        overall=Estimates(value=np.array([np.trace(proportions)]), error=np.sqrt([weights**2 @ own])),
        users=Estimates(value=np.where(sampled > 0, users, np.nan), error=np.where(sampled > 0, np.sqrt(own), np.nan)),
        producers=_producers(proportions, variances, mapped_m2),
        area_m2=Estimates(value=proportions.sum(axis=0) * mapped_m2.sum(), error=np.sqrt(mapped_m2**2 @ variances)),
        mapped_m2=mapped_m2,
    )


def _producers(proportions: NDArray[np.float64], variances: NDArray[np.float64], mapped_m2: NDArray[np.float64]) -> Estimates:
    true = proportions.sum(axis=0)
    nothing = np.full(len(true), np.nan)
    value = np.divide(np.diag(proportions), true, out=nothing.copy(), where=true > 0)
    own = mapped_m2**2 * (1 - value) ** 2 * np.diag(variances)
    others = value**2 * (mapped_m2**2 @ (variances * (1 - np.eye(len(true)))))
    size = true * mapped_m2.sum()
    return Estimates(value=value, error=np.sqrt(np.divide(own + others, size**2, out=nothing, where=true > 0)))
