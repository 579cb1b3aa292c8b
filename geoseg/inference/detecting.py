"""Tiles of a chunk through a detector: what it finds is kept tile by tile, and drawn into the layers of the chunk."""

from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.inference.batching import DETECTIONS, TileInput, TileRunner
from geoseg.inference.whole import Pixels, empty_layers, is_needed
from geoseg.pixels.detections import paint_layers, unpack_detections
from geoseg.pixels.stitch import stitch_core
from geoseg.tiling import Chunk, place

Found = list[tuple[Window, NDArray[np.uint8]]]
"""Windows of tiles, and what was found in them, packed."""


def detect_chunk(runner: TileRunner, read: Callable[[], Pixels], chunk: Chunk) -> tuple[NDArray[np.uint8], Found]:
    """Find objects in the tiles of a chunk that hold data.

    Args:
        runner: Infers tiles.
        read: Returns pixels (C, H, W) and valid (H, W) of the chunk's footprint.
        chunk: Its tiles.

    Returns:
        (L, h, w) layers of the chunk's window, and what was found in each of its tiles, margins included.
    """
    layers = empty_layers(runner.spec.layers, chunk.window)
    with ExitStack() as feeding:
        feeding.enter_context(runner.feed())
        pixels, valid = read()
        under_way = []
        for tile in chunk.tiles:
            if is_needed(valid, tile, chunk):
                rows, cols = place(tile.window, chunk.footprint)
                whole = (slice(0, tile.window.height), slice(0, tile.window.width))
                given = TileInput(pixels=pixels[:, rows, cols], valid=valid[rows, cols], keep=whole, wanted=DETECTIONS)
                under_way.append((tile, given.valid, runner.submit(given)))
    found: Found = []
    for tile, there, result in under_way:
        packed = result.result()
        found.append((tile.window, packed))
        painted = paint_layers(unpack_detections(packed), there, runner.spec.layers)
        stitch_core(layers, painted[:, *tile.crop], tile, chunk.window)
    return layers, found
