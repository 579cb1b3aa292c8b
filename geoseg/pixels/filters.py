"""Filters of class maps that look at a square around each pixel. Sums are of integers, so that results do not depend on windows."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter1d

from geoseg.pixels.classes import NODATA_CLASS

_TRUNCATE = 3.0
"""Standard deviations at which the Gaussian ends."""


def take_majority(classes: NDArray[np.uint8], values: Sequence[int], radius_px: int) -> NDArray[np.uint8]:
    """Give each pixel the most frequent class of the square around it.

    Args:
        classes: (H, W) class values; nodata neither votes nor changes.
        values: All class values.
        radius_px: Half the side of the square, whose side is ``2 radius_px + 1``.

    Returns:
        (H, W). Of equally frequent classes the pixel's own stays, else the lowest value wins.
    """
    taken, most = classes.copy(), np.zeros(classes.shape, np.int32)
    # twice the count, and one more for the pixel's own class
    for value in sorted(values):
        own = classes == value
        votes = 2 * _count_around(own, radius_px) + own
        better = votes > most
        taken[better], most[better] = value, votes[better]
    taken[classes == NODATA_CLASS] = NODATA_CLASS
    return taken


def open_class(classes: NDArray[np.uint8], values: Sequence[int], value: int, radius_px: int) -> NDArray[np.uint8]:
    """Take what is thinner than a square out of a class; it goes to the most frequent other class around.

    Args:
        classes: (H, W) class values.
        values: All class values.
        value: The class.
        radius_px: Half the side of the square.

    Returns:
        (H, W); pixels without another class around stay.
    """
    own, square = classes == value, _square(radius_px)
    # beyond the edge, and where there is no data, the class may go on
    may = own | (classes == NODATA_CLASS)
    thin = own & ~binary_dilation(binary_erosion(may, square, border_value=1), square)
    opened, most = classes.copy(), np.zeros(classes.shape, np.int32)
    for other in sorted(set(values) - {value}):
        votes = _count_around(classes == other, radius_px)
        better = thin & (votes > most)
        opened[better], most[better] = other, votes[better]
    return opened


def close_class(classes: NDArray[np.uint8], value: int, radius_px: int) -> NDArray[np.uint8]:
    """Fill what is narrower than a square between pixels of a class; nodata stays.

    Args:
        classes: (H, W) class values.
        value: The class.
        radius_px: Half the side of the square.
    """
    square = _square(radius_px)
    filled = binary_erosion(binary_dilation(classes == value, square), square, border_value=1)
    return np.where(filled & (classes != NODATA_CLASS), value, classes).astype(np.uint8)


def smooth_classes(probabilities: NDArray[np.uint8], values: Sequence[int], radius_px: float) -> NDArray[np.uint8]:
    """Average probabilities by a Gaussian, and take the best class.

    Args:
        probabilities: (K, H, W) in equal steps, NODATA_CLASS where there is no data, which does not count.
        values: (K,) class value of each.
        radius_px: Standard deviation; the Gaussian ends at three of them.

    Returns:
        (H, W); of equal ones the first class wins, nodata stays.
    """
    valid = probabilities[0] != NODATA_CLASS
    best, smoothed = np.full(valid.shape, -1.0), np.full(valid.shape, NODATA_CLASS, np.uint8)
    for value, layer in zip(values, probabilities, strict=True):
        # the weights of a pixel's neighbors with data are the same for all classes
        mean = np.where(valid, layer, 0).astype(np.float64)
        for axis in (0, 1):
            mean = gaussian_filter1d(mean, radius_px, axis=axis, mode="constant", truncate=_TRUNCATE)
        better = valid & (mean > best)
        smoothed[better], best[better] = value, mean[better]
    return smoothed


def reach_of_gaussian(radius_px: float) -> int:
    """Return how many pixels around one a Gaussian looks at."""
    return int(_TRUNCATE * radius_px + 0.5)


def _square(radius_px: int) -> NDArray[np.bool_]:
    return np.ones((2 * radius_px + 1, 2 * radius_px + 1), bool)


def _count_around(there: NDArray[np.bool_], radius_px: int) -> NDArray[np.int32]:
    """Count the pixels that are there in the square around each."""
    r, side = radius_px, 2 * radius_px + 1
    summed = np.pad(there.astype(np.int32), ((r + 1, r), (r + 1, r))).cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
    counts: NDArray[np.int32] = summed[side:, side:] - summed[:-side, side:] - summed[side:, :-side] + summed[:-side, :-side]
    return counts
