"""Put the cores of tiles together into a chunk."""

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.tiling import Tile

Pixel = TypeVar("Pixel", bound=np.generic)


def cut_tiles(pixels: NDArray[Pixel], footprint: Window, tiles: Iterable[Tile]) -> NDArray[Pixel]:
    """Cut tiles out of a chunk's footprint.

    Args:
        pixels: (..., H, W), the footprint.
        footprint: Where it lies in the padded raster.
        tiles: Tiles of one shape, inside the footprint.

    Returns:
        (N, ..., h, w), a copy.
    """
    cut = []
    for tile in tiles:
        top, left = tile.window.row_off - footprint.row_off, tile.window.col_off - footprint.col_off
        cut.append(pixels[..., top : top + tile.window.height, left : left + tile.window.width])
    return np.stack(cut)


def stitch_cores(stitched: NDArray[np.uint8], layers: NDArray[np.uint8], tiles: Iterable[Tile], chunk: Window) -> None:
    """Write the cores of inferred tiles into a chunk, in place; halos are thrown away.

    Args:
        stitched: (L, H, W) layers of the chunk.
        layers: (N, L, h, w) layers of the tiles.
        tiles: The N tiles.
        chunk: Where the chunk lies in the raster.
    """
    for tile, tile_layers in zip(tiles, layers, strict=True):
        rows, cols = tile.place_in(chunk)
        crop_rows, crop_cols = tile.crop
        stitched[:, rows, cols] = tile_layers[:, crop_rows, crop_cols]
