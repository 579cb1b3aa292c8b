"""Random points within each class of a map, to be looked at by a person (Olofsson et al. 2014, section 4)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.errors import UsageError
from geoseg.pixels.classes import NODATA_CLASS
from geoseg.tiling import partition

_BLOCK_PX = 1024
"""Part of what a seed means: points are drawn block by block."""

Reader = Callable[[Window], NDArray[Any]]
"""Returns the pixels (H, W) of a window inside a raster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleOptions:
    """How many points, and where."""

    points: int = 500
    """In all."""
    allocation: Literal["proportional", "equal", "optimal"] = "proportional"
    """By area; the same number for each class; or by area and expected accuracy (Neyman), which makes the overall accuracy most precise."""
    minimum: int = 50
    """Points that each class gets at least, so that rare ones are known too."""
    seed: int = 0
    """Of the draw."""


def count_values(read: Reader, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Count the pixels of each value of a class map by windows, (256,)."""
    counts = np.zeros(256, np.int64)
    for window in partition(shape, _BLOCK_PX):
        counts += np.bincount(read(window).ravel(), minlength=256)
    return counts


def allocate(sizes: NDArray[np.int64], options: SampleOptions, expected: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
    """Share points among classes.

    Args:
        sizes: (K,) pixels of each class.
        options: Number of points and rule.
        expected: (K,) user's accuracy that is expected of each class, for ``optimal``; None expects 0.8 everywhere.

    Returns:
        (K,) points of each class, ``options.points`` in all unless there are fewer pixels.

    Raises:
        UsageError: If the minimum asks for more points than there are.
    """
    there = sizes > 0
    least = np.minimum(np.where(there, options.minimum, 0), sizes)
    if options.points < least.sum():
        raise UsageError(
            f"{there.sum()} classes with at least {options.minimum} points each need {least.sum()}; {options.points} were asked for. "
            "Raise -n or lower --minimum."
        )
    chance = np.full(len(sizes), 0.8) if expected is None else expected
    weights = {"proportional": sizes, "equal": there, "optimal": sizes * np.sqrt(chance * (1 - chance))}[options.allocation].astype(float)
    return _share(options.points, weights, least, sizes)


def _share(points: int, weights: NDArray[np.float64], least: NDArray[np.int64], most: NDArray[np.int64]) -> NDArray[np.int64]:
    """Share by weight between bounds: what a bound gives or takes is shared among the others."""
    shares = np.zeros(len(weights))
    free = most > 0
    low, high = least.astype(float), most.astype(float)
    while free.any():
        total = weights[free].sum()
        part = weights / total if total > 0 else free / free.sum()
        shares[free] = (max(points - shares[~free].sum(), 0) * part)[free]
        under, over = free & (shares < low), free & (shares > high)
        if not (under.any() or over.any()):
            break
        # the bounds that bind more go first, or those of the other side would be met by too much
        bound = under if (low - shares)[under].sum() >= (shares - high)[over].sum() else over
        shares[bound] = (low if bound is under else high)[bound]
        free &= ~bound
    whole = np.clip(np.floor(shares + 1e-9).astype(np.int64), least, most)
    for index in np.argsort(-(shares - whole), kind="stable"):
        if whole.sum() < min(points, most.sum()) and whole[index] < most[index]:
            whole[index] += 1
    return whole


def draw_points(
    read: Reader, shape: tuple[int, int], sizes: dict[int, int], wanted: dict[int, int], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Draw pixels of each class at random, each with the same chance, without repetition.

    Args:
        read: The class map.
        shape: Its rows and columns.
        sizes: Pixels by class value.
        wanted: Points by class value.
        seed: Same seed, same points.

    Returns:
        Rows, columns and class values, each (n,), in random order, so that the order tells nothing about the class.
    """
    rng = np.random.default_rng(seed)
    ranks = {value: np.sort(rng.choice(sizes[value], count, replace=False, shuffle=False)) for value, count in wanted.items() if count}
    passed = dict.fromkeys(ranks, 0)
    rows, cols, values = [], [], []
    for window in partition(shape, _BLOCK_PX):
        block = read(window)
        counts = np.bincount(block.ravel(), minlength=NODATA_CLASS + 1)
        for value, chosen in ranks.items():
            begin, end = np.searchsorted(chosen, [passed[value], passed[value] + counts[value]])
            if end > begin:
                place = np.flatnonzero(block == value)[chosen[begin:end] - passed[value]]
                rows.append(place // block.shape[1] + window.row_off)
                cols.append(place % block.shape[1] + window.col_off)
                values.append(np.full(end - begin, value, np.uint8))
            passed[value] += int(counts[value])
    order = rng.permutation(sum(map(len, rows)))
    return np.concatenate(rows)[order], np.concatenate(cols)[order], np.concatenate(values)[order]


def read_at(read: Reader, rows: NDArray[np.int64], cols: NDArray[np.int64], shape: tuple[int, int], outside: int) -> NDArray[Any]:
    """Return the values of a raster at pixels, reading each block that holds one once.

    Args:
        read: The raster.
        rows: (n,)
        cols: (n,)
        shape: Rows and columns of the raster.
        outside: Value of pixels that lie beyond it.
    """
    values = np.full(len(rows), outside)
    inside = np.flatnonzero((rows >= 0) & (rows < shape[0]) & (cols >= 0) & (cols < shape[1]))
    across = -(-shape[1] // _BLOCK_PX)
    block = rows[inside] // _BLOCK_PX * across + cols[inside] // _BLOCK_PX
    if not len(inside):
        return values
    order = np.argsort(block, kind="stable")
    numbers, starts = np.unique(block[order], return_index=True)
    for number, own in zip(numbers, np.split(order, starts[1:]), strict=True):
        top, left = (int(n) * _BLOCK_PX for n in divmod(int(number), across))
        window = Window(left, top, min(_BLOCK_PX, shape[1] - left), min(_BLOCK_PX, shape[0] - top))
        here = inside[own]
        values[here] = read(window)[rows[here] - top, cols[here] - left]
    return values
