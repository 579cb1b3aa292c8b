"""Label rasters to polygons, block by block, exact under any blocking."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.errors import ConfigError, MemoryLimitError
from geoseg.objects.arcs import Corners, Rings, Web, find_corners, kernel, link, simplify, trace

_NO_BACKGROUND = int(np.iinfo(np.int64).min)
_NOWHERE = int(np.iinfo(np.int64).max)
_MAX_CORNERS = 2**29 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorizeOptions:
    """How polygons are drawn.

    Raises:
        ConfigError: If the tolerance is negative or not finite.
    """

    simplify_m: float = 0.0
    """How far a border may move when it is simplified, metres on the ground; 0 keeps the pixel edges.
    From 1.5 pixels on, slanted borders lose all their stairs."""
    background: int | None = None
    """Value that gets no polygons: 255 for class maps, 0 for instance labels; None draws every value."""
    cover_background: bool = True
    """False: simplified polygons never cover background pixels; borders on background are then simplified inwards only."""

    def __post_init__(self) -> None:
        if not 0 <= self.simplify_m < np.inf:
            raise ConfigError(f"The simplification tolerance must be 0 m or more; got {self.simplify_m}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """One polygon per 4-connected component of equal value, in the row-major order of their first pixels."""

    values: NDArray[np.int64]
    """(n,) raster value of each polygon."""
    polygons: NDArray[np.object_]
    """(n,) shapely Polygon in pixel coordinates (x = column, y = row, whole numbers). Exteriors have a positive signed area in
    (x, y), which looks clockwise on a screen, holes a negative one. Corners where three patches meet are vertices of all three."""
    pixels: NDArray[np.int64]
    """(n,) pixels of each component; the polygon's area unless it was simplified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line of pixels along a block face."""

    values: NDArray[Any]
    """(n,) raster values."""
    labels: NDArray[np.int64]
    """(n,) components, numbered over all blocks from 1; 0 = background."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What the blocks before leave to the next one."""

    above: _Line | None
    """(w,) pixels above the block, with the one further left if there is a block on the left; None at the raster's edge."""
    left: _Line | None
    """(h,) pixels on the left; None at the raster's edge."""
    count: int
    """Components numbered so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """Components of some blocks, and how they are connected with those of earlier blocks."""

    values: NDArray[np.int64]
    """(n,) raster values."""
    first: NDArray[np.int64]
    """(n,) first pixels, counted over the raster in row-major order."""
    pixels: NDArray[np.int64]
    """(n,) pixel counts."""
    joints: NDArray[np.int64]
    """(k, 2) components that are one, numbered over all blocks from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """What is kept of a block once it was read."""

    corners: Corners
    """Border corners at the upper left of its pixels."""
    parts: _Parts
    """Its components."""
    bottom: _Line
    """(w,) last row of pixels."""
    right: _Line
    """(h,) last column of pixels."""


def vectorize(
    read: Callable[[Window], NDArray[Any]],
    shape: tuple[int, int],
    blocks: Iterable[Window],
    pixel_m: tuple[float, float],
    options: VectorizeOptions,
) -> Patches:
    """Draw one polygon around each 4-connected component of equal value.

    Every pixel is read once. Memory holds one block, one row of the raster and the corners of the borders, and the result is
    the same, to the last coordinate, for every way of cutting the raster into blocks. Polygons are valid and form a valid
    coverage (``shapely.coverage_is_valid``), simplified or not: each border is simplified once, for both its neighbors, no
    component vanishes, and the raster's four corners stay. A border stays within ``simplify_m`` of where it was; where it would
    have touched another border, within twice as much.

    Args:
        read: Returns the pixels of a window, (h, w) integers of up to 32 bits.
        shape: Raster (H, W).
        blocks: Rectangles that partition the raster, in any order; those of a block row share their rows.
        pixel_m: Width and height of a pixel on the ground, metres.
        options: Tolerance and background.

    Returns:
        Polygons in pixel coordinates with their values and pixel counts.

    Raises:
        MemoryLimitError: If the borders have more than 2^29 corners.
    """
    corners, parts = _survey(read, shape, blocks, _NO_BACKGROUND if options.background is None else options.background)
    order, ranks = _join(parts)
    web = link(corners, ranks, shape[1])
    if options.simplify_m > 0:
        simplify(web, shape, pixel_m, options.simplify_m, options.cover_background)
    return Patches(values=parts.values[order], polygons=_draw(web), pixels=parts.pixels[order])


def _survey(
    read: Callable[[Window], NDArray[Any]], shape: tuple[int, int], blocks: Iterable[Window], background: int
) -> tuple[Corners, _Parts]:
    """Read all blocks; return the corners in row-major order and the components of all blocks."""
    in_order = sorted(blocks, key=lambda w: (w.row_off, w.col_off))
    assert sum(w.height * w.width for w in in_order) == shape[0] * shape[1], "the blocks do not partition the raster"
    corners: list[Corners] = []
    parts: list[_Parts] = []
    above, count = None, 0
    for _, windows in groupby(in_order, key=lambda w: int(w.row_off)):
        row: list[_Sheet] = []
        for window in windows:
            left = row[-1].right if row else None
            seen = _Seen(above=_cut(above, window, left is not None), left=left, count=count)
            row.append(_scan(np.asarray(read(window)), window, shape, background, seen))
            count += len(row[-1].parts.values)
        above = _Line(
            values=np.concatenate([sheet.bottom.values for sheet in row]),
            labels=np.concatenate([sheet.bottom.labels for sheet in row]),
        )
        corners.append(_zip_rows([sheet.corners for sheet in row]))
        parts.extend(sheet.parts for sheet in row)
        _check_count(sum(len(c.x) for c in corners))
    return _concatenate(corners), _Parts(
        values=np.concatenate([part.values for part in parts]),
        first=np.concatenate([part.first for part in parts]),
        pixels=np.concatenate([part.pixels for part in parts]),
        joints=np.concatenate([part.joints for part in parts]),
    )


def _scan(values: NDArray[Any], window: Window, shape: tuple[int, int], background: int, seen: _Seen) -> _Sheet:
    """Find the corners and components of one block."""
    height, width = values.shape
    row, col = int(window.row_off), int(window.col_off)
    top, side = int(seen.above is not None), int(seen.left is not None)
    padded = _pad(values, seen)
    framed = np.zeros((height + 2, width + 2), np.int32)
    labels = framed[1 - top : -1, 1 - side : -1]
    count = _label(padded, background, labels)
    found = _measure(padded, labels, count, (top, side), (row - top, col - side, shape[1]))
    joints = [np.empty((0, 2), np.int64)]
    if seen.above is not None:
        joints.append(_pair(labels[0], seen.above.labels, seen.count))
    if seen.left is not None:
        joints.append(_pair(labels[top:, 0], seen.left.labels, seen.count))
    corners = find_corners(framed, height + (row + height == shape[0]), width + (col + width == shape[1]))
    sides = _number(corners.sides, seen.count).astype(np.int32)
    return _Sheet(
        corners=Corners(corners.x + np.int32(col), corners.y + np.int32(row), corners.edges, sides),
        parts=_Parts(values=found[0], first=found[1], pixels=found[2], joints=np.concatenate(joints)),
        bottom=_Line(values=values[-1].copy(), labels=_number(labels[-1, side:], seen.count)),
        right=_Line(values=values[:, -1].copy(), labels=_number(labels[top:, -1], seen.count)),
    )


def _pad(values: NDArray[Any], seen: _Seen) -> NDArray[Any]:
    """Put the pixels seen before around a block: labeled with it, they tell which components it goes on with."""
    top, side = int(seen.above is not None), int(seen.left is not None)
    padded = np.empty((values.shape[0] + top, values.shape[1] + side), values.dtype)
    padded[top:, side:] = values
    if seen.above is not None:
        padded[0] = seen.above.values
    if seen.left is not None:
        padded[top:, 0] = seen.left.values
    return padded


def _cut(line: _Line | None, window: Window, with_left: bool) -> _Line | None:
    """Return the part of a raster row above a block."""
    if line is None:
        return None
    cols = slice(window.col_off - with_left, window.col_off + window.width)
    return _Line(values=line.values[cols], labels=line.labels[cols])


def _number(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Go on with the numbers of the blocks before; background stays 0."""
    return np.where(labels > 0, labels + np.int64(count), 0)


def _pair(labels: NDArray[np.int32], seen: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return (k, 2) components of a block and of earlier blocks that share pixels; runs of one pair count once."""
    pairs = np.column_stack([_number(labels, count), seen])
    new = np.ones(len(pairs), np.bool_)
    new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    return pairs[new & (labels > 0)]


def _zip_rows(blocks: Sequence[Corners]) -> Corners:
    """Join the corners of the blocks of one row, each in row-major order, from left to right."""
    corners = _concatenate(blocks)
    order = np.argsort(corners.y, kind="stable")
    return Corners(corners.x[order], corners.y[order], corners.edges[order], corners.sides[order])


def _concatenate(corners: Sequence[Corners]) -> Corners:
    x, y, edges, sides = zip(*corners, strict=True)
    return Corners(np.concatenate(x), np.concatenate(y), np.concatenate(edges), np.concatenate(sides))


def _check_count(corners: int) -> None:
    if corners > _MAX_CORNERS:
        raise MemoryLimitError(
            f"Borders may have {_MAX_CORNERS:,} corners; these have {corners:,} or more. Smooth the raster or vectorize it in parts."
        )


def _join(parts: _Parts) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Join components over block faces; ``first`` and ``pixels`` of a joined one go to the row with its smallest number.

    Returns:
        (n,) rows of the joined components in the order of their first pixels, and (number of parts + 1,) the rank in this order,
        from 1, of the component that each part belongs to.
    """
    roots = _unite_all(parts.joints, parts.first, parts.pixels)
    heads = np.flatnonzero(roots[1:] == np.arange(1, len(roots)))
    order = heads[np.argsort(parts.first[heads])]
    ranks = np.zeros(len(roots), np.int32)
    ranks[order + 1] = np.arange(1, len(order) + 1)
    return order, ranks[roots]


def _draw(web: Web) -> NDArray[np.object_]:
    """Build the polygons: exteriors in the order of their components, each followed by its holes."""
    rings = trace(web)
    order = np.lexsort((rings.is_hole, rings.component))
    points, starts = _place(web, rings, order)
    shells = np.append(np.flatnonzero(~rings.is_hole[order]), len(order))
    return np.asarray(shapely.from_ragged_array(shapely.GeometryType.POLYGON, points, (starts, shells)), dtype=np.object_)


@kernel
def _place(web: Web, rings: Rings, order: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the closed rings in a given order: (m + r, 2) x and y in pixels, and (r + 1,) where each starts."""
    points = np.empty((len(rings.path) + len(order), 2), np.float64)
    starts = np.zeros(len(order) + 1, np.int64)
    n = 0
    for k in range(len(order)):
        first = n
        for m in range(rings.starts[order[k]], rings.starts[order[k] + 1]):
            points[n, 0], points[n, 1] = web.x[rings.path[m]], web.y[rings.path[m]]
            n += 1
        points[n] = points[first]
        n += 1
        starts[k + 1] = n
    return points, starts


@kernel
def _label(values: NDArray[Any], background: int, labels: NDArray[np.int32]) -> int:
    """Write 4-connected components of equal value into ``labels``, from 1, background 0; return how many there are."""
    parents = np.zeros(values.size + 1, np.int32)
    count = 0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            value = values[i, j]
            if value == background:
                continue
            left = j > 0 and values[i, j - 1] == value
            above = i > 0 and values[i - 1, j] == value
            if left:
                labels[i, j] = labels[i, j - 1]
                # With the same value in the corner between them the two are connected already.
                if above and values[i - 1, j - 1] != value:
                    _unite(parents, labels[i, j], labels[i - 1, j])
            elif above:
                labels[i, j] = labels[i - 1, j]
            else:
                count += 1
                parents[count] = count
                labels[i, j] = count
    return _renumber(parents, count, labels)


@kernel
def _renumber(parents: NDArray[np.int32], count: int, labels: NDArray[np.int32]) -> int:
    """Replace provisional labels by the ranks of their roots; return how many roots there are."""
    roots = 0
    for label in range(1, count + 1):
        if parents[label] == label:
            roots += 1
            parents[label] = roots
        else:
            parents[label] = parents[parents[label]]
    for i in range(labels.shape[0]):
        for j in range(labels.shape[1]):
            labels[i, j] = parents[labels[i, j]]
    return roots


@kernel
def _measure(
    values: NDArray[Any], labels: NDArray[np.int32], count: int, inner: tuple[int, int], origin: tuple[int, int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return value, first pixel and pixel count of each component; pixels above and left of ``inner`` are not counted."""
    value_of, pixels = np.zeros(count, np.int64), np.zeros(count, np.int64)
    first = np.full(count, _NOWHERE, np.int64)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            part = labels[i, j] - 1
            if part < 0:
                continue
            value_of[part] = values[i, j]
            if i >= inner[0] and j >= inner[1]:
                if pixels[part] == 0:
                    first[part] = (origin[0] + i) * origin[2] + origin[1] + j
                pixels[part] += 1
    return value_of, first, pixels


@kernel
def _unite_all(joints: NDArray[np.int64], first: NDArray[np.int64], pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join components; add up ``first`` and ``pixels`` at the smallest number of each and return that number, 0 for background."""
    roots = np.arange(len(first) + 1)
    for k in range(len(joints)):
        _unite(roots, joints[k, 0], joints[k, 1])
    for part in range(1, len(roots)):
        root = roots[roots[part]]
        roots[part] = root
        if root != part:
            first[root - 1] = min(first[root - 1], first[part - 1])
            pixels[root - 1] += pixels[part - 1]
    return roots


@kernel
def _unite(parents: NDArray[Any], a: int, b: int) -> None:
    """Join two trees under the smaller root, halving the paths on the way up."""
    while parents[a] != a:
        parents[a] = parents[parents[a]]
        a = parents[a]
    while parents[b] != b:
        parents[b] = parents[parents[b]]
        b = parents[b]
    parents[max(a, b)] = min(a, b)
