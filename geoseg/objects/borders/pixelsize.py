"""The size of a pixel on the ground, which differs from row to row in degrees and in web mercator."""

from collections.abc import Callable

PixelSize = tuple[float, float] | Callable[[float], tuple[float, float]]
"""Width and height in metres, or a function of the row that gives them."""


def size_at(pixel_m: PixelSize, row: float) -> tuple[float, float]:
    """Return width and height in metres of a pixel in a row."""
    width, height = pixel_m(row) if callable(pixel_m) else pixel_m
    return float(width), float(height)
