"""What a preview looks at: the part of a layer that the canvas shows, at the canvas's resolution, and no more than takes seconds."""

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
    """Part of a raster, and how it is read."""

    column: int
    """First column."""
    row: int
    """First row."""
    width_px: int
    """Columns of the raster."""
    height_px: int
    """Rows of the raster."""
    factor: int
    """Pixels of the raster, each way, whose mean is one pixel of the preview."""
    is_whole: bool
    """Whether it is all of the canvas; else its middle."""


def plan_clip(
    grid: Grid, seen: tuple[float, float, float, float], canvas_px: float, resolution_m: float | None, coarsest_m: float | None
) -> Clip:
    """Choose the pixels of a preview.

    Its resolution is the canvas's, but not coarser than the model takes; what is still more than :data:`LARGEST_PX` is cut to the
    middle. Factors are whole, so that means are exact.

    Args:
        grid: Of the raster.
        seen: West, south, east and north of the canvas, in the CRS of the raster.
        canvas_px: Side of a pixel of the canvas, in units of that CRS.
        resolution_m: What the model was trained for; finer imagery is averaged to it by geoseg. None takes it as it is.
        coarsest_m: The coarsest pixels that the model takes; None takes them as they are.

    Raises:
        PreviewError: If the canvas shows nothing of the raster.
    """
    west, south, east, north = seen
    left, right = _cut((west - grid.west) / grid.pixel_x, (east - grid.west) / grid.pixel_x, grid.width_px)
    top, bottom = _cut((grid.north - north) / grid.pixel_y, (grid.north - south) / grid.pixel_y, grid.height_px)
    if right <= left or bottom <= top:
        raise PreviewError("The map shows nothing of this layer. Zoom to the layer, then preview again.")
    limit = 1
    if coarsest_m and grid.pixel_m:
        limit = max(1, math.floor(coarsest_m / grid.pixel_m * (1 + 1e-9)))
    factor = min(max(1, round(canvas_px / grid.pixel_x)), limit, max(1, min(right - left, bottom - top)))
    # geoseg averages the rest by itself: what counts is what the network sees
    seen_px = factor * max(1, round(resolution_m / (factor * grid.pixel_m))) if resolution_m and grid.pixel_m else factor
    largest = LARGEST_PX * seen_px
    column, width = _middle(left, right, largest, factor)
    row, height = _middle(top, bottom, largest, factor)
    return Clip(column, row, width, height, factor, is_whole=right - left <= largest and bottom - top <= largest)


def _cut(low: float, high: float, size: int) -> tuple[int, int]:
    return max(0, math.floor(low + 1e-6)), min(size, math.ceil(high - 1e-6))


def _middle(low: int, high: int, largest: int, factor: int) -> tuple[int, int]:
    """Return first pixel and number of pixels, a multiple of the factor."""
    size = min(high - low, largest) // factor * factor
    return low + (high - low - size) // 2, size


def clip_address(path: str, clip: Clip) -> str:
    """Return the part of a raster as an address that GDAL reads in place: nothing is copied, masks and band names stay.

    Raises:
        PreviewError: If the name of the file cannot stand in an address.
    """
    if "?" in path or "&" in path:
        raise PreviewError(f"The name of {path} holds '?' or '&', which cuts an address in two. Rename the file or its folder.")
    window = f"{clip.column},{clip.row},{clip.width_px},{clip.height_px}"
    smaller = f"&outsize={clip.width_px // clip.factor},{clip.height_px // clip.factor}&r=average" if clip.factor > 1 else ""
    return f"vrt://{path}?srcwin={window}{smaller}"


def preview_arguments(address: str, output: str, model: str) -> list[str]:
    """Return the command that makes a preview: classes only, in one piece."""
    return ["segment", address, "-o", output, "-m", model, "--outputs", "classes", "--progress", "json"]
