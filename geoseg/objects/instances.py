"""Building probability to instance labels over the whole raster, block by block, whatever the blocks."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage

from geoseg.objects.labeling.faces import widen
from geoseg.objects.labeling.growth import grow
from geoseg.objects.labeling.holes import HoleLayers, Holes, at_edge
from geoseg.objects.labeling.seeds import SeedLayer, SplitRule, fill_seeds, find_seeds
from geoseg.objects.labeling.tally import Tally
from geoseg.objects.options import InstanceOptions
from geoseg.objects.rasters import LabelRaster, ReadLayer
from geoseg.pixels.decode import EVIDENCE_SCALE
from geoseg.tiling import partition, place


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceTable:
    """One row per instance; row i is instance i + 1."""

    area_px: NDArray[np.int64]
    """(n,) pixels, with filled holes."""
    score: NDArray[np.float64]
    """(n,) mean building probability of these pixels, in [0, 1]."""
    touches_edge: NDArray[np.bool_]
    """(n,) whether a pixel lies at the raster's edge, so that the building may go on beyond it."""
    touches_nodata: NDArray[np.bool_]
    """(n,) whether a pixel lies beside one without data."""

    def __len__(self) -> int:
        return len(self.area_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceLayers:
    """The stitched rasters that instances are made from."""

    shape: tuple[int, int]
    """Rows and columns."""
    seed: ReadLayer
    """Probability that a pixel lies inside one building and not between two, uint8 in 1/255."""
    building: ReadLayer
    """Probability of buildings, uint8 in 1/255."""
    valid: ReadLayer | None = None
    """True = data; None if there is data everywhere. What has no data is never part of a building."""


def label_instances(layers: InstanceLayers, seeds: LabelRaster, labels: LabelRaster, options: InstanceOptions) -> InstanceTable:
    """Label every building of a raster.

    Seeds are the 4-connected components of the seed layer, taken apart where higher thresholds part them. They grow, one
    pixel at a time and all at once, parts first within the seed that they come from, then all into the building probability;
    where two meet the lower id wins. Then those that are too small or too unlikely are dropped, and small holes that one
    instance encloses are filled. Seeds and holes are joined over block faces and growth reads a margin as wide as it
    reaches, so the labels equal those of the whole raster in one piece (law 5).

    Args:
        layers: Probabilities.
        seeds: Scratch of the raster's shape, overwritten.
        labels: Takes the result: 0 background, ids by first pixel in row-major order, 1..n without gaps.
        options: Thresholds and sizes.

    Returns:
        Area, score and flags of each instance.
    """
    ids, sown, grown = _sow(layers, seeds, labels, options)
    tally = Tally(size=int(ids.max()))
    for window in partition(layers.shape, options.block_px):
        around = widen(window, options.growth_px, layers.shape)
        block = ids[sown.read(around)]
        grow(block, _reaches(layers, layers.building, around, options.mask_threshold), options.growth_px)
        block = block[place(window, around)]
        tally.add(block, window, layers.shape[1], layers.building(window))
        grown.write(window, block)
    likely = tally.total >= options.min_score * EVIDENCE_SCALE * tally.area
    final, kept = tally.rank(likely & (tally.area >= options.min_area_px))
    numbered = HoleLayers(shape=layers.shape, labels=lambda w: final[grown.read(w)], values=layers.building, valid=layers.valid)
    holes = Holes(numbered, options.fill_holes_px, options.block_px)
    edge, nodata = np.zeros(len(kept) + 1, bool), np.zeros(len(kept) + 1, bool)
    for index, window in enumerate(partition(layers.shape, options.block_px)):
        block = holes.fill(numbered.labels(window), window, index)
        edge[block[at_edge(window, layers.shape)]] = True
        nodata[block[_beside_nodata(layers, window)]] = True
        labels.write(window, block)
    area, total = tally.area[kept], tally.total[kept]
    np.add.at(area, holes.owner - 1, holes.area)
    np.add.at(total, holes.owner - 1, holes.total)
    return InstanceTable(area_px=area, score=total / area / EVIDENCE_SCALE, touches_edge=edge[1:], touches_nodata=nodata[1:])


def _sow(
    layers: InstanceLayers, one: LabelRaster, other: LabelRaster, options: InstanceOptions
) -> tuple[NDArray[np.uint32], LabelRaster, LabelRaster]:
    """Find seeds; return the id of each number, the raster that holds these numbers, and the one that is free."""

    def read(window: Window) -> NDArray[np.uint8]:
        values: NDArray[np.uint8] = layers.seed(window)
        return values if layers.valid is None else np.where(layers.valid(window), values, 0).astype(np.uint8)

    rule = SplitRule(
        levels=tuple(_least_value(threshold) for threshold in options.levels),
        min_part_px=options.min_part_px,
        min_share=options.min_part_share,
        growth_px=options.growth_px,
    )
    layer = SeedLayer(read=read, shape=layers.shape, block_px=options.block_px)
    count = find_seeds(layer, one, rule)
    if len(rule.levels) == 1:
        return np.arange(count + 1, dtype=np.uint32), one, other
    return fill_seeds(layer, one, other, rule, count), other, one


def _reaches(layers: InstanceLayers, probability: ReadLayer, window: Window, threshold: float) -> NDArray[np.bool_]:
    """Return where (H, W) there is data and a probability is at least the threshold, and not 0."""
    enough: NDArray[np.bool_] = probability(window) >= _least_value(threshold)
    return enough if layers.valid is None else enough & layers.valid(window).astype(bool)


def _least_value(threshold: float) -> int:
    """Return the least uint8 that reaches a probability, and is not 0."""
    return max(1, math.ceil(threshold * EVIDENCE_SCALE))


def _beside_nodata(layers: InstanceLayers, window: Window) -> NDArray[np.bool_]:
    """Return which pixels (H, W) of a window are 4-neighbors of one without data."""
    if layers.valid is None:
        return np.zeros((window.height, window.width), bool)
    around = widen(window, 1, layers.shape)
    return np.asarray(ndimage.binary_dilation(~layers.valid(around).astype(bool))[place(window, around)])
