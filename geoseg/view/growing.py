"""The chunks of a run that goes on, as rasters that grow."""

from pathlib import Path
from threading import Lock

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.io.files import write_whole
from geoseg.io.raster import open_plain
from geoseg.io.store.chunks import ChunkStore, DoneChunks
from geoseg.io.store.mosaic import ChunkMosaic, LayerStyle, remove_rows
from geoseg.io.store.places import Place
from geoseg.io.tiffs.image import write_image
from geoseg.pixels.classes import NODATA_CLASS
from geoseg.tiling import ChunkKey, TilePlan
from geoseg.view.rasters import TileRaster

_COARSE_PX = 2048
"""Longest side of the picture of all chunks that is kept, so that looking at all of them reads none."""
_SHOWN = ("class", "confidence")


class GrowingRaster:
    """What is done of a run, read from its chunks while others are being made; nothing is written into the run folder.

    Args:
        place: Where the chunks lie.
        tiles: Their places.
        layers: Names of what they hold, in order.
        work: Folder for virtual rasters over them.
    """

    def __init__(self, place: Place, tiles: TilePlan, layers: tuple[str, ...], work: Path) -> None:
        self._place, self._tiles, self._layers, self._work = place, tiles, layers, work
        self.shown = tuple(name for name in _SHOWN if name in layers)
        self._store: ChunkStore | None = None
        self._lock = Lock()
        self._painted = np.zeros(tiles.chunk_shape, bool)
        self._factor = -(-max(tiles.height, tiles.width) // _COARSE_PX)
        shape = (-(-tiles.height // self._factor), -(-tiles.width // self._factor))
        self._coarse = np.full((len(self.shown), *shape), NODATA_CLASS, np.uint8)
        self.version = 0
        self._fine: TileRaster | None = None
        self._far: TileRaster | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """Chunks that are done, as of the last :meth:`refresh`, and chunks in all."""
        return int(self._painted.sum()), int(self._painted.size)

    def band(self, layer: str) -> int:
        """Return the 1-based band of a layer, of :attr:`shown`, in what :meth:`rasters` gives."""
        return self.shown.index(layer) + 1

    def raster_for(self, pixel_m: float) -> TileRaster | None:
        """Return what tiles with such pixels are cut from; None before the first chunk is done."""
        fine, far = self._fine, self._far
        if far is not None and pixel_m >= far.pixel_m / 2:
            return far
        return fine

    def refresh(self) -> bool:
        """Look which chunks are done; tell whether there are new ones.

        Raises:
            RunError: If a chunk cannot be read.
        """
        with self._lock:
            done = self._list_done()
            new = [(int(row), int(col)) for row, col in np.argwhere(done.there & ~self._painted)]
            if not new:
                return False
            store = self._store or self._open_store(new[0])
            if self._factor > 1:
                for key in new:
                    self._paint(store, key)
            self._painted |= done.there
            self._publish(store, done)
            return True

    def close(self) -> None:
        """Let the files go."""
        for raster in (self._fine, self._far):
            if raster is not None:
                raster.close()

    def _list_done(self) -> DoneChunks:
        return ChunkStore(place=self._place, geobox=GeoBox((1, 1), Affine.identity(), None), layers=self._layers).list_done(self._tiles)

    def _open_store(self, key: ChunkKey) -> ChunkStore:
        """Take the run's grid from a chunk of it."""
        window = self._tiles.chunk(*key).window
        self._place.open_to_gdal()
        nowhere = ChunkStore(place=self._place, geobox=GeoBox((1, 1), Affine.identity(), None), layers=self._layers)
        with open_plain(Path(nowhere.address(key))) as dataset:
            transform = dataset.transform @ Affine.translation(-window.col_off, -window.row_off)
            geobox = GeoBox((self._tiles.height, self._tiles.width), transform, dataset.crs)
        self._store = ChunkStore(place=self._place, geobox=geobox, layers=self._layers)
        return self._store

    def _paint(self, store: ChunkStore, key: ChunkKey) -> None:
        """Put a chunk into the coarse picture: of each block the pixel in its middle."""
        window = self._tiles.chunk(*key).window
        rows, rows_in = _sample(window.row_off, window.height, self._factor, self._coarse.shape[1])
        cols, cols_in = _sample(window.col_off, window.width, self._factor, self._coarse.shape[2])
        with open_plain(Path(store.address(key))) as dataset:
            pixels = dataset.read([self._layers.index(name) + 1 for name in self.shown], window=Window(0, 0, window.width, window.height))
        self._coarse[:, rows, cols] = pixels[:, rows_in[:, None], cols_in]

    def _publish(self, store: ChunkStore, done: DoneChunks) -> None:
        """Make what tiles are read from anew; those that are under way are read from the former."""
        version = self.version + 1
        name = f"v{version}"
        mosaic = ChunkMosaic(store=store, tiles=self._tiles, done=done)
        text = mosaic.describe(self._work, name, self.shown, LayerStyle(nodata=NODATA_CLASS))
        path = self._work / f"{name}.vrt"
        write_whole(path, text.encode())
        former = self._fine, self._far
        fine = TileRaster(str(path), nodata=NODATA_CLASS)
        if self._factor > 1:
            coarse = self._work / f"{name}.tif"
            box = GeoBox(self._coarse.shape[1:], store.geobox.transform @ Affine.scale(self._factor), store.geobox.crs)
            write_image(coarse, self._coarse, box, nodata=NODATA_CLASS)
            self._far = TileRaster(str(coarse), nodata=NODATA_CLASS)
        self._fine, self.version = fine, version
        for raster in former:
            if raster is not None:
                raster.close()
        # whoever reads the former one still may open its rows
        old = f"v{version - 2}"
        remove_rows(self._work, old)
        for ending in ("vrt", "tif"):
            (self._work / f"{old}.{ending}").unlink(missing_ok=True)


def _sample(start: int, length: int, factor: int, most: int) -> tuple[slice, NDArray[np.intp]]:
    """Return which coarse pixels have their middle in a span of pixels, and which pixels of the span these middles are."""
    coarse = np.arange(most)
    middles = coarse * factor + factor // 2
    inside = coarse[(middles >= start) & (middles < start + length)]
    if not inside.size:
        return slice(0, 0), np.zeros(0, np.intp)
    return slice(int(inside[0]), int(inside[-1]) + 1), middles[inside] - start
