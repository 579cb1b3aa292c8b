"""Merge small patches of a class raster into their neighbors."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.objects.borders.components import label, unite_all
from geoseg.objects.borders.merging import find_all, merge_small
from geoseg.objects.borders.pixelsize import PixelSize, size_at
from geoseg.pixels.kernel import entry, kernel
from geoseg.tiling import partition, place

_BITS = 31
NO_BACKGROUND = int(np.iinfo(np.int64).min)


@dataclass(frozen=True, slots=True, kw_only=True)
class SieveOptions:
    """Which patches are merged."""

    min_area_m2: float
    """Smaller patches are merged, m2 on the ground."""
    connectivity: Literal[4, 8] = 4
    """8: pixels that touch diagonally belong to one patch."""
    background: int | None = None
    """Value that neither is merged nor takes anything; None: every value does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclosedOptions:
    """Which patches are replaced since they lie inside others."""

    value: int
    """Of the patches."""
    inside: int
    """Value around them."""
    becomes: int
    """What they become."""
    min_share: float
    """Share of a patch's border that is to ``inside``; borders to the background and to the edge of the raster do not count."""
    background: int
    """Value that takes no part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Graph:
    """Components of all cells, numbered from 1 cell by cell."""

    values: NDArray[np.int64]
    """(n,) raster values."""
    first: NDArray[np.int64]
    """(n,) first pixels in row-major order."""
    areas_m2: NDArray[np.float64]
    """(n,) areas."""
    joints: NDArray[np.int64]
    """(k, 2) components that are one."""
    pairs: NDArray[np.int64]
    """(m, 2) components of different value side by side."""
    length_m: NDArray[np.float64]
    """(m,) their shared border; 0 where they only touch diagonally."""
    offsets: NDArray[np.int64]
    """(cells + 1,) numbers before those of each cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What stays the same for all cells."""

    read: Callable[[Window], NDArray[Any]]
    """Returns the pixels of a window."""
    shape: tuple[int, int]
    """Raster (H, W)."""
    pixel_m: PixelSize
    """Pixel on the ground."""
    row_areas_m2: NDArray[np.float64]
    """(H,) area of a pixel in each row."""
    background: int
    """Value that takes no part."""
    connectivity: int
    """4 or 8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line of pixels along a cell."""

    values: NDArray[Any]
    """(n,) raster values."""
    labels: NDArray[np.int64]
    """(n,) components; 0 = background."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sieved:
    """Reads a raster with its small patches merged; picklable as far as ``source`` is."""

    source: Callable[[Window], NDArray[Any]]
    """Returns the pixels of a window of the raster as it was."""
    shape: tuple[int, int]
    """Raster (H, W)."""
    lattice_px: int
    """Side of the cells."""
    background: int
    """Value that takes no part."""
    offsets: NDArray[np.int64]
    """(cells + 1,) numbers before those of each cell."""
    changed: NDArray[np.int64]
    """(n,) components that change, ascending."""
    values: NDArray[np.int64]
    """(n,) their new values."""

    def __call__(self, window: Window) -> NDArray[Any]:
        """Return the pixels (h, w) of a window."""
        cells = _cells_under(window, self.shape, self.lattice_px)
        parts = [(cell, self._read_cell(number, cell)) for number, cell in cells]
        if len(parts) == 1 and parts[0][0] == window:
            return parts[0][1]
        pixels = np.empty((int(window.height), int(window.width)), parts[0][1].dtype)
        for cell, values in parts:
            shared = cell.intersection(window)
            pixels[place(shared, window)] = values[place(shared, cell)]
        return pixels

    def _read_cell(self, number: int, cell: Window) -> NDArray[Any]:
        values = np.asarray(self.source(cell))
        low, high = np.searchsorted(self.changed, [self.offsets[number] + 1, self.offsets[number + 1] + 1])
        if low == high:
            return values
        labels = np.zeros(values.shape, np.int32)
        label(values, self.background, labels)
        return _relabel(values, labels, self.changed[low:high] - self.offsets[number], self.values[low:high])


def sieve(
    read: Callable[[Window], NDArray[Any]],
    shape: tuple[int, int],
    pixel_m: PixelSize,
    options: SieveOptions,
    *,
    row_areas_m2: NDArray[np.float64] | None = None,
    lattice_px: int = 1024,
) -> Callable[[Window], NDArray[Any]]:
    """Merge small patches into their neighbors.

    The smallest patch goes first (of equal ones the one with the first pixel), takes the value of the neighbor that it
    shares the longest border with (of equal ones the larger), and is one patch with all neighbors of that value; until every
    patch is large enough or has no neighbor. The raster is read once to count patches and borders, and again where the result is
    read; memory holds a few numbers per patch and per pair of neighbors. The result does not depend on the lattice.

    Args:
        read: Returns the pixels of a window, (h, w) integers.
        shape: Raster (H, W).
        pixel_m: Width and height of a pixel on the ground, metres, or a function of the row; a cell takes those of its middle.
        options: Minimum area, connectivity and background.
        row_areas_m2: (H,) area of a pixel in each row; None takes that of ``pixel_m``.
        lattice_px: Side of the windows that are read.

    Returns:
        A function that reads the merged raster, window by window, in the type of the raster.
    """
    background = NO_BACKGROUND if options.background is None else options.background
    areas = _areas_of(pixel_m, shape[0]) if row_areas_m2 is None else row_areas_m2
    task = _Task(read=read, shape=shape, pixel_m=pixel_m, row_areas_m2=areas, background=background, connectivity=options.connectivity)
    graph = _survey(task, lattice_px)
    return _changed(task, graph, _merge(graph, options.min_area_m2), lattice_px)


def replace_enclosed(
    read: Callable[[Window], NDArray[Any]], shape: tuple[int, int], pixel_m: PixelSize, options: EnclosedOptions, *, lattice_px: int = 1024
) -> Callable[[Window], NDArray[Any]]:
    """Replace the patches of one value that lie inside patches of another.

    All of them are told by the raster as it was. Memory and cost are those of :func:`sieve`, and the result does not depend on the lattice.

    Args:
        read: Returns the pixels of a window, (h, w) integers.
        shape: Raster (H, W).
        pixel_m: Width and height of a pixel on the ground, metres, or a function of the row; a cell takes those of its middle.
        options: Which patches, and what they become.
        lattice_px: Side of the windows that are read.

    Returns:
        A function that reads the changed raster, window by window, in the type of the raster.
    """
    areas = _areas_of(pixel_m, shape[0])
    task = _Task(read=read, shape=shape, pixel_m=pixel_m, row_areas_m2=areas, background=options.background, connectivity=4)
    graph = _survey(task, lattice_px)
    roots = unite_all(graph.joints, len(graph.values))[1:]
    border, within = np.zeros(len(graph.values) + 1), np.zeros(len(graph.values) + 1)
    for one, other in (graph.pairs.T, graph.pairs.T[::-1]):
        np.add.at(border, roots[one - 1], graph.length_m)
        is_inside = graph.values[other - 1] == options.inside
        np.add.at(within, roots[one[is_inside] - 1], graph.length_m[is_inside])
    # a hair below, for sums of lengths in another order
    enclosed = (border > 0) & (within >= options.min_share * border * (1 - 1e-9))
    final = np.where((graph.values == options.value) & enclosed[roots], options.becomes, graph.values)
    return _changed(task, graph, final, lattice_px)


def _changed(task: _Task, graph: _Graph, final: NDArray[np.int64], lattice_px: int) -> _Sieved:
    """Return what reads a raster whose components have their final values, (n,)."""
    changed = np.flatnonzero(final != graph.values) + 1
    return _Sieved(
        source=task.read,
        shape=task.shape,
        lattice_px=lattice_px,
        background=task.background,
        offsets=graph.offsets,
        changed=changed,
        values=final[changed - 1],
    )


def _areas_of(pixel_m: PixelSize, rows: int) -> NDArray[np.float64]:
    if not callable(pixel_m):
        return np.full(rows, pixel_m[0] * pixel_m[1])
    return np.array([np.prod(pixel_m(row + 0.5)) for row in range(rows)])


def _cells_under(window: Window, shape: tuple[int, int], lattice_px: int) -> Iterator[tuple[int, Window]]:
    """Yield the cells of the lattice that a window touches, with their numbers."""
    columns = -(-shape[1] // lattice_px)
    for i in range(int(window.row_off) // lattice_px, -(-int(window.row_off + window.height) // lattice_px)):
        for j in range(int(window.col_off) // lattice_px, -(-int(window.col_off + window.width) // lattice_px)):
            top, left = i * lattice_px, j * lattice_px
            yield i * columns + j, Window(left, top, min(lattice_px, shape[1] - left), min(lattice_px, shape[0] - top))


def _survey(task: _Task, lattice_px: int) -> _Graph:
    """Read all cells, number their components one cell after another, and see what lies side by side."""
    known: list[tuple[NDArray[Any], ...]] = []
    meetings: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
    joints, offsets = [np.empty((0, 2), np.int64)], [0]
    above: _Line | None = None
    left: _Line | None = None
    below: list[_Line] = []
    for window in partition(task.shape, lattice_px):
        if window.col_off == 0:
            above, below, left = _join_lines(below), [], None
        values = np.asarray(task.read(window))
        labels = np.zeros(values.shape, np.int32)
        count = label(values, task.background, labels)
        known.append(_measure(values, labels, count, (int(window.row_off), int(window.col_off), task.shape[1]), task.row_areas_m2))
        framed = _frame(values, np.where(labels > 0, labels + np.int64(offsets[-1]), 0), above, left, int(window.col_off))
        pixel_m = size_at(task.pixel_m, window.row_off + window.height / 2)
        joined, pairs, lengths = _find_meetings(*framed, pixel_m, task.connectivity)
        joints.append(joined)
        meetings.append((pairs, lengths))
        offsets.append(offsets[-1] + count)
        below.append(_Line(values=values[-1].copy(), labels=framed[1][-1, 1:].copy()))
        left = _Line(values=values[:, -1].copy(), labels=framed[1][1:, -1].copy())
    found = [np.concatenate(arrays) for arrays in zip(*known, strict=True)]
    pairs, lengths = (np.concatenate(arrays) for arrays in zip(*meetings, strict=True))
    return _Graph(
        values=found[0],
        first=found[1],
        areas_m2=found[2],
        joints=np.concatenate(joints),
        pairs=pairs,
        length_m=lengths,
        offsets=np.asarray(offsets),
    )


def _join_lines(lines: list[_Line]) -> _Line | None:
    if not lines:
        return None
    return _Line(values=np.concatenate([line.values for line in lines]), labels=np.concatenate([line.labels for line in lines]))


def _frame(
    values: NDArray[Any], labels: NDArray[np.int64], above: _Line | None, left: _Line | None, col: int
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Put the pixels above and on the left around a cell, (h + 1, w + 1); outside the raster their label is 0."""
    height, width = values.shape
    framed, numbers = np.zeros((height + 1, width + 1), values.dtype), np.zeros((height + 1, width + 1), np.int64)
    framed[1:, 1:], numbers[1:, 1:] = values, labels
    if above is not None:
        start = max(col - 1, 0)
        framed[0, start - col + 1 :], numbers[0, start - col + 1 :] = above.values[start : col + width], above.labels[start : col + width]
    if left is not None:
        framed[1:, 0], numbers[1:, 0] = left.values, left.labels
    return framed, numbers


def _find_meetings(
    values: NDArray[Any], labels: NDArray[np.int64], pixel_m: tuple[float, float], connectivity: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return (k, 2) components that are one; (m, 2) others that meet, and (m,) the length of their border."""
    joints, pairs, lengths = [], [], []
    # an edge between pixels one above the other is as long as a pixel is wide
    steps = [((0, 1, 0), pixel_m[0]), ((0, 0, 1), pixel_m[1])]
    if connectivity == 8:
        steps += [((0, 1, 1), 0.0), ((1, 1, 0), 0.0)]
    for step, length_m in steps:
        met, same = _meet(values, labels, step)
        joints.append(_split(np.unique(met[same])))
        different, counts = np.unique(met[~same], return_counts=True)
        pairs.append(_split(different))
        lengths.append(counts * length_m)
    return np.concatenate(joints), np.concatenate(pairs), np.concatenate(lengths)


def _split(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (k, 2) numbers that were packed into one, which sorts much faster."""
    return np.column_stack([pairs >> _BITS, pairs & ((1 << _BITS) - 1)])


@entry
def _meet(values: NDArray[Any], labels: NDArray[np.int64], step: tuple[int, int, int]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return (k,) pairs of components of pixels (i, j - step 0) and (i - step 1, j - step 2), and whether they have one value."""
    k = 0
    for i in range(1, labels.shape[0]):
        for j in range(1, labels.shape[1]):
            a, b = labels[i, j - step[0]], labels[i - step[1], j - step[2]]
            k += a != b and a > 0 and b > 0
    pairs, same = np.empty(k, np.int64), np.empty(k, np.bool_)
    k = 0
    for i in range(1, labels.shape[0]):
        for j in range(1, labels.shape[1]):
            a, b = labels[i, j - step[0]], labels[i - step[1], j - step[2]]
            if a != b and a > 0 and b > 0:
                pairs[k] = min(a, b) << _BITS | max(a, b)
                same[k] = values[i, j - step[0]] == values[i - step[1], j - step[2]]
                k += 1
    return pairs, same


@entry
def _measure(
    values: NDArray[Any], labels: NDArray[np.int32], count: int, origin: tuple[int, int, int], row_areas_m2: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return value, first pixel and area of each component of a cell."""
    value_of, first, areas = np.empty(count, np.int64), np.full(count, -1, np.int64), np.zeros(count, np.float64)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            part = labels[i, j] - 1
            if part >= 0:
                areas[part] += row_areas_m2[origin[0] + i]
                if first[part] < 0:
                    first[part], value_of[part] = (origin[0] + i) * origin[2] + origin[1] + j, values[i, j]
    return value_of, first, areas


def _merge(graph: _Graph, min_area_m2: float) -> NDArray[np.int64]:
    """Return the value that each component has in the end, (n,)."""
    count = len(graph.values)
    roots = unite_all(graph.joints, count)
    values, areas, first = np.zeros(count + 1, np.int64), np.zeros(count + 1), np.full(count + 1, np.iinfo(np.int64).max)
    values[1:] = graph.values
    np.add.at(areas, roots[1:], graph.areas_m2)
    np.minimum.at(first, roots[1:], graph.first)
    pairs = roots[graph.pairs]
    # what two large patches share never matters
    matters = (areas[pairs] < min_area_m2).any(axis=1)
    merge_small(roots, (values, areas, first), pairs[matters], graph.length_m[matters], min_area_m2)
    return values[find_all(roots)][1:]


@kernel
def _relabel(values: NDArray[Any], labels: NDArray[np.int32], changed: NDArray[np.int64], new_values: NDArray[np.int64]) -> NDArray[Any]:
    """Return the pixels of a cell with some of its components changed."""
    result = values.copy()
    for i in range(labels.shape[0]):
        for j in range(labels.shape[1]):
            if labels[i, j] > 0:
                place_of = np.searchsorted(changed, labels[i, j])
                if place_of < len(changed) and changed[place_of] == labels[i, j]:
                    result[i, j] = new_values[place_of]
    return result
