"""Rasters on top of each other, the bands of one input. Nothing is written."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.errors import RasterError
from geoseg.io.ground import pixel_size_m
from geoseg.io.sources.address import shorten
from geoseg.io.sources.bands import Names
from geoseg.io.sources.imagery import FileImagery
from geoseg.io.sources.pieces import Piece, Placeable, Shelf, finest_of, overlap, place_piece, within


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Rasters on top of each other, the bands of one input; see :class:`geoseg.io.sources.imagery.Imagery`."""

    name: str
    """What messages call it."""
    geobox: GeoBox
    """Its grid: that of the finest raster."""
    layers: tuple[Piece, ...]
    """The rasters. A pixel holds data if it does so in all that are read."""

    @property
    def bands(self) -> tuple[Names, ...]:
        """What the bands are called, those of the first raster first."""
        return tuple(names for layer in self.layers for names in layer.imagery.bands)

    @property
    def dtype(self) -> str:
        """Data type that holds the pixels of all rasters."""
        return np.result_type(*{layer.imagery.dtype for layer in self.layers}).name

    @property
    def opacity(self) -> tuple[int, ...]:
        """Bands that hold no imagery."""
        return tuple(first + band for first, layer in self._numbered() for band in layer.imagery.opacity)

    def open(self) -> "StackReader":
        """Hold it open, a few rasters at a time."""
        return StackReader(self)

    def choose(self, bands: Sequence[int]) -> "Stack":
        """Return it for the use of these bands."""
        chosen = []
        for first, layer in self._numbered():
            own = [band - first for band in bands if 0 < band - first <= len(layer.imagery.bands)]
            chosen.append(replace(layer, imagery=layer.imagery.choose(own)))
        return replace(self, layers=tuple(chosen))

    def each_file(self, change: Callable[[FileImagery], FileImagery]) -> "Stack":
        """Return it with every file changed."""
        return replace(self, layers=tuple(replace(layer, imagery=layer.imagery.each_file(change)) for layer in self.layers))

    def onto(self, grid: GeoBox) -> "Stack":
        """Return it warped onto another grid, raster by raster."""
        layers = (Piece(imagery=layer.imagery.onto(grid), row=0, col=0) for layer in self.layers)
        return replace(self, geobox=grid, layers=tuple(layers))

    def files(self) -> Iterator[str]:
        """Yield the files of all rasters."""
        for layer in self.layers:
            yield from layer.imagery.files()

    def locate(self, band: int) -> tuple[int, int]:
        """Return which raster a band is of, and its number there."""
        ends = list(accumulate(len(layer.imagery.bands) for layer in self.layers))
        layer = next(i for i, end in enumerate(ends) if band <= end)
        return layer, band - (ends[layer - 1] if layer else 0)

    def _numbered(self) -> Iterator[tuple[int, Piece]]:
        """Yield rasters with the number of bands before theirs."""
        first = 0
        for layer in self.layers:
            yield first, layer
            first += len(layer.imagery.bands)


def stack_imagery(given: Sequence[Placeable], name: str | None = None) -> Stack:
    """Lay imagery on top of each other, on the grid of the finest.

    Raises:
        RasterError: If one of it does not lie where the finest does.
    """
    grid = finest_of(given, [pixel_size_m(imagery.geobox) for imagery in given]).geobox
    layers = tuple(place_piece(imagery, grid) for imagery in given)
    height, width = grid.shape
    for layer in layers:
        top, left, bottom, right = layer.box
        if min(bottom, height) <= max(top, 0) or min(right, width) <= max(left, 0):
            raise RasterError(f"{layer.imagery.name} does not lie where the other rasters of the stack do. Check its CRS with gdalinfo.")
    return Stack(name=name or shorten([imagery.name for imagery in given]), geobox=grid, layers=layers)


class StackReader:
    """A stack that is held open.

    Args:
        stack: The stack.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._shelf = Shelf(stack.layers)

    def read_into(self, bands: Sequence[int], window: Window, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Read a window; see :class:`geoseg.io.sources.imagery.Reader`."""
        pixels[...] = 0
        located = [self._stack.locate(band) for band in bands]
        for number in sorted({layer for layer, _ in located}):
            wanted = [(place, band) for place, (layer, band) in enumerate(located) if layer == number]
            there = np.zeros(valid.shape, bool)
            part = overlap(window, np.array(self._stack.layers[number].box))
            if part.width > 0 and part.height > 0:
                rows, cols = within(part, window)
                read, there[rows, cols] = self._shelf.read(number, [band for _, band in wanted], part)
                for (place, _), band in zip(wanted, read, strict=True):
                    pixels[place, rows, cols] = band
            valid &= there

    def close(self) -> None:
        """Let the files go."""
        self._shelf.close()
