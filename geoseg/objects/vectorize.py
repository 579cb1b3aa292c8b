"""Label rasters to polygons, streamed: what is kept is one cell of pixels and the simplified borders of patches still open."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.objects.borders.arcs import take_arcs
from geoseg.objects.borders.cells import Line, Parts, Sheet, Task, join_parts, no_parts, pad, scan
from geoseg.objects.borders.components import unite_all
from geoseg.objects.borders.patches import Patches, join_patches
from geoseg.objects.borders.pixelsize import PixelSize
from geoseg.objects.borders.rings import build_polygons
from geoseg.objects.borders.sieve import SieveOptions, sieve
from geoseg.objects.options import VectorizeOptions
from geoseg.tiling import partition

__all__ = ["LATTICE_PX", "Patches", "VectorizeOptions", "gather_patches", "join_patches", "stream_polygons", "vectorize"]

BATCH_VERTICES = 250_000
"""So many vertices are held before they are written: some ten megabytes."""

LATTICE_PX = 1024
"""Side of a cell. Results depend on it, since a vertex stands wherever a border crosses a line of the lattice; so it is fixed."""


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
    task = Task(read=read, shape=shape, pixel_m=pixel_m, options=options)
    above, pending = None, no_parts()
    for _, windows in groupby(partition(shape, lattice_px), key=lambda w: int(w.row_off)):
        row: list[Sheet] = []
        count = len(pending.values)
        for window in windows:
            row.append(scan(task, window, pad(np.asarray(read(window)), window, above, row), count))
            count += len(row[-1].parts.values)
        parts = join_parts([pending, *(sheet.parts for sheet in row)])
        above = Line(
            values=np.concatenate([sheet.bottom.values for sheet in row]),
            labels=np.concatenate([sheet.bottom.labels for sheet in row]),
        )
        is_last = window.row_off + window.height == shape[0]
        drawn, pending, renumbered = _draw_complete(parts, np.zeros(0, np.int64) if is_last else above.labels)
        above = Line(values=above.values, labels=renumbered[above.labels])
        yield drawn


def gather_patches(batches: Iterator[Patches], vertices: int = BATCH_VERTICES) -> Iterator[Patches]:
    """Put small batches together, since each one costs the opening of a file; the first may be empty, and there is always one."""
    waiting: list[Patches] = []
    count, is_first = 0, True
    for batch in batches:
        waiting.append(batch)
        count += int(shapely.get_num_coordinates(batch.polygons).sum())
        if count >= vertices:
            yield join_patches(waiting)
            waiting, count, is_first = [], 0, False
    if is_first or any(len(batch) for batch in waiting):
        yield join_patches(waiting)


def _draw_complete(parts: Parts, frontier: NDArray[np.int64]) -> tuple[Patches, Parts, NDArray[np.int64]]:
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
    rest = Parts(
        values=parts.values[left - 1],
        first=first[left],
        pixels=pixels[left],
        joints=np.empty((0, 2), np.int64),
        diagonals=np.column_stack([renumbered[groups[left]], renumbered[left]]),
        arcs=open_arcs,
    )
    return patches, rest, renumbered


def _sum_up(parts: Parts, roots: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first pixel and pixels at the root of each component, (n + 1,)."""
    first, pixels = np.full(len(roots), np.iinfo(np.int64).max), np.zeros(len(roots), np.int64)
    np.minimum.at(first, roots[1:], parts.first)
    np.add.at(pixels, roots[1:], parts.pixels)
    return first, pixels


def _draw_groups(
    parts: Parts, groups: NDArray[np.int64], done: NDArray[np.int64], sums: tuple[NDArray[np.int64], NDArray[np.int64]]
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
