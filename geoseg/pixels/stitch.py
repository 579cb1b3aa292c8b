"""Put tiles together into a chunk: their cores side by side, or blended where they overlap."""

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.tiling import Tile, place


def stitch_core(stitched: NDArray[np.uint8], layers: NDArray[np.uint8], tile: Tile, chunk: Window) -> None:
    """Write the core of an inferred tile into a chunk, in place; its halo was thrown away.

    Args:
        stitched: (L, H, W) layers of the chunk.
        layers: (L, h, w) layers of the tile's core.
        tile: The tile.
        chunk: Where the chunk lies in the raster.
    """
    stitched[:, *tile.place_in(chunk)] = layers


def blend_tile(
    summed: NDArray[np.float32], weight: NDArray[np.float32], probabilities: NDArray[np.float32], tile: Tile, chunk: Window
) -> None:
    """Add a weighted tile to a chunk, in place; ``summed / weight`` is the mean of all that were added.

    The result of a pixel depends on the order of the tiles alone, not on the chunk: the same additions in float32 take place.

    Args:
        summed: (C, H, W) probabilities times weights.
        weight: (H, W) sum of the weights.
        probabilities: (C, h, w) of the tile.
        tile: The tile; add them row-major.
        chunk: Where the chunk lies in the raster.
    """
    part = tile.reach.intersection(chunk)
    rows, cols = place(part, tile.window)
    weights = blend_weights(tile)[rows, cols]
    into = place(part, chunk)
    summed[:, *into] += probabilities[:, rows, cols] * weights
    weight[into] += weights


def blend_weights(tile: Tile) -> NDArray[np.float32]:
    """Weigh the pixels of a tile: 1 inside, falling to its neighbors as half of a Hann window, 0 beyond its reach.

    Where two tiles overlap by twice the halo their weights add up to 1. At the raster's edge, where there is no neighbor,
    nothing falls off, so that no frame is lost.

    Returns:
        (h, w), the tile's shape.
    """
    window, reach = tile.window, tile.reach
    rows = _weigh_axis(window.row_off, window.height, (reach.row_off, reach.row_off + reach.height), tile.ramp_px)
    cols = _weigh_axis(window.col_off, window.width, (reach.col_off, reach.col_off + reach.width), tile.ramp_px)
    return rows[:, None] * cols


def _weigh_axis(start: int, size: int, reach: tuple[int, int], ramp: int) -> NDArray[np.float32]:
    weights = np.zeros(size, np.float32)
    begin, end = reach[0] - start, reach[1] - start
    weights[begin:end] = 1
    rise = (np.sin(np.pi / 2 * (np.arange(ramp) + 0.5) / max(ramp, 1)) ** 2).astype(np.float32)
    if begin > 0:
        weights[begin : begin + ramp] *= rise
    if end < size:
        weights[end - ramp : end] *= rise[::-1]
    return weights
