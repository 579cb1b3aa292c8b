"""The imagery that a run was made of, as a backdrop of its map."""

from dataclasses import replace
from pathlib import Path
from threading import Lock

from geoseg.errors import RasterError
from geoseg.io.raster import RasterSource
from geoseg.io.sources.address import is_remote
from geoseg.io.sources.composite import Mosaic
from geoseg.io.sources.imagery import FileImagery, list_files
from geoseg.view.paint import Picture, Stretch, find_stretch, paint_imagery
from geoseg.view.rasters import Box, TilePixels, TileRaster, WebTile, unite

_COLORS = ("red", "green", "blue")
_LOOK_PX = 512
"""Longest side of the look at each file that the stretch comes from."""
_LOOKED_AT = 8
"""Files that it comes from, at most, spread evenly over all."""
_LARGE_PX = 4096
"""Longest side from which a file without overviews is not read as a whole for every tile that shows it small."""


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
        self._work, self._lock = work, Lock()
        self._small: dict[int, TileRaster] = {}
        self._stretch: Stretch | None = None
        boxes = [raster.bounds for raster in self._rasters]
        self.bounds: Box = unite(boxes)
        self.zoom = max(raster.zoom for raster in self._rasters)

    def paint(self, tile: WebTile) -> list[Picture]:
        """Return the pictures of the files in a web tile, those that are seen first before the others.

        Raises:
            RunError: If a file cannot be read there.
        """
        stretch = self._find_stretch()
        below = [number for number, raster in enumerate(self._rasters) if raster.touches(tile)]
        return [paint_imagery(self._read(number, tile), stretch) for number in below]

    def close(self) -> None:
        """Let the files go."""
        for raster in (*self._rasters, *self._small.values()):
            raster.close()

    def _read(self, number: int, tile: WebTile) -> TilePixels:
        raster = self._rasters[number]
        if raster.has_overviews or raster.size_px <= _LARGE_PX or tile.pixel_m < 2 * raster.pixel_m:
            return raster.read_tile(tile, self._bands, smooth=True)
        with self._lock:
            if number not in self._small:
                self._work.mkdir(parents=True, exist_ok=True)
                self._small[number] = raster.write_coarse(self._work / f"imagery{number}.tif", self._bands)
            small = self._small[number]
        if tile.pixel_m < small.pixel_m / 2:
            return raster.read_tile(tile, self._bands, smooth=True)
        return small.read_tile(tile, tuple(range(1, len(self._bands) + 1)), smooth=True)

    def _find_stretch(self) -> Stretch:
        with self._lock:
            if self._stretch is None:
                step = -(-len(self._rasters) // _LOOKED_AT)
                looks = [find_stretch(raster.read_coarse(self._bands, _LOOK_PX)) for raster in self._rasters[::step]]
                low = tuple(min(ends) for ends in zip(*(look.low for look in looks), strict=True))
                high = tuple(max(ends) for ends in zip(*(look.high for look in looks), strict=True))
                self._stretch = Stretch(low=low, high=high)
            return self._stretch


def _choose_bands(bands: tuple[int, ...], names: tuple[str, ...]) -> tuple[int, ...]:
    """Return red, green and blue where they are named, else the first three, or the first one."""
    lowered = [name.lower() for name in names[: len(bands)]]
    if all(color in lowered for color in _COLORS):
        return tuple(bands[lowered.index(color)] for color in _COLORS)
    return bands[:3] if len(bands) >= 3 else bands[:1]
