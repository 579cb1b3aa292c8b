"""Web tiles of one raster file, read by several threads."""

import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from pyproj.exceptions import ProjError
from rio_tiler import reader
from rio_tiler.constants import WGS84_CRS
from rio_tiler.errors import PointOutsideBounds

from geoseg.errors import RasterError, RunError
from geoseg.io.sources.dataset import FOREIGN, RasterOptions, bounded_cache, close_dataset, hold_dataset, read_warped
from geoseg.io.sources.valid import read_valid
from geoseg.io.tiffs.reduced import write_reduced

TILE_PX = 256
"""Side of a web tile."""
WORLD_M = 2 * math.pi * 6_378_137
"""Side of the square that web mercator draws the world in, in its metres."""
_MOST_NORTH_DEG = 85.06
PYRAMID_PX = 2**26
"""Most pixels of the copy that stands for a raster without overviews when one looks at much of it: 0.2 GB of color on disk, packed less."""
_MOST_BLOCK_PX = 1024
"""Side of blocks beyond which a file is no tiled one: a web tile would decode much that it does not need."""
_HARDLY_LARGER = math.sqrt(2)
"""Pixels that are larger than those of a tile by no more than that stand for them; smaller ones than half of that never do."""
_MOST_OPEN = 96
"""Files that stay open to be read again; systems let a process have a thousand."""
_POINTS = 21
"""Points of each side of a raster whose places tell where it lies."""

Box = tuple[float, float, float, float]
"""West, south, east and north in degrees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebTile:
    """A square of the web map: zoom, column from the west, row from the north."""

    z: int
    """Zoom; 0 is the world."""
    x: int
    """Column."""
    y: int
    """Row."""

    @property
    def exists(self) -> bool:
        """Whether there is such a tile."""
        return 0 <= self.z <= 26 and 0 <= self.x < 2**self.z and 0 <= self.y < 2**self.z

    @property
    def bounds_m(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top in web mercator."""
        side = WORLD_M / (1 << self.z)
        left, top = self.x * side - WORLD_M / 2, WORLD_M / 2 - self.y * side
        return left, top - side, left + side, top

    @property
    def pixel_m(self) -> float:
        """Side of a pixel of it in web mercator."""
        return WORLD_M / (1 << self.z) / TILE_PX

    @property
    def grid(self) -> GeoBox:
        """Its pixels."""
        left, _, _, top = self.bounds_m
        return GeoBox((TILE_PX, TILE_PX), Affine(self.pixel_m, 0, left, 0, -self.pixel_m, top), "EPSG:3857")


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePixels:
    """What a raster holds in a web tile."""

    data: NDArray[Any]
    """(C, 256, 256) in the raster's dtype."""
    valid: NDArray[np.bool_]
    """(256, 256), True = data."""


class TileRaster:
    """A raster that web tiles are cut from; each thread has the file open for itself, and keeps it open for the next one.

    Args:
        path: What GDAL opens.
        options: How.
        nodata: Value without data of a file that may not say so.

    Raises:
        RasterError: If the raster has no place on a web map.
        RunError: If it cannot be opened.
    """

    def __init__(self, path: str, options: RasterOptions | None = None, *, nodata: int | None = None) -> None:
        self.path = path
        self._options = options or RasterOptions()
        self._nodata = nodata
        self._closed = False
        with self._dataset() as dataset:
            self.geobox = GeoBox(dataset.shape, dataset.transform, dataset.crs)
            self.band_count: int = dataset.count
            self.dtype = str(dataset.dtypes[0])
            self.colormap = _read_colormap(dataset)
            self.is_tiled = min(dataset.shape) < _MOST_BLOCK_PX or max(dataset.block_shapes[0]) <= _MOST_BLOCK_PX
            # what GDAL makes of a file keeps none of them
            is_plain = replace(self._options, assume_crs=None, trust_vrt=False, sign=None) == RasterOptions()
            self._overviews: tuple[int, ...] = tuple(dataset.overviews(1)) if is_plain else ()
        self.bounds = find_bounds(path, self.geobox)

    @property
    def size_px(self) -> int:
        """Its longest side."""
        return max(self.geobox.shape)

    @property
    def has_overviews(self) -> bool:
        """Whether looking at much of it reads little."""
        return bool(self._overviews)

    @cached_property
    def pixel_m(self) -> float:
        """Side of its middle pixel in web mercator, as tiles measure."""
        rows, cols = self.geobox.shape
        corners = np.array([(cols / 2, rows / 2), (cols / 2 + 1, rows / 2), (cols / 2, rows / 2 + 1)])
        x, y = _project(self.geobox, corners, "EPSG:3857")
        return float(math.sqrt(abs((x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]))))

    @property
    def zoom(self) -> int:
        """The zoom from which its pixels are as large as those of tiles, or larger."""
        return max(0, math.ceil(math.log2(WORLD_M / TILE_PX / self.pixel_m)))

    def touches(self, tile: WebTile) -> bool:
        """Tell whether a tile may hold some of it."""
        west, south, east, north = self.bounds
        left, bottom, right, top = tile.bounds_m
        to_m = WORLD_M / 360
        return left < east * to_m and right > west * to_m and bottom < _northing(north) and top > _northing(south)

    def read_tile(self, tile: WebTile, bands: tuple[int, ...] = (1,), *, smooth: bool = False) -> TilePixels:
        """Read what lies in a web tile.

        Args:
            tile: Which one.
            bands: 1-based.
            smooth: Interpolate between pixels; classes take the nearest.

        Raises:
            RunError: If the file cannot be read there.
        """
        with self._dataset(self._level(tile.pixel_m)) as dataset:
            data, valid = read_warped(dataset, tile.grid, bands, smooth=smooth, nodata=self._nodata)
        return TilePixels(data=data, valid=valid)

    def read_point(self, lon: float, lat: float, bands: tuple[int, ...] = (1,)) -> tuple[float, ...] | None:
        """Return the values of the pixel at a place in degrees; None where there is none, or no data."""
        west, south, east, north = self.bounds
        if not (west <= lon <= east and south <= lat <= north):
            return None
        with self._dataset() as dataset:
            try:
                found = reader.point(dataset, (lon, lat), indexes=bands, coord_crs=WGS84_CRS)
            except PointOutsideBounds:
                return None
        values = tuple(float(value) for value in np.asarray(found.array.data).ravel())
        masked = bool(np.ma.getmaskarray(found.array).all())
        return None if masked or (self._nodata is not None and values[0] == self._nodata) else values

    def read_coarse(self, bands: tuple[int, ...], longest_px: int) -> TilePixels:
        """Read all of it at once with so few pixels that they fit anywhere; from overviews where there are some."""
        factor = max(1.0, self.size_px / longest_px)
        rows, cols = (max(1, round(n / factor)) for n in self.geobox.shape)
        with self._dataset() as dataset:
            pixels = dataset.read(bands, out_shape=(len(bands), rows, cols))
            valid = read_valid(dataset, out_shape=(rows, cols))
        return TilePixels(data=pixels, valid=valid)

    def write_pyramid(self, path: Path, bands: tuple[int, ...], most_px: int = PYRAMID_PX) -> "TileRaster":
        """Write a smaller copy of some of its bands with overviews, block by block, and return that one; it has so many pixels at most.

        Raises:
            RunError: If it cannot be read.
            WriteError: If the disk does not take it.
        """
        rows, cols = self.geobox.shape
        factor = 2 if self.is_tiled else 1
        while rows * cols > most_px * factor**2:
            factor *= 2
        with self._dataset() as dataset:
            write_reduced(dataset, path, factor, bands)
        return TileRaster(str(path))

    def close(self) -> None:
        """Let the file go; tiles that are being read are read to their end."""
        self._closed = True
        _IDLE.drop(self)

    def _level(self, pixel_m: float) -> int | None:
        """Return which overview has pixels that are about so large; None is the raster itself."""
        fitting = [n for n, factor in enumerate(self._overviews) if factor * self.pixel_m <= _HARDLY_LARGER * pixel_m]
        return max(fitting, key=lambda n: self._overviews[n], default=None)

    @contextmanager
    def _dataset(self, level: int | None = None) -> Iterator[Any]:
        """Lend the open file, or an overview of it, to one thread."""
        dataset = _IDLE.take(self, level)
        try:
            with bounded_cache():
                dataset = dataset or hold_dataset(self.path, replace(self._options, overview=level))
                yield dataset
        except (*FOREIGN, OSError) as exc:
            if dataset is not None:
                close_dataset(dataset)
            raise RunError(f"{self.path} could not be read: {exc}. Check the file with gdalinfo.") from exc
        _IDLE.put(self, dataset, level)
        if self._closed:
            _IDLE.drop(self)


class IdleDatasets:
    """Files that are open and not being read, of all rasters together: a folder of a thousand runs has more than may be open.

    Args:
        most: How many stay open.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: list[tuple[TileRaster, int | None, Any]] = []

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, raster: TileRaster, level: int | None = None) -> Any:
        """Return an open file of a raster, or of an overview of it; None if there is none."""
        with self._lock:
            # that was read last: what it holds decoded is what is looked at
            for number, (owner, kept, dataset) in reversed(list(enumerate(self._kept))):
                if owner is raster and kept == level:
                    del self._kept[number]
                    return dataset
        return None

    def put(self, raster: TileRaster, dataset: Any, level: int | None = None) -> None:
        """Keep a file open, and close the one that nobody has wanted for the longest."""
        with self._lock:
            self._kept.append((raster, level, dataset))
            oldest = self._kept.pop(0)[2] if len(self._kept) > self._most else None
        if oldest is not None:
            close_dataset(oldest)

    def drop(self, raster: TileRaster) -> None:
        """Close the files of a raster."""
        with self._lock:
            dropped = [dataset for owner, _, dataset in self._kept if owner is raster]
            self._kept = [kept for kept in self._kept if kept[0] is not raster]
        for dataset in dropped:
            close_dataset(dataset)


_IDLE = IdleDatasets(_MOST_OPEN)


def _read_colormap(dataset: Any) -> dict[int, tuple[int, ...]]:
    try:
        return dict(dataset.colormap(1))
    except ValueError:
        return {}


def unite(boxes: Sequence[Box]) -> Box:
    """Return the box that holds others; there is at least one."""
    west, south, east, north = zip(*boxes, strict=True)
    return min(west), min(south), max(east), max(north)


def find_bounds(name: str, geobox: GeoBox) -> Box:
    """Return where a raster lies, in degrees.

    Raises:
        RasterError: If a web map cannot show it: it has no CRS, reaches past 85 degrees, or over the 180th meridian.
    """
    if geobox.crs is None:
        raise RasterError(f"{name} declares no CRS, so that it has no place on a map. Say --assume-crs, for example --assume-crs pixels.")
    rows, cols = geobox.shape
    along = np.linspace(0, 1, _POINTS)
    around = [(t * cols, end * rows) for t in along for end in (0, 1)] + [(end * cols, t * rows) for t in along for end in (0, 1)]
    try:
        lon, lat = _project(geobox, np.array(around), "EPSG:4326")
    except ProjError as exc:
        raise RasterError(f"{name} does not lie on the earth, so it has no place on a map: {exc}.") from exc
    if not np.isfinite([lon, lat]).all() or np.abs(lat).max() > _MOST_NORTH_DEG or np.ptp(lon) > 359:
        raise RasterError(f"{name} reaches past 85 degrees or over the 180th meridian, where a web map ends. Look at it with QGIS.")
    return float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())


def _project(geobox: GeoBox, points: NDArray[np.float64], crs: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where pixel coordinates (n, 2), columns and rows, lie in a CRS."""
    a, b, c, d, e, f = tuple(geobox.transform)[:6]
    cols, rows = points.T
    to_crs: Callable[..., Any] = Transformer.from_crs(geobox.crs, crs, always_xy=True).transform
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        x, y = to_crs(a * cols + b * rows + c, d * cols + e * rows + f)
    return np.asarray(x), np.asarray(y)


def _northing(lat_deg: float) -> float:
    """Return the y of a latitude in web mercator."""
    return 6_378_137 * math.asinh(math.tan(math.radians(max(-_MOST_NORTH_DEG, min(_MOST_NORTH_DEG, lat_deg)))))
