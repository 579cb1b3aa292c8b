"""Rasters side by side, read as one. Nothing is written."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.io.sources.bands import Names
from geoseg.io.sources.imagery import FileImagery
from geoseg.io.sources.pieces import Piece, Shelf, overlap, within

_MEDIAN_BYTES = 128 * 2**20
"""Of pixels whose median is taken at a time; enough that a dozen scenes below a chunk are read once."""
_LEAST_ROWS = 64
"""Rows whose median is taken at a time, at least: blocks of files are decoded again for each strip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mosaic:
    """Rasters side by side; see :class:`geoseg.io.sources.imagery.Imagery`."""

    name: str
    """What messages call it."""
    geobox: GeoBox
    """Its grid: all pieces, in the CRS and pixels of the finest."""
    pieces: tuple[Piece, ...]
    """The rasters, those that are seen first."""
    feather_px: int = 0
    """Pixels from the edges of pieces over which they fade into those below."""
    median: bool = False
    """Take the median of all instead."""

    @property
    def bands(self) -> tuple[Names, ...]:
        """What the bands are called: as in the first piece."""
        return self.pieces[0].imagery.bands

    @property
    def dtype(self) -> str:
        """Data type that holds the pixels of all pieces."""
        return np.result_type(*{piece.imagery.dtype for piece in self.pieces}).name

    @property
    def opacity(self) -> tuple[int, ...]:
        """Bands that hold no imagery in any piece."""
        return tuple(sorted(set.intersection(*(set(piece.imagery.opacity) for piece in self.pieces))))

    def open(self) -> "MosaicReader":
        """Hold it open, a few pieces at a time."""
        return MosaicReader(self)

    def choose(self, bands: Sequence[int]) -> "Mosaic":
        """Return it for the use of these bands."""
        return replace(self, pieces=tuple(replace(piece, imagery=piece.imagery.choose(bands)) for piece in self.pieces))

    def each_file(self, change: Callable[[FileImagery], FileImagery]) -> "Mosaic":
        """Return it with every file changed."""
        return replace(self, pieces=tuple(replace(piece, imagery=piece.imagery.each_file(change)) for piece in self.pieces))

    def files(self) -> Iterator[str]:
        """Yield the files of all pieces."""
        for piece in self.pieces:
            yield from piece.imagery.files()


class MosaicReader:
    """A mosaic that is held open.

    Args:
        mosaic: The mosaic.
    """

    def __init__(self, mosaic: Mosaic) -> None:
        self._mosaic = mosaic
        self._boxes = np.array([piece.box for piece in mosaic.pieces])
        self._shelf = Shelf(mosaic.pieces)

    def read_into(self, bands: Sequence[int], window: Window, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Read a window; see :class:`geoseg.io.sources.imagery.Reader`."""
        pixels[...] = 0
        parts = self._parts(window)
        if self._mosaic.median:
            there = self._take_medians(bands, window, len(parts), pixels)
        elif self._mosaic.feather_px and len(parts) > 1:
            there = self._fade(bands, window, parts, pixels)
        else:
            there = self._take_first(bands, window, parts, pixels)
        valid &= there

    def close(self) -> None:
        """Let the files go."""
        self._shelf.close()

    def _parts(self, window: Window) -> list[tuple[int, Window]]:
        """Return the pieces below a window, and which part of it each of them covers."""
        return [(number, overlap(window, self._boxes[number])) for number in self._below(window)]

    def _below(self, window: Window) -> list[int]:
        top, left, bottom, right = self._boxes.T
        is_below = (top < window.row_off + window.height) & (bottom > window.row_off)
        is_below &= (left < window.col_off + window.width) & (right > window.col_off)
        return [int(number) for number in np.flatnonzero(is_below)]

    def _take_first(self, bands: Sequence[int], window: Window, parts: list[tuple[int, Window]], pixels: NDArray[Any]) -> NDArray[np.bool_]:
        there = np.zeros(pixels.shape[1:], bool)
        for number, part in parts:
            rows, cols = within(part, window)
            if there[rows, cols].all():
                continue
            read, found = self._shelf.read(number, bands, part)
            found &= ~there[rows, cols]
            np.copyto(pixels[:, rows, cols], read, where=found, casting="unsafe")
            there[rows, cols] |= found
        return there

    def _fade(self, bands: Sequence[int], window: Window, parts: list[tuple[int, Window]], pixels: NDArray[Any]) -> NDArray[np.bool_]:
        """Lay pieces over each other, each as opaque as it is far from its edges."""
        summed = np.zeros(pixels.shape, np.float64)
        weight = np.zeros(pixels.shape[1:], np.float64)
        for number, part in parts:
            rows, cols = within(part, window)
            read, found = self._shelf.read(number, bands, part)
            opaque = _ramp(part, self._boxes[number], self._mosaic.feather_px) * found * (1 - weight[rows, cols])
            summed[:, rows, cols] += np.where(found, read, 0) * opaque
            weight[rows, cols] += opaque
        there = np.asarray(weight > 0)
        np.divide(summed, weight, out=summed, where=there)
        _store(summed, pixels)
        return there

    def _take_medians(self, bands: Sequence[int], window: Window, count: int, pixels: NDArray[Any]) -> NDArray[np.bool_]:
        """Take medians of some rows at a time: a year of scenes on one spot takes no more memory than a month (law 8)."""
        there = np.zeros(pixels.shape[1:], bool)
        strip_px = max(_LEAST_ROWS, _MEDIAN_BYTES // max(1, count * pixels[:, :1].size * 4))
        for top in range(0, window.height, strip_px):
            rows = slice(top, min(top + strip_px, window.height))
            strip = Window(window.col_off, window.row_off + top, window.width, rows.stop - top)
            there[rows] = self._take_median(bands, strip, self._parts(strip), pixels[:, rows])
        return there

    def _take_median(
        self, bands: Sequence[int], window: Window, parts: list[tuple[int, Window]], pixels: NDArray[Any]
    ) -> NDArray[np.bool_]:
        seen = np.full((len(parts), *pixels.shape), np.nan, np.float32 if pixels.dtype.itemsize <= 2 else np.float64)
        for layer, (number, part) in zip(seen, parts, strict=True):
            rows, cols = within(part, window)
            read, found = self._shelf.read(number, bands, part)
            layer[:, rows, cols] = np.where(found, read, np.nan)
        there = np.asarray(np.isfinite(seen[:, 0]).any(axis=0))
        if there.any():
            # sorting puts what is not there last
            seen.sort(axis=0)
            count = np.isfinite(seen[:, :1]).sum(axis=0, keepdims=True)
            middle = (np.maximum((count - 1) // 2, 0), np.minimum(count // 2, len(parts) - 1))
            low, high = (np.take_along_axis(seen, np.broadcast_to(n[0], (1, *pixels.shape)), axis=0)[0] for n in middle)
            _store(np.where(there, (low + high) / 2, 0), pixels)
        return there


def _ramp(part: Window, box: NDArray[np.int64], feather_px: int) -> NDArray[np.float64]:
    """Return how opaque a part of a piece is: 0 at the piece's edges, 1 from some pixels within."""
    rows, cols = np.arange(part.row_off, part.row_off + part.height) + 0.5, np.arange(part.col_off, part.col_off + part.width) + 0.5
    down = np.minimum(rows - box[0], box[2] - rows)
    across = np.minimum(cols - box[1], box[3] - cols)
    return np.asarray(np.minimum(1.0, np.minimum.outer(down, across) / feather_px))


def _store(values: NDArray[Any], pixels: NDArray[Any]) -> None:
    pixels[...] = np.rint(values) if np.issubdtype(pixels.dtype, np.integer) else values
