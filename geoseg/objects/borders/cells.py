"""One cell of a label raster: its components, their borders, and how both go on in the cells around."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.objects.borders.arcs import Arcs, collect_arcs, find_web, join_arcs, mark_ends
from geoseg.objects.borders.choose import DOUGLAS_PEUCKER, VISVALINGAM, Measures
from geoseg.objects.borders.components import find_diagonals, label, measure
from geoseg.objects.borders.pixelsize import PixelSize, size_at
from geoseg.objects.borders.sieve import NO_BACKGROUND
from geoseg.objects.borders.simplify import simplify
from geoseg.objects.borders.smooth import share_cut_off, smooth
from geoseg.objects.options import VectorizeOptions

_METHODS = {"douglas-peucker": DOUGLAS_PEUCKER, "visvalingam": VISVALINGAM}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What stays the same for all cells."""

    read: Callable[[Window], NDArray[Any]]
    """Returns the pixels of a window."""
    shape: tuple[int, int]
    """Raster (H, W)."""
    pixel_m: PixelSize
    """Pixel on the ground."""
    options: VectorizeOptions
    """How polygons are drawn."""

    @property
    def background(self) -> int:
        """Value that gets no polygons."""
        return NO_BACKGROUND if self.options.background is None else self.options.background


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of pixels along a cell."""

    values: NDArray[Any]
    """(n,) raster values."""
    labels: NDArray[np.int64]
    """(n,) parts; 0 = background."""

    def cut(self, cols: slice) -> "Line":
        """Return some pixels of the line."""
        return Line(values=self.values[cols], labels=self.labels[cols])


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
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
class Sheet:
    """What is kept of a cell once it was read."""

    parts: Parts
    """Its components and borders."""
    bottom: Line
    """(w,) last row of pixels."""
    right: Line
    """(h,) last column of pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Padded:
    """The pixels of a cell with those seen before around it: labeled together, they tell which parts it goes on with."""

    values: NDArray[Any]
    """(h + top, w + side) pixels."""
    above: Line | None
    """The row above the cell, with the pixel further left if there is a cell on the left; None at the raster's edge."""
    left: Line | None
    """The column on the left; None at the raster's edge."""


def pad(values: NDArray[Any], window: Window, above: Line | None, row: Sequence[Sheet]) -> Padded:
    """Put the pixels above and on the left around those of a cell; ``row`` are the cells on the left."""
    left = row[-1].right if row else None
    top, side = int(above is not None), int(left is not None)
    padded = np.empty((values.shape[0] + top, values.shape[1] + side), values.dtype)
    padded[top:, side:] = values
    cut = None
    if above is not None:
        cut = above.cut(slice(int(window.col_off) - side, int(window.col_off + window.width)))
        padded[0] = cut.values
    if left is not None:
        padded[top:, 0] = left.values
    return Padded(values=padded, above=cut, left=left)


def scan(task: Task, window: Window, padded: Padded, seen: int) -> Sheet:
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
    parts = Parts(
        values=found[0],
        first=found[1],
        pixels=found[2],
        joints=np.concatenate(joints),
        diagonals=diagonals + seen,
        arcs=arcs._replace(sides=_number(arcs.sides, seen)),
    )
    return Sheet(
        parts=parts,
        bottom=Line(values=values[-1, side:].copy(), labels=_number(labels[-1, side:], seen)),
        right=Line(values=values[top:, -1].copy(), labels=_number(labels[top:, -1], seen)),
    )


def _draw_arcs(
    task: Task, framed: NDArray[np.int32], is_last: tuple[bool, bool], origin: tuple[int, int, int], classes: NDArray[np.int64]
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


def _number(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Go on with the numbers of the cells before; background stays 0."""
    return np.where(labels > 0, labels.astype(np.int64) + count, 0)


def _pair(labels: NDArray[np.int32], seen: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return (k, 2) parts of a cell and of earlier cells that share pixels; runs of one pair count once."""
    pairs = np.column_stack([_number(labels, count), seen])
    new = np.ones(len(pairs), np.bool_)
    new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    return pairs[new & (labels > 0)]


def join_parts(parts: Sequence[Parts]) -> Parts:
    """Join parts that are numbered one after another."""
    return Parts(
        values=np.concatenate([part.values for part in parts]),
        first=np.concatenate([part.first for part in parts]),
        pixels=np.concatenate([part.pixels for part in parts]),
        joints=np.concatenate([part.joints for part in parts]),
        diagonals=np.concatenate([part.diagonals for part in parts]),
        arcs=join_arcs([part.arcs for part in parts]),
    )


def no_parts() -> Parts:
    """Return no parts."""
    none, pairs = np.empty(0, np.int64), np.empty((0, 2), np.int64)
    return Parts(values=none, first=none, pixels=none, joints=pairs, diagonals=pairs, arcs=join_arcs([]))
