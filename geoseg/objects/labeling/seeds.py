"""Seeds: pieces of a probability that hang together, taken apart where rising thresholds part them, over a raster held block by block.

A threshold that is high enough to see the wall between two houses of a row is too high for a faint house elsewhere. So there are
several: a piece stays as large as the lowest one makes it, unless a higher one parts it into pieces that are large enough for buildings
and together are most of it. That is a walk down the tree of components (Salembier et al. 1998, "Antiextensive
connected operators"), with rules in place of its attributes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage

from geoseg.objects.labeling.faces import NOWHERE, Faces, find_components, first_pixels, widen
from geoseg.objects.labeling.growth import grow
from geoseg.objects.rasters import LabelRaster, ReadLayer
from geoseg.pixels.kernel import kernel
from geoseg.tiling import partition, place


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRule:
    """When a piece is taken apart."""

    levels: tuple[int, ...]
    """Values from which a pixel belongs to a piece, from 1 on and rising; the first decides what is a seed at all."""
    min_part_px: int
    """Smaller pieces above the first level do not count, nor what is left over of one that is taken apart."""
    min_share: float
    """Share of a piece that its parts make up together, at least; a part may be taken apart again."""
    growth_px: int
    """How far parts grow at most within what they were part of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedLayer:
    """Where seeds are found."""

    read: ReadLayer
    """Returns values (H, W) of a window, uint8; pixels of 0 belong to no piece."""
    shape: tuple[int, int]
    """Rows and columns of the raster."""
    block_px: int
    """Side of the blocks, without influence on the result."""


def find_seeds(layer: SeedLayer, seeds: LabelRaster, rule: SplitRule) -> int:
    """Find the seeds of a raster: the same whatever the blocks.

    Args:
        layer: Where.
        seeds: Takes the ids, 1.. by first pixel in row-major order, 0 = no seed. Seeds of one level never touch, those of
            two may.
        rule: When a piece is taken apart.

    Returns:
        Number of seeds.
    """
    levels = [_Level(width=layer.shape[1]) for _ in rule.levels]
    for window in partition(layer.shape, layer.block_px):
        values, below = layer.read(window), None
        for number, level in enumerate(levels):
            block = _label(values, rule, number)
            level.add(block, window, below)
            below = block.labels
    joined = _join(levels)
    ids, count = _number(joined, _choose(joined, rule))
    for index, window in enumerate(partition(layer.shape, layer.block_px)):
        painted = _paint(layer.read(window), rule, [own[level.of_block(index)] for own, level in zip(ids, levels, strict=True)])
        seeds.write(window, painted)
    return count


def fill_seeds(layer: SeedLayer, seeds: LabelRaster, filled: LabelRaster, rule: SplitRule, count: int) -> NDArray[np.uint32]:
    """Give back what taking apart has left over: parts grow into it; where none arrives, large pieces of it become seeds of their own.

    Args:
        layer: Where.
        seeds: What :func:`find_seeds` wrote.
        filled: Takes the result, in numbers that are ids but for what was left.
        rule: When a piece was taken apart.
        count: Number of seeds.

    Returns:
        The id of each number; those of what was left follow on the seeds', by first pixel, 0 where that is too small.
    """
    left = _Level(width=layer.shape[1])
    for window in partition(layer.shape, layer.block_px):
        around = widen(window, rule.growth_px, layer.shape)
        grown, reached = seeds.read(around), layer.read(around) >= rule.levels[0]
        grow(grown, reached, rule.growth_px)
        inside = place(window, around)
        block = grown[inside]
        rest = _components(reached[inside] & (block == 0))
        filled.write(window, np.where(rest.labels > 0, rest.labels + np.int64(count + left.starts[-1]), block).astype(np.uint32))
        left.add(rest, window, None)
    joined = _join([left])
    (ids,), _ = _number(joined, [joined[0].area >= rule.min_part_px])
    return np.concatenate([np.arange(count + 1, dtype=np.uint32), np.where(ids[1:] > 0, ids[1:] + np.uint32(count), 0).astype(np.uint32)])


@dataclass(frozen=True, slots=True)
class _Block:
    """Components of one level in one block."""

    labels: NDArray[np.int32]
    """(H, W), 0 = none."""
    area: NDArray[np.int64]
    """(n + 1,) pixels."""


def _label(values: NDArray[np.uint8], rule: SplitRule, number: int) -> _Block:
    """Label the components of a level; above the first those are left out that are too small and go on nowhere."""
    block = _components(values >= rule.levels[number])
    labels, area = block.labels, block.area
    if number == 0:
        return block
    kept = area >= rule.min_part_px
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        kept[side] = True
    kept[0] = False
    if not kept[1:].all():
        _renumber(labels, np.cumsum(kept, dtype=np.int32) * kept)
    return _Block(labels, np.concatenate([area[:1], area[kept]]))


def _components(mask: NDArray[np.bool_]) -> _Block:
    labels, found = ndimage.label(mask)
    area = np.zeros(found + 1, np.int64)
    _count(labels, area)
    area[0] = 0
    return _Block(labels, area)


@kernel
def _count(labels: NDArray[np.int32], area: NDArray[np.int64]) -> None:
    for label in labels.flat:
        area[label] += 1


@kernel
def _renumber(labels: NDArray[np.int32], numbers: NDArray[np.int32]) -> None:
    height, width = labels.shape
    for i in range(height):
        for j in range(width):
            labels[i, j] = numbers[labels[i, j]]


@dataclass
class _Level:
    """Components of one level, gathered block by block under numbers that go on from block to block."""

    width: int
    """Columns of the raster."""
    starts: list[int] = field(default_factory=lambda: [0])
    """Numbers given before each block, and in all."""
    area: list[NDArray[np.int64]] = field(default_factory=lambda: [np.zeros(1, np.int64)])
    """Pixels, by block; the first is that of no component."""
    first: list[NDArray[np.int64]] = field(default_factory=lambda: [np.full(1, NOWHERE)])
    """First pixels, by block."""
    parent: list[NDArray[np.int32]] = field(default_factory=list)
    """Labels in the level below, by block."""

    def __post_init__(self) -> None:
        self.faces = Faces(width=self.width)

    def add(self, block: _Block, window: Window, below: NDArray[np.int32] | None) -> None:
        """Take the next block, with the labels (H, W) of the level below."""
        start, count = self.starts[-1], len(block.area) - 1
        first = first_pixels(block.labels, count, window, self.width)
        if below is not None:
            rows, cols = np.divmod(first, self.width)
            self.parent.append(below[rows - window.row_off, cols - window.col_off])
        self.area.append(block.area[1:])
        self.first.append(first)
        self.faces.add(block.labels, window, start)
        self.starts.append(start + count)

    def of_block(self, index: int) -> NDArray[np.int64]:
        """Return the numbers (n + 1,) of a block's components; the first is that of none."""
        return np.concatenate([[0], np.arange(self.starts[index], self.starts[index + 1]) + 1])


@dataclass(frozen=True, slots=True)
class _Components:
    """Components of one level over the whole raster."""

    of_number: NDArray[np.int32]
    """(m,) the component of each number; component 0 is none."""
    area: NDArray[np.int64]
    """(n,) pixels."""
    first: NDArray[np.int64]
    """(n,) first pixel in row-major order."""
    parent: NDArray[np.int32]
    """(n,) component of the level below; on the lowest level the component itself."""


def _join(levels: Sequence[_Level]) -> list[_Components]:
    joined: list[_Components] = []
    for level, below in zip(levels, [None, *levels], strict=False):
        found, of_number = find_components(level.faces.pairs(), level.starts[-1] + 1)
        area, first, parent = np.zeros(found, np.int64), np.full(found, NOWHERE), np.arange(found, dtype=np.int32)
        np.add.at(area, of_number, np.concatenate(level.area))
        np.minimum.at(first, of_number, np.concatenate(level.first))
        if below is not None:
            numbers = [labels + start for labels, start in zip(level.parent, below.starts, strict=False)]
            parent[of_number] = joined[-1].of_number[np.concatenate([[0], *numbers])]
        joined.append(_Components(of_number, area, first, parent))
    return joined


def _choose(levels: Sequence[_Components], rule: SplitRule) -> list[NDArray[np.bool_]]:
    """Return for each level which components are seeds.

    Going up, each component belongs to the piece that it lies in. Where the large ones of a piece are several, and most of it, they
    take its place.
    """
    piece = np.arange(len(levels[0].area))
    sizes = levels[0].area.copy()
    level_of, component_of = np.zeros(len(piece), np.int64), piece.copy()
    stays = component_of > 0
    for number, level in enumerate(levels[1:], start=1):
        piece = piece[level.parent]
        piece[0] = 0
        large = (level.area >= rule.min_part_px) & (piece > 0)
        parts = np.bincount(piece[large], minlength=len(sizes))
        covered = np.zeros(len(sizes), np.int64)
        np.add.at(covered, piece[large], level.area[large])
        split = stays & (parts >= 2) & (covered >= rule.min_share * sizes)
        new = np.flatnonzero(large & split[piece])
        piece[split[piece]] = 0
        piece[new] = len(sizes) + np.arange(len(new))
        stays = np.concatenate([stays & ~split, np.ones(len(new), bool)])
        sizes = np.concatenate([sizes, level.area[new]])
        level_of = np.concatenate([level_of, np.full(len(new), number)])
        component_of = np.concatenate([component_of, new])
    chosen = [np.zeros(len(level.area), bool) for level in levels]
    for number, mine in enumerate(chosen):
        mine[component_of[stays & (level_of == number)]] = True
    return chosen


def _number(levels: Sequence[_Components], chosen: Sequence[NDArray[np.bool_]]) -> tuple[list[NDArray[np.uint32]], int]:
    """Return for each level the seed (m,) of each number, by first pixel over all levels, and how many seeds there are."""
    firsts = np.sort(np.concatenate([level.first[mine] for level, mine in zip(levels, chosen, strict=True)]))
    ids = [
        np.where(mine, np.searchsorted(firsts, level.first) + 1, 0).astype(np.uint32)[level.of_number]
        for level, mine in zip(levels, chosen, strict=True)
    ]
    return ids, len(firsts)


def _paint(values: NDArray[np.uint8], rule: SplitRule, ids: Sequence[NDArray[np.uint32]]) -> NDArray[np.uint32]:
    """Return the seeds of a block, of which ``ids`` holds those of its components, level by level."""
    painted = np.zeros(values.shape, np.uint32)
    for number, own in enumerate(ids):
        # levels that gave no seed here need not be labelled again
        if own.any():
            np.maximum(painted, own[_label(values, rule, number).labels], out=painted)
    return painted
