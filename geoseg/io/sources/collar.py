"""The collar: a uniform white or black margin around imagery that the file does not declare as nodata.

It is flooded from the raster's border inwards, block by block, to the pixel, so that it does not depend on windows. Only the blocks along
the border and those that the flood enters are read. Black or white within the imagery is out of its reach.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

BLOCK_PX = 512
"""Side of the blocks that the flood goes through."""
_SEED_PX = 16
"""Side of a uniform square at the border, from which a flood begins: imagery has none, however dark its water or bright its roofs."""
LOSSY_NEAR = 4
"""How far values of a collar are from black or white, at most, where the compression changes values."""

Key = tuple[int, int]
"""Row and column of a block."""
Look = Callable[[Window], tuple[NDArray[np.bool_], NDArray[np.bool_]]]
"""Returns which pixels (H, W) of a window may be of a black collar, and which of a white one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collar:
    """Pixels that are no imagery; small, since the blocks without any are left out."""

    blocks: dict[Key, bytes]
    """Which pixels of a block are of the collar, packed."""

    def clear(self, window: Window, valid: NDArray[np.bool_]) -> None:
        """Clear valid (H, W) of a window where the collar is."""
        for key in _keys(window):
            packed = self.blocks.get(key)
            if packed is None:
                continue
            top, left = key[0] * BLOCK_PX - window.row_off, key[1] * BLOCK_PX - window.col_off
            own = slice(max(0, -top), min(BLOCK_PX, window.height - top)), slice(max(0, -left), min(BLOCK_PX, window.width - left))
            into = slice(own[0].start + top, own[0].stop + top), slice(own[1].start + left, own[1].stop + left)
            valid[into] &= ~_unpack(packed)[own]


def find_collar(shape: tuple[int, int], look: Look) -> Collar | None:
    """Find the collar of a raster.

    Args:
        shape: Rows and columns.
        look: Tells which pixels may be of a collar.

    Returns:
        None if there is none.
    """
    flood = _Flood(shape, look)
    found: dict[Key, bytes] = {}
    for color in (0, 1):
        for key, packed in flood.run(color).items():
            found[key] = _pack(_unpack(found[key]) | _unpack(packed)) if key in found else packed
    return Collar(blocks=dict(sorted(found.items()))) if found else None


class _Flood:
    def __init__(self, shape: tuple[int, int], look: Look) -> None:
        self._shape = shape
        self._look = look
        self._seen: dict[Key, tuple[bytes, bytes]] = {}

    def run(self, color: int) -> dict[Key, bytes]:
        """Return what is reached from the border, by block."""
        reached: dict[Key, bytes] = {}
        # packed: along the border and the front of the flood nearly all blocks of a raster may wait
        waiting = {key: _pack(seeds) for key in self._border() if (seeds := self._seeds(key, color)).any()}
        while waiting:
            key, packed = waiting.popitem()
            fresh = self._spread(key, color, _unpack(packed))
            if key in reached:
                before = _unpack(reached[key])
                if not (fresh & ~before).any():
                    continue
                fresh |= before
            elif not fresh.any():
                continue
            reached[key] = _pack(fresh)
            for neighbor, line in self._enter(key, fresh):
                waiting[neighbor] = _pack(_unpack(waiting[neighbor]) | line if neighbor in waiting else line)
        return reached

    def _border(self) -> Iterator[Key]:
        rows, cols = (-(-n // BLOCK_PX) for n in self._shape)
        for row in range(rows):
            for col in range(cols) if row in (0, rows - 1) else sorted({0, cols - 1}):
                yield row, col

    def _candidates(self, key: Key, color: int) -> NDArray[np.bool_]:
        """Return which pixels of a block may be of the collar; False outside the raster."""
        if key not in self._seen:
            window = self._window(key)
            looked = self._look(window)
            masks = [np.zeros((BLOCK_PX, BLOCK_PX), bool) for _ in looked]
            for mask, found in zip(masks, looked, strict=True):
                mask[: window.height, : window.width] = found
            self._seen[key] = (_pack(masks[0]), _pack(masks[1]))
        return _unpack(self._seen[key][color])

    def _seeds(self, key: Key, color: int) -> NDArray[np.bool_]:
        """Return the uniform squares of a block that touch the raster's border."""
        found = self._candidates(key, color)
        window = self._window(key)
        height, width = window.height, window.width
        outer = np.zeros_like(found)
        outer[:_SEED_PX] |= key[0] == 0
        outer[:, :_SEED_PX] |= key[1] == 0
        outer[max(0, height - _SEED_PX) : height] |= window.row_off + height == self._shape[0]
        outer[:, max(0, width - _SEED_PX) : width] |= window.col_off + width == self._shape[1]
        return _squares(found[:height, :width], outer)

    def _spread(self, key: Key, color: int, seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the pixels of a block that are connected to seeds."""
        found = self._candidates(key, color)
        if found.all():
            return found
        # takes a second to load, and most runs never need it
        from scipy.ndimage import label

        labels, _ = label(found)
        hit = np.zeros(int(labels.max()) + 1, bool)
        hit[labels[seeds]] = True
        hit[0] = False
        return np.asarray(hit[labels])

    def _enter(self, key: Key, reached: NDArray[np.bool_]) -> Iterator[tuple[Key, NDArray[np.bool_]]]:
        """Yield neighbors and the pixels of theirs beside reached ones."""
        rows, cols = (-(-n // BLOCK_PX) for n in self._shape)
        first, last = 0, BLOCK_PX - 1
        for (down, right), own, other in (
            ((-1, 0), (first, slice(None)), (last, slice(None))),
            ((1, 0), (last, slice(None)), (first, slice(None))),
            ((0, -1), (slice(None), first), (slice(None), last)),
            ((0, 1), (slice(None), last), (slice(None), first)),
        ):
            neighbor = key[0] + down, key[1] + right
            if 0 <= neighbor[0] < rows and 0 <= neighbor[1] < cols and reached[own].any():
                line = np.zeros((BLOCK_PX, BLOCK_PX), bool)
                line[other] = reached[own]
                yield neighbor, line

    def _window(self, key: Key) -> Window:
        top, left = key[0] * BLOCK_PX, key[1] * BLOCK_PX
        return Window(left, top, min(BLOCK_PX, self._shape[1] - left), min(BLOCK_PX, self._shape[0] - top))


def _squares(found: NDArray[np.bool_], outer: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of squares that are wholly found and lie in the outer part, in the layout of the block."""
    seeds = np.zeros_like(outer)
    height, width = found.shape
    # squares of the last row and column begin where they still fit
    for top in sorted({*range(0, height - _SEED_PX + 1, _SEED_PX), max(0, height - _SEED_PX)}):
        for left in sorted({*range(0, width - _SEED_PX + 1, _SEED_PX), max(0, width - _SEED_PX)}):
            square = slice(top, top + _SEED_PX), slice(left, left + _SEED_PX)
            if outer[square].all() and found[square].all():
                seeds[:height, :width][square] = True
    return seeds


def _keys(window: Window) -> Iterator[Key]:
    for row in range(window.row_off // BLOCK_PX, (window.row_off + window.height - 1) // BLOCK_PX + 1):
        for col in range(window.col_off // BLOCK_PX, (window.col_off + window.width - 1) // BLOCK_PX + 1):
            yield row, col


def _pack(mask: NDArray[np.bool_]) -> bytes:
    return zlib.compress(np.packbits(mask).tobytes(), 1)


def _unpack(packed: bytes) -> NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8)).astype(bool).reshape(BLOCK_PX, BLOCK_PX)
