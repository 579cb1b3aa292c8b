"""Splits by place: blocks of a raster, drawn by lot, with a buffer between the parts."""

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy import ndimage

from geoseg.errors import LabelError
from geoseg.io.ground import pixel_size_m
from geoseg.labels.site import Blocks


def kept_pixels(blocks: Blocks, geobox: GeoBox) -> NDArray[np.bool_]:
    """Return which pixels of a raster belong to the kept part.

    Law: with the same size, share, seed and buffer, the parts of ``train`` and ``test`` are disjoint, and every pixel of the
    one is more than ``buffer_px`` rows or columns away from every pixel of the other.

    Args:
        blocks: The split.
        geobox: Grid of the raster at the model's resolution. Other grids draw other blocks: see :func:`onto_averages`.

    Returns:
        (H, W), True = kept.

    Raises:
        LabelError: If the size is in metres and the raster has no georeference, or the raster is a single block.
    """
    shape = (int(geobox.shape[0]), int(geobox.shape[1]))
    side = _side_px(blocks, geobox)
    test = draw_test_blocks(blocks, (-(-shape[0] // side), -(-shape[1] // side)), shape, side)
    if blocks.keep == "test":
        return test
    near: NDArray[np.bool_] = ndimage.maximum_filter(test, 2 * blocks.buffer_px + 1, mode="constant", cval=False)
    return ~near


def onto_averages(kept: NDArray[np.bool_], averaged: int, shape: tuple[int, int], decimation: int) -> NDArray[np.bool_]:
    """Bring the kept part of a raster onto another grid of it.

    Law: a pixel is kept if all that it covers was kept, so that the parts stay as far apart on the ground as they were.

    Args:
        kept: (H, W), drawn on the grid whose pixels are averages of ``averaged`` x ``averaged`` of the file's.
        averaged: Pixels of the file along a side of a pixel of ``kept``.
        shape: Rows and columns of the wanted grid.
        decimation: The same as ``averaged``, of the wanted grid.

    Returns:
        (h, w) of the wanted shape, True = kept.
    """
    for axis, (size, count) in enumerate(zip(kept.shape, shape, strict=True)):
        starts = np.arange(count) * decimation
        first, last = starts // averaged, np.minimum((starts + decimation - 1) // averaged, size - 1)
        covered = [kept.take(np.minimum(first + step, last), axis) for step in range(int((last - first).max()) + 1)]
        kept = np.logical_and.reduce(covered)
    return kept


def draw_test_blocks(blocks: Blocks, grid: tuple[int, int], shape: tuple[int, int], side: int) -> NDArray[np.bool_]:
    """Draw the test blocks of a raster and return their pixels (H, W)."""
    count = grid[0] * grid[1]
    if count < 2:
        raise LabelError(
            f"A raster of {shape[0]} x {shape[1]} px is a single block of {side} px, so it cannot be split. "
            "Choose smaller blocks, or split by file with rasters and exclude."
        )
    taken = min(max(round(blocks.share * count), 1), count - 1)
    drawn = np.zeros(count, bool)
    drawn[np.random.default_rng((blocks.seed, *grid)).permutation(count)[:taken]] = True
    return np.repeat(np.repeat(drawn.reshape(grid), side, axis=0), side, axis=1)[: shape[0], : shape[1]]


def _side_px(blocks: Blocks, geobox: GeoBox) -> int:
    if blocks.size_px is not None:
        return blocks.size_px
    if geobox.crs is None:
        raise LabelError(f"blocks of {blocks.size_m} m need a raster with a CRS; this one has none. Give size_px instead.")
    assert blocks.size_m is not None, "checked at birth"
    return max(1, round(blocks.size_m / pixel_size_m(geobox)))
