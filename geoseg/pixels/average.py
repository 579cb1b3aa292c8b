"""Means of blocks of pixels, by which imagery that is finer than a model needs is brought to its resolution."""

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

_EXACT_SIDE = 16
"""Largest block whose sum, and its mean before rounding, float32 holds exactly for uint8 and uint16."""


def average_blocks(pixels: NDArray[Any], k: int) -> NDArray[Any]:
    """Average k x k blocks.

    Args:
        pixels: (C, H, W). Blocks at the lower and right edge may be incomplete.
        k: Block size in pixels.

    Returns:
        (C, ceil(H / k), ceil(W / k)) means: of integers in their own dtype, rounded, halves to even; of floats in float32.
    """
    height, width = pixels.shape[1] // k * k, pixels.shape[2] // k * k
    if pixels.dtype not in (np.uint8, np.uint16) or k > _EXACT_SIDE:
        return _average_floats(pixels, k)
    averaged = np.empty((len(pixels), -(-pixels.shape[1] // k), -(-pixels.shape[2] // k)), pixels.dtype)
    rows, cols = height // k, width // k
    _average_whole(pixels[:, :height, :width], k, averaged[:, :rows, :cols])
    averaged[:, :, cols:] = _average_floats(pixels[:, :, width:], k)
    averaged[:, rows:, :cols] = _average_floats(pixels[:, height:, :width], k)
    return averaged


def whole_blocks(valid: NDArray[np.bool_], k: int) -> NDArray[np.bool_]:
    """Tell which k x k blocks hold data in each of their pixels.

    Args:
        valid: (H, W), True = data. Blocks at the lower and right edge may be incomplete.
        k: Block size in pixels.

    Returns:
        (ceil(H / k), ceil(W / k)).
    """
    height, width = valid.shape
    padded = np.pad(valid, ((0, -height % k), (0, -width % k)), constant_values=True) if height % k or width % k else valid
    rows = np.logical_and.reduce([padded[i::k] for i in range(k)])
    return np.asarray(np.logical_and.reduce([rows[:, j::k] for j in range(k)]))


def _average_whole(pixels: NDArray[Any], k: int, averaged: NDArray[Any]) -> None:
    """Average unsigned integers over whole blocks, in integers: the same as rounding float32 means, several times faster."""
    count = k * k
    wide = np.uint16 if np.iinfo(pixels.dtype).max * count + count < 2**16 else np.uint32
    for band, into in zip(pixels, averaged, strict=True):
        # whole rows first: they lie side by side in memory
        summed = np.add(band[0::k], band[1::k], dtype=wide) if k > 1 else band.astype(wide)
        for i in range(2, k):
            summed += band[i::k]
        total = summed[:, 0::k].copy()
        for j in range(1, k):
            total += summed[:, j::k]
        # halves go to the even neighbor: up from odd quotients only
        total += count // 2 if count % 2 else count // 2 - 1 + (total // count & 1)
        np.floor_divide(total, count, out=into, casting="unsafe")


def _average_floats(pixels: NDArray[Any], k: int) -> NDArray[Any]:
    """Average in float32, whatever the type and however incomplete the blocks."""
    _, height, width = pixels.shape
    padded = np.pad(pixels, ((0, 0), (0, -height % k), (0, -width % k)))
    total = np.zeros((len(pixels), -(-height // k), -(-width // k)), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # nodata may be as large as the type allows
        for i, j in product(range(k), range(k)):
            total += padded[:, i::k, j::k]
    # of each block, how many rows and columns are there
    there_rows, there_cols = (np.minimum(k, n - np.arange(0, n, k)) for n in (height, width))
    averaged = np.asarray(total / np.multiply.outer(there_rows, there_cols).astype(np.float32), np.float32)
    return np.rint(averaged).astype(pixels.dtype) if np.issubdtype(pixels.dtype, np.integer) else averaged
