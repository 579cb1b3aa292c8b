"""A tile in four smaller ones, for devices that have no memory for it."""

from dataclasses import dataclass

from geoseg.tiling import place_slice

Slices = tuple[slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A quarter of a tile, with its own margins."""

    window: Slices
    """Rows and columns of the tile that the network sees."""
    keep: Slices
    """Rows and columns of that window that are kept."""
    place: Slices
    """Where they go in the kept part of the tile."""
    whole: tuple[int, int]
    """Rows and columns of the kept part of the tile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Half:
    window: slice
    keep: slice
    place: slice


def quarter_tile(shape: tuple[int, int], keep: Slices, halo_px: int, stride_px: int) -> list[Part] | None:
    """Split the kept part of a tile in four, each with a halo as far as the tile reaches.

    Args:
        shape: Rows and columns of the tile.
        keep: Rows and columns of it that are kept.
        halo_px: Margin that each part gets.
        stride_px: Parts start, and end, at its multiples or where the tile does.

    Returns:
        The parts, row-major; None if they would be no smaller than the tile.
    """
    rows, cols = (_halve(size, kept, halo_px, stride_px) for size, kept in zip(shape, keep, strict=True))
    largest = max(r.window.stop - r.window.start for r in rows) * max(c.window.stop - c.window.start for c in cols)
    if largest >= shape[0] * shape[1]:
        return None
    whole = (keep[0].stop - keep[0].start, keep[1].stop - keep[1].start)
    return [Part(window=(r.window, c.window), keep=(r.keep, c.keep), place=(r.place, c.place), whole=whole) for r in rows for c in cols]


def _halve(size: int, keep: slice, halo: int, stride: int) -> list[_Half]:
    middle = min(max((keep.start + keep.stop) // 2 // stride * stride, keep.start), keep.stop)
    halves = []
    for begin, end in ((keep.start, middle), (middle, keep.stop)):
        if begin == end:
            continue
        window = slice(max(0, (begin - halo) // stride * stride), min(size, -(-(end + halo) // stride) * stride))
        kept = slice(begin, end)
        halves.append(_Half(window=window, keep=place_slice(kept, window), place=place_slice(kept, keep)))
    return halves
