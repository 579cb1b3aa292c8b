"""Building instances of what a detector found: masks of overlapping tiles joined over the whole raster."""

import math

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.io.store.found import FoundStore
from geoseg.objects.detections import DetectionOptions, Detections, merge_detections
from geoseg.objects.instances import InstanceTable
from geoseg.objects.rasters import LabelRaster, ReadLayer
from geoseg.pixels.classes import NODATA_CLASS, ClassKind, ClassScheme
from geoseg.pixels.detections import of_classes
from geoseg.settings import BuildingSettings
from geoseg.tiling import partition

_BLOCK_PX = 2048


def label_detections(
    found: FoundStore, scheme: ClassScheme, read_class: ReadLayer, labels: LabelRaster, shape: tuple[int, int], options: DetectionOptions
) -> tuple[InstanceTable, NDArray[np.int64]]:
    """Join what was found in overlapping tiles into building instances.

    Args:
        found: What was found, tile by tile.
        scheme: Classes; those of the kind building count.
        read_class: The class map.
        labels: Takes ids, 0 background, 1..n by first pixel.
        shape: Rows and columns.
        options: When two masks are one thing.

    Returns:
        One row per instance, and the class value (n,) of each.

    Raises:
        RunError: If what was found cannot be read.
    """
    buildings = tuple(index for index, row in enumerate(scheme) if row.kind is ClassKind.BUILDING)
    index = found.index()

    def read(window: Window) -> Detections:
        return of_classes(index.read(window), buildings)

    table = merge_detections(list(index.places), read, labels, shape, options)
    at_edge, at_nodata = np.zeros(len(table) + 1, bool), np.zeros(len(table) + 1, bool)
    for block in partition(shape, _BLOCK_PX):
        around = _around(block, shape)
        ids, empty = labels.read(around), read_class(around) == NODATA_CLASS
        at_nodata[ids[_beside(empty)]] = True
        at_edge[_rim(ids, around, shape)] = True
    made = InstanceTable(area_px=table.area_px, score=table.score, touches_edge=at_edge[1:], touches_nodata=at_nodata[1:])
    return made, np.asarray(scheme.values, np.int64)[table.classes]


def detection_options(settings: BuildingSettings, pixel_m: tuple[float, float]) -> DetectionOptions:
    """Return what joins masks, from what users say of buildings."""
    least = 0.0 if settings.min_score is None else settings.min_score
    return DetectionOptions(min_score=least, min_area_px=max(1, round(settings.min_area_m2 / math.prod(pixel_m))), block_px=_BLOCK_PX)


def _around(block: Window, shape: tuple[int, int]) -> Window:
    """Return a block with a pixel more on each side, as far as the raster goes."""
    top, left = max(block.row_off - 1, 0), max(block.col_off - 1, 0)
    bottom, right = min(block.row_off + block.height + 1, shape[0]), min(block.col_off + block.width + 1, shape[1])
    return Window(left, top, right - left, bottom - top)


def _beside(empty: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels that share an edge with one without data."""
    found = np.zeros_like(empty)
    found[1:] |= empty[:-1]
    found[:-1] |= empty[1:]
    found[:, 1:] |= empty[:, :-1]
    found[:, :-1] |= empty[:, 1:]
    return found


def _rim(ids: NDArray[np.uint32], window: Window, shape: tuple[int, int]) -> NDArray[np.uint32]:
    """Return the ids at the raster's edge."""
    rim = [ids[0]] if window.row_off == 0 else []
    rim += [ids[:, 0]] if window.col_off == 0 else []
    rim += [ids[-1]] if window.row_off + window.height == shape[0] else []
    rim += [ids[:, -1]] if window.col_off + window.width == shape[1] else []
    return np.unique(np.concatenate(rim)) if rim else np.zeros(0, np.uint32)
