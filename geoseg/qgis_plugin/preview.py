"""What a preview looks at: the part of a layer that the canvas shows, as a run would see it, and no more than takes seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

LARGEST_PX = 1024
"""Sides of a preview, in pixels that the network sees."""


class PreviewError(ValueError):
    """There is nothing to preview; the message says why."""


@dataclass(frozen=True)
class Grid:
    """Pixels of a raster on the ground; x grows to the east, y to the north."""

    west: float
    """Left edge, in units of the CRS."""
    north: float
    """Upper edge."""
    pixel_x: float
    """Width of a pixel, in units of the CRS."""
    pixel_y: float
    """Height of a pixel, positive."""
    width_px: int
    """Columns."""
    height_px: int
    """Rows."""
    pixel_m: float
    """Side of a pixel in metres on the ground; 0 if nobody knows."""


@dataclass(frozen=True)
class Clip:
    """Part of a raster."""

    column: int
    """First column, counted in pixels of the raster like all else here."""
    row: int
    """First row."""
    width_px: int
    """Columns."""
    height_px: int
    """Rows."""
    is_whole: bool
    """Whether it is all of the canvas; else its middle."""


def plan_clip(grid: Grid, seen: tuple[float, float, float, float], resolution_m: float | None) -> Clip:
    """Choose the pixels of a preview.

    They are those that the canvas shows, or the middle of them where that is more than :data:`LARGEST_PX`. Nothing is made coarser for
    a canvas that shows much: on pixels of another size a network sees other things, and the preview would not be what a run gives.
    The clip begins where pixels of the run begin, so that means are taken over the same pixels.

    Args:
        grid: Of the raster.
        seen: West, south, east and north of the canvas, in the CRS of the raster.
        resolution_m: What the model was trained for; geoseg averages finer imagery to it. None takes imagery as it is.

    Raises:
        PreviewError: If the canvas shows nothing of the raster.
    """
    west, south, east, north = seen
    left, right = _cut((west - grid.west) / grid.pixel_x, (east - grid.west) / grid.pixel_x, grid.width_px)
    top, bottom = _cut((grid.north - north) / grid.pixel_y, (grid.north - south) / grid.pixel_y, grid.height_px)
    if right <= left or bottom <= top:
        raise PreviewError("The map shows nothing of this layer. Zoom to the layer, then preview again.")
    averaged = max(1, round(resolution_m / grid.pixel_m)) if resolution_m and grid.pixel_m else 1
    column, width = _middle(left, right, averaged)
    row, height = _middle(top, bottom, averaged)
    return Clip(column, row, width, height, is_whole=max(right - left, bottom - top) <= LARGEST_PX * averaged)


def _cut(low: float, high: float, size: int) -> tuple[int, int]:
    return max(0, math.floor(low + 1e-6)), min(size, math.ceil(high - 1e-6))


def _middle(low: int, high: int, averaged: int) -> tuple[int, int]:
    """Return first pixel, a multiple of those that are averaged, and number of pixels."""
    largest = LARGEST_PX * averaged
    start = (low + max(0, high - low - largest) // 2) // averaged * averaged
    return start, min(high - start, largest)


def clip_address(path: str, clip: Clip) -> str:
    """Return the part of a raster as an address that GDAL reads in place: nothing is copied, masks and band names stay.

    Raises:
        PreviewError: If the name of the file cannot stand in an address.
    """
    if "?" in path or "&" in path:
        raise PreviewError(f"The name of {path} holds '?' or '&', which cuts an address in two. Rename the file or its folder.")
    window = f"{clip.column},{clip.row},{clip.width_px},{clip.height_px}"
    return f"vrt://{path}?srcwin={window}"


def preview_arguments(address: str, output: str, model: str) -> list[str]:
    """Return the command that makes a preview: classes only, in one piece."""
    return ["segment", address, "-o", output, "-m", model, "--outputs", "classes", "--progress", "json"]
