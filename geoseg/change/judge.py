"""Which differences between two class maps are changes, and which come of borders that lie beside each other."""

import numpy as np
from numpy.typing import NDArray

from geoseg.change.classes import code_transitions
from geoseg.pixels.classes import NODATA_CLASS

_BITS = 16
"""Kinds of change that are looked at together."""


def reach_of(tolerance_m: float, pixel_m: tuple[float, float]) -> NDArray[np.int64]:
    """Return how many pixels to either side lie within a tolerance, for each row above and below.

    Args:
        tolerance_m: On the ground.
        pixel_m: Width and height of a pixel.

    Returns:
        (r + 1,) columns to either side, in the row itself, the next one, and so on.
    """
    width, height = pixel_m
    # a hair, so that a tolerance of two pixels reaches the second one
    rows = np.arange(int(tolerance_m / height + 1e-6) + 1)
    across = np.sqrt(np.maximum(tolerance_m**2 - (rows * height) ** 2, 0))
    return np.asarray(across / width + 1e-6, np.int64)


def judge_differences(before: NDArray[np.uint8], after: NDArray[np.uint8], reach: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Tell changes from differences that a shift of borders within the tolerance explains.

    A difference is explained where the class after lies within reach before, and the class before within reach after. That holds for all of
    a strip that is no wider than the tolerance, and for none of something new or gone. Of a wider strip along something that stayed, the
    explained part belongs to the change beside it and is taken back.

    Args:
        before: (H, W) common class values, NODATA_CLASS where there are none.
        after: (H, W) the same of the other date.
        reach: As :func:`reach_of` returns it. Pixels nearer to the edge than twice that are only right if the edge is that of the raster.

    Returns:
        (H, W) codes as of :func:`geoseg.change.classes.code_transitions`; where there is no change the class of before stays.
    """
    codes = code_transitions(before, after)
    stayed = np.where(codes == NODATA_CLASS, np.uint8(NODATA_CLASS), code_transitions(before, before))
    differs = codes != stayed
    if not differs.any():
        return stayed
    own_before, own_after = _bits(before), _bits(after)
    explained = (own_after & spread(own_before, reach) != 0) & (own_before & spread(own_after, reach) != 0)
    changed = differs & ~explained
    _take_back(changed, codes, differs & explained, reach)
    return np.where(changed, codes, stayed)


def _bits(classes: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return a bit for each class; all of them where nothing is known, as any class may be there."""
    table = np.full(256, 0xFFFF, np.uint16)
    table[:16] = 1 << np.arange(16)
    return np.asarray(table[classes])


def spread(bits: NDArray[np.uint16], reach: NDArray[np.int64], beyond: int = 0xFFFF) -> NDArray[np.uint16]:
    """Return the bits of all pixels within reach of each pixel; beyond the edge all are set, or those that are given."""
    rows, cols = len(reach) - 1, int(reach[0])
    run = np.pad(bits, ((rows, rows), (cols, cols)), constant_values=beyond)
    height, width = bits.shape
    wide, done = run[:, cols : cols + width].copy(), 0
    spread_to = np.zeros_like(bits)
    # rows far off reach less far to the sides
    for row in range(rows, -1, -1):
        for col in range(done + 1, int(reach[row]) + 1):
            wide |= run[:, cols - col : cols - col + width] | run[:, cols + col : cols + col + width]
        done = int(reach[row])
        spread_to |= wide[rows - row : rows - row + height] | wide[rows + row : rows + row + height]
    return spread_to


def _take_back(changed: NDArray[np.bool_], codes: NDArray[np.uint8], doubtful: NDArray[np.bool_], reach: NDArray[np.int64]) -> None:
    """Set ``changed`` for doubtful pixels within reach of a change of the same kind."""
    kinds = np.intersect1d(codes[doubtful], codes[changed])
    taken = np.zeros_like(changed)
    for start in range(0, len(kinds), _BITS):
        some = kinds[start : start + _BITS]
        table = np.zeros(256, np.uint16)
        table[some] = 1 << np.arange(len(some))
        own = table[codes]
        taken |= own & spread(np.where(changed, own, np.uint16(0)), reach, beyond=0) != 0
    changed |= doubtful & taken
