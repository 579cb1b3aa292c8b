"""Which chunks are done first: where somebody waits for them, then where the first map is least certain."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from geoseg.io.raster import RasterSource
from geoseg.io.tiffs.layers import LayerReader, open_layer
from geoseg.pixels.classes import NODATA_CLASS
from geoseg.tiling import ChunkKey, TilePlan

_EMPTY = 101.0
"""Stands for the confidence in percent where the first map holds nothing: such chunks come last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkOrder:
    """Chunks in the order in which they are done."""

    keys: tuple[ChunkKey, ...]
    """All of them."""
    first: frozenset[ChunkKey]
    """Those in the area that comes first."""


def order_chunks(
    keys: Iterable[ChunkKey], tiles: TilePlan, source: RasterSource, confidence: tuple[Path, int] | None, area: BaseGeometry | None
) -> ChunkOrder:
    """Order chunks: those that touch an area first, of these and of the others those of the lowest mean confidence.

    The order has no influence on what is made of the chunks (law 2).

    Args:
        keys: The chunks.
        tiles: Their places.
        source: The raster of the run.
        confidence: Raster of the first map's confidence, and the pixels of the run along each side of one of its own; None knows nothing.
        area: In the raster's CRS; None has no area that comes first.
    """
    listed = list(keys)
    first: frozenset[ChunkKey] = frozenset()
    if area is not None:
        wanted = replace(source, aoi=area)
        first = frozenset(key for key in listed if wanted.touches_aoi(tiles.chunk(*key).window))
    certain = dict.fromkeys(listed, 0.0)
    if confidence is not None:
        path, factor = confidence
        with open_layer(path) as read:
            certain = {key: mean_confidence(read, tiles.chunk(*key).window, factor) for key in listed}
    return ChunkOrder(keys=tuple(sorted(listed, key=lambda key: (key not in first, certain[key], key))), first=first)


def mean_confidence(read: LayerReader, window: Window, factor: int) -> float:
    """Return the mean confidence in percent of a coarser raster below a window of the run's grid; 101 where it holds nothing."""
    values = read(below(window, factor))
    there = values != NODATA_CLASS
    return float(values[there].mean(dtype=np.float64)) if there.any() else _EMPTY


def below(window: Window, factor: int) -> Window:
    """Return the pixels of a coarser grid that a window of the run's grid touches."""
    top, left = window.row_off // factor, window.col_off // factor
    bottom, right = -(-(window.row_off + window.height) // factor), -(-(window.col_off + window.width) // factor)
    return Window(left, top, right - left, bottom - top)
