"""Trees and bushes: where they stand, and crowns that look round."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.scene.canvas import Canvas, Land
from geoseg.scene.options import Sun
from geoseg.scene.parcels import ParcelTable
from geoseg.scene.texture import Raster

_DENSEST_PER_HA = 420.0
_SHAPES_PER_SIZE = 5
_LEAVES = np.array([(74, 87, 54), (64, 79, 52), (84, 95, 58), (60, 71, 51), (92, 98, 64), (70, 88, 61)], np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Crowns by position, each array (n,)."""

    x: NDArray[np.float64]
    """In metres."""
    y: NDArray[np.float64]
    """In metres."""
    radius: NDArray[np.float64]
    """In metres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crown:
    """One crown as a stamp."""

    cover: Raster
    """(n, n), 0..1."""
    light: Raster
    """(n, n), about 1."""


def plant_trees(canvas: Canvas, ids: NDArray[np.int32], table: ParcelTable, clear_m: Raster, bank_m: Raster) -> Trees:
    """Choose where trees stand.

    Args:
        canvas: Size and chance.
        ids: (H, W) parcels.
        table: How densely they are planted.
        clear_m: (H, W) distance from streets, water and buildings; crowns keep within it.
        bank_m: (H, W) distance from the river, along which trees grow more densely.
    """
    rng, (width, height) = canvas.options.chance(6), canvas.options.size_m
    count = int(width * height / 1e4 * _DENSEST_PER_HA)
    x, y = rng.uniform(0, width, count), rng.uniform(0, height, count)
    at = _pixel(canvas, x, y)
    bushes = np.arange(count) % 3 == 0
    density = table.trees_per_ha[ids[at]] * np.where(bushes, 1.3, 1.0) * np.exp(0.5 * canvas.texture.broad[at])
    density = density + 260 * np.exp(-np.maximum(bank_m[at], 0) / 6)
    chosen = rng.random(count) * _DENSEST_PER_HA < density
    radius = np.where(bushes, rng.uniform(0.45, 1.2, count), np.clip(rng.lognormal(math.log(2.3), 0.42, count), 0.9, 5.2))
    x, y, radius = x[chosen], y[chosen], radius[chosen]
    rows = _orchards(rng, canvas, ids, table)
    x, y, radius = (np.concatenate(pair) for pair in zip((x, y, radius), rows, strict=True))
    room = clear_m[_pixel(canvas, x, y)] - 0.3
    stands = room > 0.45
    return Trees(x=x[stands], y=y[stands], radius=np.minimum(radius, room)[stands])


def grow_crowns(canvas: Canvas, trees: Trees, sun: Sun) -> list[Crown]:
    """Return a crown for each tree, out of a few shapes for each size."""
    rng = canvas.options.chance(7)
    sizes = np.maximum(np.rint(trees.radius / canvas.options.resolution_m * 2) / 2, 0.5).tolist()
    shapes = {size: [_crown(rng, size, sun) for _ in range(_SHAPES_PER_SIZE)] for size in sorted(set(sizes))}
    return [shapes[size][n % _SHAPES_PER_SIZE] for n, size in enumerate(sizes)]


def shade_trees(canvas: Canvas, trees: Trees, crowns: Sequence[Crown], sun: Sun, shadow: NDArray[np.bool_]) -> None:
    """Add the shadows of crowns to a raster of shadows, (H, W)."""
    reach = np.asarray(sun.shadow_per_m)
    # A crown as high as 1.3 of its radius over the ground shows a crescent of shadow, as real trees do.
    for x, y, radius, crown in zip(trees.x, trees.y, trees.radius, crowns, strict=True):
        place = _place(canvas, x + reach[0] * radius * 1.3, y + reach[1] * radius * 1.3, len(crown.cover))
        if place is not None:
            window, part = place
            shadow[window] |= crown.cover[part] > 0.5


def paint_trees(canvas: Canvas, trees: Trees, crowns: Sequence[Crown]) -> None:
    """Paint crowns; they hide neither streets nor water nor buildings."""
    rng = canvas.options.chance(8)
    leaves = _LEAVES[rng.integers(len(_LEAVES), size=len(crowns))] * rng.normal(1, 0.1, (len(crowns), 1)).astype(np.float32)
    order = np.argsort(trees.radius, kind="stable")
    for n in order.tolist():
        place = _place(canvas, trees.x[n], trees.y[n], len(crowns[n].cover))
        if place is None:
            continue
        window, part = place
        ground = canvas.classes[window]
        cover = crowns[n].cover[part] * ((ground == Land.LAND) | (ground == Land.VEGETATION))
        canvas.rgb[window] += cover[..., None] * (leaves[n] * crowns[n].light[part][..., None] - canvas.rgb[window])
        ground[cover > 0.5] = Land.VEGETATION


def _orchards(
    rng: np.random.Generator, canvas: Canvas, ids: NDArray[np.int32], table: ParcelTable
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    found = [np.zeros((0, 3))]
    reach = math.hypot(*canvas.options.size_m)
    for parcel in np.flatnonzero(table.orchard_gap_m > 0).tolist():
        gap, angle = float(table.orchard_gap_m[parcel]), float(table.row_angle[parcel])
        s, t = (a.ravel() for a in np.meshgrid(*[np.arange(-reach, reach, gap)] * 2))
        x, y = s * math.cos(angle) - t * math.sin(angle), s * math.sin(angle) + t * math.cos(angle)
        x, y = x + rng.normal(0, 0.3, len(x)), y + rng.normal(0, 0.3, len(y))
        inside = (x >= 0) & (y >= 0) & (x < canvas.options.size_m[0]) & (y < canvas.options.size_m[1])
        x, y = x[inside], y[inside]
        mine = (ids[_pixel(canvas, x, y)] == parcel) & (rng.random(len(x)) < 0.93)
        found.append(np.column_stack((x, y, rng.normal(0.4 * gap, 0.3, len(x)).clip(0.8)))[mine])
    x, y, radius = np.concatenate(found).T
    return x, y, radius


def _pixel(canvas: Canvas, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    step, (height, width) = canvas.options.resolution_m, canvas.options.shape
    return np.minimum(y / step, height - 1).astype(np.intp), np.minimum(x / step, width - 1).astype(np.intp)


def _crown(rng: np.random.Generator, radius_px: float, sun: Sun) -> Crown:
    """Pile up a dome and some boughs, and light the heap from the sun."""
    half = math.ceil(radius_px * 1.25) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1] / radius_px
    height = np.sqrt(np.maximum(0.85**2 - x**2 - y**2, 0)) * 0.9
    for _ in range(int(rng.integers(7, 13))):
        angle, out, size = rng.uniform(0, 2 * math.pi), rng.uniform(0.2, 0.75), rng.uniform(0.25, 0.45)
        bough = size**2 - (x - out * math.cos(angle)) ** 2 - (y - out * math.sin(angle)) ** 2
        height = np.maximum(height, np.sqrt(np.maximum(bough, 0)) + (bough > 0) * (0.75 - 0.55 * out))
    height += (height > 0) * rng.normal(0, 0.05, height.shape)
    down, right = np.gradient(height * radius_px * 0.7)
    flat = np.sqrt(1 + right**2 + down**2)
    lambert = (math.sin(sun.elevation) - (sun.x * right + sun.y * down) * math.cos(sun.elevation)) / flat
    light = 0.42 + 0.78 * np.clip(lambert, 0, None) + 0.12 * height
    return Crown(cover=np.clip(height * 5, 0, 1).astype(np.float32), light=light.astype(np.float32))


def _place(canvas: Canvas, x: float, y: float, size: int) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Return where a stamp lies on the canvas, and which part of the stamp that is; None when it lies outside."""
    windows, parts = [], []
    for at, limit in zip((y, x), canvas.options.shape, strict=True):
        start = math.floor(at / canvas.options.resolution_m) - size // 2
        low, high = max(start, 0), min(start + size, limit)
        if low >= high:
            return None
        windows.append(slice(low, high))
        parts.append(slice(low - start, high - start))
    return (windows[0], windows[1]), (parts[0], parts[1])
