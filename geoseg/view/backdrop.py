"""The imagery that a run was made of, as a backdrop of its map."""

import math
from dataclasses import replace
from pathlib import Path
from threading import Lock

from geoseg.errors import RasterError
from geoseg.io.raster import RasterSource
from geoseg.io.sources.address import is_remote
from geoseg.io.sources.composite import Mosaic
from geoseg.io.sources.imagery import FileImagery, list_files
from geoseg.io.sources.palette import look_up
from geoseg.view.paint import Picture, Stretch, find_stretch, paint_imagery
from geoseg.view.rasters import PYRAMID_PX, Box, TilePixels, TileRaster, WebTile, unite

_COLORS = ("red", "green", "blue")
_LOOK_PX = 512
"""Longest side of the look at each file that the stretch comes from."""
_LOOKED_AT = 8
"""Files that it comes from, at most, spread evenly over all."""
_SMALL_PX = 512
"""Longest side up to which a file without overviews is read as a whole for tiles that show it small."""
_COPIES_PX = 4 * PYRAMID_PX
"""Pixels of the copies of all files together, so that a mosaic of thousands does not fill the disk."""
_LEAST_COPY_PX = 2**20
"""Of each of them, however many there are."""


class Backdrop:
    """Imagery in colors that stay the same wherever one looks.

    Args:
        source: Imagery of one file, or of several side by side.
        names: What the model calls the bands of the source.
        work: Folder for small copies of large files that have no overviews.

    Raises:
        RasterError: If it is of another kind, lies on a network, or has no place on a map.
        RunError: If it cannot be read.
    """

    def __init__(self, source: RasterSource, names: tuple[str, ...], work: Path) -> None:
        if not isinstance(source.imagery, FileImagery | Mosaic):
            raise RasterError(f"{source.path} is shown without imagery: its bands come from several files.")
        files = list_files(source.imagery)
        far = [file.name for file in files if is_remote(file.name)]
        if far:
            raise RasterError(f"{far[0]} is not shown: it lies on a network, and a map that works offline does not read there.")
        self._bands = _choose_bands(source.bands, names)
        # without the run's grid, so that overviews are found
        self._rasters = [TileRaster(file.name, replace(file.options, onto=None)) for file in files]
        self._palettes = [file.palette if file.is_in_colors else b"" for file in files]
        self._work, self._lock = work, Lock()
        self._small: dict[int, TileRaster] = {}
        boxes = [raster.bounds for raster in self._rasters]
        self.bounds: Box = unite(boxes)
        self.zoom = max(raster.zoom for raster in self._rasters)
        self._stretch = self._find_stretch()

    def paint(self, tile: WebTile) -> list[Picture]:
        """Return the pictures of the files in a web tile, those that are seen first before the others.

        Raises:
            RunError: If a file cannot be read there.
        """
        below = [number for number, raster in enumerate(self._rasters) if raster.touches(tile)]
        return [paint_imagery(self._read(number, tile), self._stretch) for number in below]

    def close(self) -> None:
        """Let the files go."""
        for raster in (*self._rasters, *self._small.values()):
            raster.close()

    def _read(self, number: int, tile: WebTile) -> TilePixels:
        raster = self._rasters[number]
        if self._palettes[number]:
            return self._in_colors(number, raster.read_tile(tile))
        if self._is_read_as_it_is(raster, tile.pixel_m):
            return raster.read_tile(tile, self._bands, smooth=True)
        small = self._find_small(number)
        if tile.pixel_m * math.sqrt(2) < small.pixel_m:
            return raster.read_tile(tile, self._bands, smooth=True)
        return small.read_tile(tile, tuple(range(1, len(self._bands) + 1)), smooth=True)

    @staticmethod
    def _is_read_as_it_is(raster: TileRaster, pixel_m: float) -> bool:
        """Tell whether a tile with such pixels is read from the file: it has overviews, or the tile shows little of it."""
        if raster.has_overviews or raster.size_px <= _SMALL_PX:
            return True
        return raster.is_tiled and pixel_m < math.sqrt(2) * raster.pixel_m

    def _find_small(self, number: int) -> TileRaster:
        """Return the small copy of a file, made when it is wanted first."""
        with self._lock:
            if number not in self._small:
                self._work.mkdir(parents=True, exist_ok=True)
                share_px = max(_LEAST_COPY_PX, min(PYRAMID_PX, _COPIES_PX // len(self._rasters)))
                self._small[number] = self._rasters[number].write_pyramid(self._work / f"imagery{number}.tif", self._bands, share_px)
            return self._small[number]

    def _in_colors(self, number: int, indices: TilePixels) -> TilePixels:
        """Return what the indices of a file into its table of colors show."""
        data, is_opaque = look_up(self._palettes[number], self._bands, indices.data[0])
        return TilePixels(data=data, valid=indices.valid & is_opaque)

    def _look(self, number: int) -> TilePixels:
        raster = self._rasters[number]
        if self._palettes[number]:
            return self._in_colors(number, raster.read_coarse((1,), _LOOK_PX))
        if raster.has_overviews or raster.size_px <= _SMALL_PX:
            return raster.read_coarse(self._bands, _LOOK_PX)
        # reading all of it takes as long as making the copy, which is wanted soon
        return self._find_small(number).read_coarse(tuple(range(1, len(self._bands) + 1)), _LOOK_PX)

    def _find_stretch(self) -> Stretch:
        """Return the stretch that fits all files: from the darkest black to the brightest white of some of them."""
        step = -(-len(self._rasters) // _LOOKED_AT)
        looks = [find_stretch(self._look(number)) for number in range(0, len(self._rasters), step)]
        low = tuple(min(ends) for ends in zip(*(look.low for look in looks), strict=True))
        high = tuple(max(ends) for ends in zip(*(look.high for look in looks), strict=True))
        return Stretch(low=low, high=high)


def _choose_bands(bands: tuple[int, ...], names: tuple[str, ...]) -> tuple[int, ...]:
    """Return red, green and blue where they are named, else the first three, or the first one."""
    lowered = [name.lower() for name in names[: len(bands)]]
    if all(color in lowered for color in _COLORS):
        return tuple(bands[lowered.index(color)] for color in _COLORS)
    return bands[:3] if len(bands) >= 3 else bands[:1]
