"""Label rasters to polygons, streamed: what is kept is one cell of pixels and the simplified borders of patches still open."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.errors import ConfigError
from geoseg.objects.arcs import Arcs, collect_arcs, find_web, join_arcs, mark_ends, take_arcs
from geoseg.objects.choose import DOUGLAS_PEUCKER, VISVALINGAM, Measures
from geoseg.objects.components import find_diagonals, label, measure, unite_all
from geoseg.objects.pixelsize import PixelSize, size_at
from geoseg.objects.rings import build_polygons
from geoseg.objects.sieve import NO_BACKGROUND, SieveOptions, sieve
from geoseg.objects.simplify import simplify
from geoseg.objects.smooth import MAX_ROUNDS, share_cut_off, smooth
from geoseg.tiling import partition

LATTICE_PX = 1024
"""Side of a cell. Results depend on it, since a vertex stands wherever a border crosses a line of the lattice; so it is fixed."""
Method = Literal["douglas-peucker", "visvalingam"]
_METHODS = {"douglas-peucker": DOUGLAS_PEUCKER, "visvalingam": VISVALINGAM}


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorizeOptions:
    """How polygons are drawn.

    Raises:
        ConfigError: If a number is negative or not finite, or a word unknown.
    """

    simplify_m: float = 0.0
    """How far a border may move when it is simplified, metres on the ground; 0 keeps the pixel edges.
    From 1.5 pixels on, slanted borders lose all their stairs."""
    method: Method = "douglas-peucker"
    """``douglas-peucker`` bounds how far a border moves; ``visvalingam`` takes out corners whose triangle with their neighbors
    is smaller than ``simplify_m`` squared, which suits natural borders."""
    smooth_rounds: int = 0
    """How often corners are cut (Chaikin), 0 to 5; each round doubles the vertices."""
    connectivity: Literal[4, 8] = 4
    """8: pixels that touch diagonally belong to one patch, which is then a multipolygon."""
    min_area_m2: float = 0.0
    """Smaller patches are merged into the neighbor with the longest shared border, m2 on the ground."""
    background: int | None = None
    """Value that gets no polygons: 255 for class maps, 0 for instance labels; None draws every value."""
    cover_background: bool = True
    """False: simplified polygons never cover background pixels; borders on background are then simplified inwards only."""

    def __post_init__(self) -> None:
        if not 0 <= self.simplify_m < np.inf:
            raise ConfigError(f"The simplification tolerance must be 0 m or more; got {self.simplify_m}.")
        if not 0 <= self.min_area_m2 < np.inf:
            raise ConfigError(f"The minimum area must be 0 m2 or more; got {self.min_area_m2}.")
        if self.method not in _METHODS:
            raise ConfigError(f"Borders are simplified by {' or '.join(_METHODS)}; got {self.method!r}.")
        if self.smooth_rounds not in range(MAX_ROUNDS + 1):
            raise ConfigError(f"Corners are cut 0 to {MAX_ROUNDS} times; got {self.smooth_rounds}.")
        if self.connectivity not in (4, 8):
            raise ConfigError(f"Pixels have 4 or 8 neighbors; got {self.connectivity}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """One polygon per connected component of equal value."""

    values: NDArray[np.int64]
    """(n,) raster value of each polygon."""
    polygons: NDArray[np.object_]
    """(n,) shapely Polygon in pixel coordinates (x = column, y = row), or MultiPolygon of parts that touch diagonally. Exteriors
    have a positive signed area in (x, y), which looks clockwise on a screen, holes a negative one. Corners where three patches
    meet are vertices of all three."""
    pixels: NDArray[np.int64]
    """(n,) pixels of each component; the polygon's area unless it was simplified."""
    first: NDArray[np.int64]
    """(n,) first pixel of each component, counted over the raster in row-major order."""

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What stays the same for all cells."""

    read: Callable[[Window], NDArray[Any]]
    shape: tuple[int, int]
    pixel_m: PixelSize
    options: VectorizeOptions

    @property
    def background(self) -> int:
        return NO_BACKGROUND if self.options.background is None else self.options.background


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line of pixels along a cell."""

    values: NDArray[Any]
    """(n,) raster values."""
    labels: NDArray[np.int64]
    """(n,) parts; 0 = background."""

    def cut(self, cols: slice) -> "_Line":
        return _Line(values=self.values[cols], labels=self.labels[cols])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """Components of some cells, numbered from 1, and how they are connected."""

    values: NDArray[np.int64]
    """(n,) raster values."""
    first: NDArray[np.int64]
    """(n,) first pixels."""
    pixels: NDArray[np.int64]
    """(n,) pixel counts."""
    joints: NDArray[np.int64]
    """(k, 2) parts that are one, across a face between cells."""
    diagonals: NDArray[np.int64]
    """(k, 2) parts that only touch diagonally but count as one, with connectivity 8."""
    arcs: Arcs
    """Their borders, in raster coordinates. Sides below 0 are components that were drawn before, told apart by their number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """What is kept of a cell once it was read."""

    parts: _Parts
    bottom: _Line
    """(w,) last row of pixels."""
    right: _Line
    """(h,) last column of pixels."""


def vectorize(
    read: Callable[[Window], NDArray[Any]],
    shape: tuple[int, int],
    pixel_m: PixelSize,
    options: VectorizeOptions,
    *,
    row_areas_m2: NDArray[np.float64] | None = None,
    lattice_px: int = LATTICE_PX,
) -> Patches:
    """Draw one polygon around each connected component of equal value, all at once: see :func:`stream_polygons`.

    Returns:
        Polygons in pixel coordinates with their values and pixel counts, in the row-major order of their first pixels.
    """
    return join_patches(list(stream_polygons(read, shape, pixel_m, options, row_areas_m2=row_areas_m2, lattice_px=lattice_px)))


def join_patches(batches: Sequence[Patches]) -> Patches:
    """Put batches into one, in the order of first pixels."""
    order = np.argsort(np.concatenate([batch.first for batch in batches]))
    return Patches(
        values=np.concatenate([batch.values for batch in batches])[order],
        polygons=np.concatenate([batch.polygons for batch in batches])[order],
        pixels=np.concatenate([batch.pixels for batch in batches])[order],
        first=np.concatenate([batch.first for batch in batches])[order],
    )


def stream_polygons(
    read: Callable[[Window], NDArray[Any]],
    shape: tuple[int, int],
    pixel_m: PixelSize,
    options: VectorizeOptions,
    *,
    row_areas_m2: NDArray[np.float64] | None = None,
    lattice_px: int = LATTICE_PX,
) -> Iterator[Patches]:
    """Draw polygons around the connected components of equal value, and yield those that are complete after each row of cells.

    The raster is read in cells of a lattice that hangs on its origin, each pixel once, twice with a minimum area. A vertex stands
    where a border crosses a line of the lattice, so every arc between junctions lies in one cell; there it is simplified and
    smoothed once, for both its neighbors. Memory holds one cell and the simplified borders of one row of cells and of patches
    that are still open. Polygons are valid and form a valid coverage (``shapely.coverage_is_valid``), simplified and smoothed
    or not, all batches together; no component vanishes, and the raster's four corners stay. A border that Douglas-Peucker
    simplifies stays within ``simplify_m`` of where it was; where it would have touched another border, within twice as much.

    Args:
        read: Returns the pixels of a window, (h, w) integers of up to 32 bits, or int64.
        shape: Raster (H, W).
        pixel_m: Width and height of a pixel on the ground, metres, or a function of the row; a cell takes those of its middle.
        options: Tolerance, smoothing, connectivity, minimum area and background.
        row_areas_m2: (H,) area of a pixel in each row, for the minimum area; None takes that of ``pixel_m``.
        lattice_px: Side of the cells.

    Yields:
        Batches of polygons in the order of their first pixels.
    """
    if options.min_area_m2 > 0:
        sieving = SieveOptions(min_area_m2=options.min_area_m2, connectivity=options.connectivity, background=options.background)
        read = sieve(read, shape, pixel_m, sieving, row_areas_m2=row_areas_m2, lattice_px=lattice_px)
    task = _Task(read=read, shape=shape, pixel_m=pixel_m, options=options)
    above, pending = None, _nothing()
    for _, windows in groupby(partition(shape, lattice_px), key=lambda w: int(w.row_off)):
        row: list[_Sheet] = []
        count = len(pending.values)
        for window in windows:
            row.append(_scan(task, window, _pad(np.asarray(read(window)), window, above, row), count))
            count += len(row[-1].parts.values)
        parts = _concatenate([pending, *(sheet.parts for sheet in row)])
        above = _Line(
            values=np.concatenate([sheet.bottom.values for sheet in row]),
            labels=np.concatenate([sheet.bottom.labels for sheet in row]),
        )
        is_last = window.row_off + window.height == shape[0]
        drawn, pending, renumbered = _draw_complete(parts, np.zeros(0, np.int64) if is_last else above.labels)
        above = _Line(values=above.values, labels=renumbered[above.labels])
        yield drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class _Padded:
    """The pixels of a cell with those seen before around it: labeled together, they tell which parts it goes on with."""

    values: NDArray[Any]
    """(h + top, w + side) pixels."""
    above: _Line | None
    """The row above the cell, with the pixel further left if there is a cell on the left; None at the raster's edge."""
    left: _Line | None
    """The column on the left; None at the raster's edge."""


def _pad(values: NDArray[Any], window: Window, above: _Line | None, row: Sequence[_Sheet]) -> _Padded:
    left = row[-1].right if row else None
    top, side = int(above is not None), int(left is not None)
    padded = np.empty((values.shape[0] + top, values.shape[1] + side), values.dtype)
    padded[top:, side:], cut = values, None
    if above is not None:
        cut = above.cut(slice(int(window.col_off) - side, int(window.col_off + window.width)))
        padded[0] = cut.values
    if left is not None:
        padded[top:, 0] = left.values
    return _Padded(values=padded, above=cut, left=left)


def _scan(task: _Task, window: Window, padded: _Padded, seen: int) -> _Sheet:
    """Find the components and borders of one cell; ``seen`` parts were numbered before."""
    height, width, row, col = int(window.height), int(window.width), int(window.row_off), int(window.col_off)
    top, side = int(padded.above is not None), int(padded.left is not None)
    values = padded.values
    framed = np.zeros((height + 2, width + 2), np.int32)
    labels = framed[1 - top : -1, 1 - side : -1]
    count = label(values, task.background, labels)
    found = measure(values, labels, count, (top, side), (row - top, col - side, task.shape[1]))
    joints = [np.empty((0, 2), np.int64)]
    if padded.above is not None:
        joints.append(_pair(labels[0], padded.above.labels, seen))
    if padded.left is not None:
        joints.append(_pair(labels[top:, 0], padded.left.labels, seen))
    is_last = (row + height == task.shape[0], col + width == task.shape[1])
    classes = np.concatenate([[0], np.unique(found[0], return_inverse=True)[1] + 1])
    arcs = _draw_arcs(task, framed, is_last, (row, col, task.shape[1] + 1), classes)
    diagonals = find_diagonals(values, labels) if task.options.connectivity == 8 else np.empty((0, 2), np.int64)
    parts = _Parts(
        values=found[0],
        first=found[1],
        pixels=found[2],
        joints=np.concatenate(joints),
        diagonals=diagonals + seen,
        arcs=arcs._replace(sides=_number(arcs.sides, seen)),
    )
    return _Sheet(
        parts=parts,
        bottom=_Line(values=values[-1, side:].copy(), labels=_number(labels[-1, side:], seen)),
        right=_Line(values=values[top:, -1].copy(), labels=_number(labels[top:, -1], seen)),
    )


def _draw_arcs(
    task: _Task, framed: NDArray[np.int32], is_last: tuple[bool, bool], origin: tuple[int, int, int], classes: NDArray[np.int64]
) -> Arcs:
    """Follow the borders of a cell, simplify and smooth them, and move them to their place in the raster."""
    options, cell = task.options, (framed.shape[0] - 2, framed.shape[1] - 2)
    web = find_web(framed, is_last)
    states = mark_ends(web, cell)
    if options.simplify_m > 0:
        # The slack keeps borders that lie at the tolerance exactly (whole pixels) on one side of it, whatever the rounding.
        limit = options.simplify_m**2 * (1 + 1e-9)
        method, cut_off = _METHODS[options.method], share_cut_off(options.smooth_rounds)
        measures = Measures(*size_at(task.pixel_m, origin[0] + cell[0] / 2), limit, method, cut_off)
        simplify(web, states, cell, measures, classes, options.cover_background)
    arcs = collect_arcs(web, states, origin)
    if options.smooth_rounds > 0:
        arcs = smooth(arcs, cell, options.smooth_rounds, options.cover_background)
    return arcs._replace(x=arcs.x + origin[1], y=arcs.y + origin[0])


def _draw_complete(parts: _Parts, frontier: NDArray[np.int64]) -> tuple[Patches, _Parts, NDArray[np.int64]]:
    """Draw the patches that do not reach the frontier.

    Args:
        parts: All parts that are not drawn yet.
        frontier: Parts along the last row of pixels; empty at the end of the raster.

    Returns:
        The patches; what is left; and (number of parts + 1,) new numbers of the parts that are left.
    """
    count = len(parts.values)
    roots = unite_all(parts.joints, count)
    groups = unite_all(np.concatenate([parts.joints, parts.diagonals]), count)
    is_open = np.zeros(count + 1, np.bool_)
    is_open[groups[frontier]] = True
    is_open = is_open[groups]
    heads = np.flatnonzero(roots == np.arange(count + 1))[1:]
    first, pixels = _sum_up(parts, roots)
    arcs = parts.arcs._replace(sides=np.where(parts.arcs.sides > 0, roots[np.maximum(parts.arcs.sides, 0)], parts.arcs.sides))
    patches = _draw_groups(replace(parts, arcs=arcs), groups, heads[~is_open[heads]], (first, pixels))
    left = heads[is_open[heads]]
    renumbered = np.zeros(count + 1, np.int64)
    renumbered[left] = np.arange(1, len(left) + 1)
    renumbered = renumbered[roots]
    # A component that was drawn keeps a number of its own: two neighbors must not be taken for one.
    names = np.where(renumbered > 0, renumbered, -1 - first[roots])
    names[0] = 0
    sides = np.where(arcs.sides > 0, names[np.maximum(arcs.sides, 0)], arcs.sides)
    open_arcs = take_arcs(arcs._replace(sides=sides), sides.max(axis=1, initial=0) > 0)
    rest = _Parts(
        values=parts.values[left - 1],
        first=first[left],
        pixels=pixels[left],
        joints=np.empty((0, 2), np.int64),
        diagonals=np.column_stack([renumbered[groups[left]], renumbered[left]]),
        arcs=open_arcs,
    )
    return patches, rest, renumbered


def _sum_up(parts: _Parts, roots: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first pixel and pixels at the root of each component, (n + 1,)."""
    first, pixels = np.full(len(roots), np.iinfo(np.int64).max), np.zeros(len(roots), np.int64)
    np.minimum.at(first, roots[1:], parts.first)
    np.add.at(pixels, roots[1:], parts.pixels)
    return first, pixels


def _draw_groups(
    parts: _Parts, groups: NDArray[np.int64], done: NDArray[np.int64], sums: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> Patches:
    """Draw complete components, given by their roots, and gather those of one group."""
    order = done[np.argsort(sums[0][done])]
    ranks = np.zeros(len(groups), np.int64)
    ranks[order] = np.arange(1, len(order) + 1)
    chosen = ranks[np.maximum(parts.arcs.sides, 0)].max(axis=1, initial=0) > 0
    polygons = build_polygons(parts.arcs, chosen, ranks)
    _, heads, member = np.unique(_ranked(groups[order]), return_index=True, return_inverse=True)
    pixels = np.bincount(member, sums[1][order], minlength=len(heads)).astype(np.int64)
    if len(heads) < len(order):
        by_group = np.argsort(member, kind="stable")
        many = np.asarray(shapely.multipolygons(polygons[by_group], indices=member[by_group]), dtype=np.object_)
        polygons = np.where(np.bincount(member) > 1, many, polygons[heads])
    return Patches(values=parts.values[order[heads] - 1], polygons=polygons, pixels=pixels, first=sums[0][order[heads]])


def _ranked(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number groups in the order in which they come up."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    ranks = np.empty(len(first), np.int64)
    ranks[np.argsort(first)] = np.arange(len(first))
    return ranks[inverse]


def _number(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Go on with the numbers of the cells before; background stays 0."""
    return np.where(labels > 0, labels.astype(np.int64) + count, 0)


def _pair(labels: NDArray[np.int32], seen: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return (k, 2) parts of a cell and of earlier cells that share pixels; runs of one pair count once."""
    pairs = np.column_stack([_number(labels, count), seen])
    new = np.ones(len(pairs), np.bool_)
    new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    return pairs[new & (labels > 0)]


def _concatenate(parts: Sequence[_Parts]) -> _Parts:
    """Join parts that are numbered one after another."""
    return _Parts(
        values=np.concatenate([part.values for part in parts]),
        first=np.concatenate([part.first for part in parts]),
        pixels=np.concatenate([part.pixels for part in parts]),
        joints=np.concatenate([part.joints for part in parts]),
        diagonals=np.concatenate([part.diagonals for part in parts]),
        arcs=join_arcs([part.arcs for part in parts]),
    )


def _nothing() -> _Parts:
    none, pairs = np.empty(0, np.int64), np.empty((0, 2), np.int64)
    return _Parts(values=none, first=none, pixels=none, joints=pairs, diagonals=pairs, arcs=join_arcs([]))
