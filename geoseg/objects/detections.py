"""Masks that a detector found in overlapping tiles to one set of objects over the whole raster."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.errors import ConfigError, ModelError
from geoseg.objects.labeling.faces import find_components
from geoseg.objects.labeling.parts import find_largest_parts
from geoseg.objects.labeling.pieces import Piece, cut_pieces, meet
from geoseg.objects.rasters import LabelRaster
from geoseg.pixels.detections import Detections
from geoseg.tiling import partition

__all__ = ["DetectionOptions", "DetectionStore", "DetectionTable", "Detections", "ReadDetections", "merge_detections"]

ReadDetections = Callable[[Window], Detections]
"""Returns what was found in a tile; asked twice or more for each tile, so it reads stored results and runs no model."""


class DetectionStore:
    """Keeps what a detector finds in tiles, in whatever order they arrive, with one bit per pixel of a mask."""

    def __init__(self) -> None:
        self._kept: dict[Window, tuple[Detections, NDArray[np.uint8], tuple[int, ...]]] = {}

    @property
    def windows(self) -> list[Window]:
        """Windows of the tiles."""
        return list(self._kept)

    def add(self, window: Window, detections: Detections) -> None:
        """Take what was found in a tile.

        Raises:
            ConfigError: If there is a tile with this window already.
        """
        if window in self._kept:
            raise ConfigError(f"Two tiles have the same window, {window}. Give each tile once.")
        packed = replace(detections, masks=np.zeros((len(detections.masks), 0, 0), bool))
        self._kept[window] = packed, np.packbits(detections.masks), detections.masks.shape

    def read(self, window: Window) -> Detections:
        """Return what was found in a tile."""
        packed, bits, shape = self._kept[window]
        return replace(packed, masks=np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool))


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionOptions:
    """When two masks are one thing.

    Raises:
        ConfigError: If a share is outside 0..1 or a size is negative.
    """

    min_score: float = 0.5
    """Detections with lower scores are ignored, in [0, 1]."""
    match_iou: float = 0.5
    """IoU, inside the strip that two tiles share, from which two masks are the same thing, in (0, 1]."""
    match_share: float = 0.3
    """They are also the same if this share of the smaller one, inside the strip, lies in the larger one, in (0, 1]: pieces of
    what a tile saw split. 1 asks for all of it."""
    duplicate_iou: float = 0.5
    """IoU from which two masks of one tile are the same thing; the lower score is dropped, in (0, 1]."""
    min_visible: float = 0.5
    """Objects of which less is left uncovered by kept objects with higher scores are dropped, in [0, 1]."""
    min_area_px: int = 1
    """Objects whose largest part is smaller are dropped."""
    block_px: int = 2048
    """Side of the blocks that are numbered at a time; without influence on the result."""

    def __post_init__(self) -> None:
        for name in ("min_score", "match_iou", "match_share", "duplicate_iou", "min_visible"):
            least = 0 if name.startswith("min") else 1e-9
            if not least <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a share in 0..1{'' if least == 0 else ', above 0'}; got {getattr(self, name)}.")
        for name, fewest in (("min_area_px", 0), ("block_px", 1)):
            if getattr(self, name) < fewest:
                raise ConfigError(f"{name} is a number of pixels from {fewest} on; got {getattr(self, name)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionTable:
    """One row per object; row i is object i + 1."""

    area_px: NDArray[np.int64]
    """(n,) pixels."""
    score: NDArray[np.float64]
    """(n,) mean score of the masks that it was joined from, weighted by their pixels."""
    classes: NDArray[np.int64]
    """(n,) class."""
    masks: NDArray[np.int64]
    """(n,) number of masks that it was joined from."""

    def __len__(self) -> int:
        return len(self.area_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tile:
    index: int
    window: Window
    pieces: list[Piece]


def merge_detections(
    windows: Sequence[Window], read: ReadDetections, labels: LabelRaster, shape: tuple[int, int], options: DetectionOptions
) -> DetectionTable:
    """Join the masks of overlapping tiles.

    Two masks of tiles that overlap are the same thing if their classes agree and their masks do so inside the strip that both
    tiles see; what is the same over several tiles is joined by union-find. So a road or a terrace over many tiles is one object,
    two objects that touch stay two, and what the neighbor did not see stays as it is. Boxes decide nothing. An object covers what
    any of its masks covers; a pixel that several objects claim goes to the one with the highest score. Of an object in several
    parts, which share no edge of a pixel, the largest one stays, of equal ones the first, and the others become background.
    Objects are dropped from the highest score down, so that those that are dropped take nothing from others. Tiles are taken in
    row-major order, whatever the order they are given in, and only those that a later tile can overlap are held in memory.

    Args:
        windows: Of the tiles, in pixels of the raster; they may reach past its edges.
        read: Returns what was found in one of these windows.
        labels: Takes the result: 0 background, ids by first pixel in row-major order, 1..n without gaps.
        shape: Rows and columns of the raster.
        options: When two masks are one thing.

    Returns:
        Area, score, class and number of masks of each object.

    Raises:
        ModelError: If masks do not have the shape of their tile, or reading a tile again gives something else.
        ConfigError: If two tiles have the same window.
    """
    tiles = _in_order(windows)
    objects = _join(_sweep(tiles, read, shape, options), options)
    dropped = np.zeros(len(objects.score) + 1, bool)
    while True:
        for block in partition(shape, options.block_px):
            labels.write(block, np.zeros((block.height, block.width), np.uint32))
        visible, covers = _paint(_sweep(tiles, read, shape, options), objects, dropped, labels)
        parts = find_largest_parts(labels, shape, options.block_px, len(objects.score))
        failed = ~dropped & ((visible < options.min_visible) | (parts.area < max(options.min_area_px, 1)))
        failed[0] = False
        if not failed.any():
            break
        # what lies below another one that failed may be seen once that is gone
        failed[covers[failed[covers[:, 1]], 0]] = False
        dropped |= failed
    kept = parts.rank(~dropped)
    parts.renumber(labels, shape, kept)
    rows = kept - 1
    return DetectionTable(area_px=parts.area[kept], score=objects.score[rows], classes=objects.kind[rows], masks=objects.masks[rows])


def _in_order(windows: Sequence[Window]) -> list[Window]:
    ordered = sorted(windows, key=lambda w: (w.row_off, w.col_off, w.height, w.width))
    for one, other in pairwise(ordered):
        if one == other:
            raise ConfigError(f"Two tiles have the same window, {one}. Give each tile once.")
    return ordered


def _sweep(
    windows: list[Window], read: ReadDetections, shape: tuple[int, int], options: DetectionOptions
) -> Iterator[tuple[_Tile, list[_Tile]]]:
    """Yield each tile, and the earlier ones that it may overlap."""
    held: list[_Tile] = []
    count = 0
    for index, window in enumerate(windows):
        pieces: list[Piece] = []
        for piece in cut_pieces(read(window), window, shape):
            if piece.score >= options.min_score and not any(_is_duplicate(piece, other, options) for other in pieces):
                pieces.append(replace(piece, number=count + len(pieces)))
        count += len(pieces)
        held = [tile for tile in held if _end(tile.window) > window.row_off]
        tile = _Tile(index=index, window=window, pieces=pieces)
        yield tile, held
        held.append(tile)


def _end(window: Window) -> int:
    return int(window.row_off + window.height)


def _is_duplicate(piece: Piece, other: Piece, options: DetectionOptions) -> bool:
    if piece.kind != other.kind:
        return False
    shared = piece.overlap(other)
    return shared > 0 and shared >= options.duplicate_iou * (piece.area + other.area - shared)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Objects:
    """Joined pieces, the highest score first."""

    of_piece: NDArray[np.int64]
    """(p,) object 1..n of each piece."""
    score: NDArray[np.float64]
    kind: NDArray[np.int64]
    masks: NDArray[np.int64]


def _join(sweep: Iterator[tuple[_Tile, list[_Tile]]], options: DetectionOptions) -> _Objects:
    # lists of tuples would take several times as much
    pairs, rows = array("q"), array("d")
    for tile, held in sweep:
        for piece in tile.pieces:
            rows.extend((piece.area, piece.score, piece.kind))
        for other in held:
            pairs.extend(number for pair in _match(tile, other, options) for number in pair)
    area, score, kind = np.array(rows, float).reshape(-1, 3).T
    found, component = find_components(np.array(pairs, np.int64).reshape(-1, 2), len(area))
    mean = np.bincount(component, area * score, found) / np.bincount(component, area, found)
    # components are numbered by their first piece, so ties go to the first tile
    order = np.argsort(-mean, kind="stable")
    number = np.empty(found, np.int64)
    number[order] = np.arange(1, found + 1)
    kinds = np.zeros(found, np.int64)
    kinds[component] = kind.astype(np.int64)
    return _Objects(
        of_piece=number[component],
        score=mean[order],
        kind=kinds[order],
        masks=np.bincount(component, minlength=found)[order],
    )


def _match(tile: _Tile, other: _Tile, options: DetectionOptions) -> list[tuple[int, int]]:
    """Return the numbers of the pieces of two tiles that are one thing."""
    strip = meet(tile.window, other.window)
    if strip is None:
        return []
    ones = [piece for whole in tile.pieces if (piece := whole.within(strip)) is not None]
    others = [piece for whole in other.pieces if (piece := whole.within(strip)) is not None]
    if not ones or not others:
        return []
    shared = np.array([[a.overlap(b) if a.kind == b.kind else 0 for b in others] for a in ones])
    one_area, other_area = np.array([[a.area] for a in ones]), np.array([b.area for b in others])
    same = shared >= options.match_iou * (one_area + other_area - shared)
    # a piece belongs to the one mask that holds most of it, not to each that it brushes
    best = np.where(one_area <= other_area, shared == shared.max(axis=1, keepdims=True), shared == shared.max(axis=0))
    same |= best & (shared >= options.match_share * np.minimum(one_area, other_area))
    return [(ones[i].number, others[j].number) for i, j in np.argwhere(same & (shared > 0)).tolist()]


def _paint(
    sweep: Iterator[tuple[_Tile, list[_Tile]]], objects: _Objects, dropped: NDArray[np.bool_], labels: LabelRaster
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw all tiles, the highest score on top, without what is dropped.

    Returns:
        The share (n + 1,) of each object that no other covers, and pairs (k, 2) of an object and one that covers pixels of it.
    """
    view = _View(objects=objects, labels=labels, drawn=np.zeros(len(dropped), np.int64), seen=np.zeros(len(dropped), np.int64))
    waiting: list[tuple[int, Piece]] = []
    count = 0
    for tile, held in sweep:
        count += len(tile.pieces)
        if count > len(objects.of_piece):
            break
        pieces = [piece for piece in tile.pieces if not dropped[objects.of_piece[piece.number]]]
        for piece in pieces:
            view.draw(piece)
        still = {other.index for other in (tile, *held)}
        view.look([piece for index, piece in waiting if index not in still])
        waiting = [row for row in waiting if row[0] in still] + [(tile.index, piece) for piece in pieces]
    if count != len(objects.of_piece):
        raise ModelError(f"Tiles gave other detections when read again: {count} masks, {len(objects.of_piece)} before.")
    view.look([piece for _, piece in waiting])
    return view.seen / np.maximum(view.drawn, 1), np.concatenate([np.zeros((0, 2), np.int64), *view.covers])


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """Objects in a raster, seen from above."""

    objects: _Objects
    labels: LabelRaster
    drawn: NDArray[np.int64]
    """(n + 1,) pixels of the masks of each object."""
    seen: NDArray[np.int64]
    """(n + 1,) those of them that nothing covers."""
    covers: list[NDArray[np.int64]] = field(default_factory=list)
    """Pairs (k, 2) of an object and one that covers pixels of it."""

    def draw(self, piece: Piece) -> None:
        """Draw a piece below all that has a higher score."""
        number = int(self.objects.of_piece[piece.number])
        block = self.labels.read(piece.window)
        block[piece.mask & ((block == 0) | (block > number))] = number
        self.labels.write(piece.window, block)
        self.drawn[number] += piece.area

    def look(self, pieces: list[Piece]) -> None:
        """Count what is seen of pieces that nothing will be drawn on any more."""
        for piece in pieces:
            number = int(self.objects.of_piece[piece.number])
            found, pixels = np.unique(self.labels.read(piece.window)[piece.mask], return_counts=True)
            self.seen[number] += pixels[found == number].sum()
            above = found[found != number].astype(np.int64)
            if len(above):
                self.covers.append(np.column_stack([np.full(len(above), number), above]))
