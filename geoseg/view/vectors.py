"""Vector layers as tiles: cut once by GDAL into an archive per layer, in a cache, and read from there."""

import hashlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pmtiles.reader import MmapSource, Reader
from pyogrio import list_layers, read_info
from pyogrio.errors import DataLayerError, DataSourceError

from geoseg.errors import RunError
from geoseg.io.arrow import copy_features
from geoseg.io.files import move_whole
from geoseg.products.formats.pmtiles import choose_zooms
from geoseg.view.rasters import WebTile

_KEPT_S = 30 * 24 * 3600
"""How long archives stay in the cache after they were last looked at."""
_NOT_SHOWN = {"layer_styles", "landcover"}
"""Land cover is shown as the class map that it was made of."""
_FARTHER = 2
"""Zooms that a map goes out beyond the one at which all of a layer fills it."""
_FINEST_PX = 4096
"""Pixels along the longer side of what is looked at, where no raster says how fine it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorLayer:
    """A layer of a vector file."""

    path: Path
    """The file."""
    name: str
    """The layer."""
    geometry: str
    """``Polygon``, ``LineString`` or ``Point``; of several parts likewise."""
    columns: tuple[str, ...]
    """Its columns."""
    count: int
    """Its features."""

    @property
    def kind(self) -> str:
        """``polygon``, ``line`` or ``point``, as maps draw it."""
        lowered = self.geometry.lower()
        return "polygon" if "polygon" in lowered else "line" if "line" in lowered else "point"


def find_layers(path: Path) -> list[VectorLayer]:
    """Return the layers with shapes of a vector file that have features; none of one that cannot be read, or not yet."""
    found = []
    try:
        for name, geometry in list_layers(path):
            if geometry is None or name in _NOT_SHOWN:
                continue
            info = read_info(path, layer=name, force_feature_count=True)
            if info["features"] > 0:
                columns = tuple(str(column) for column in info["fields"])
                layer = VectorLayer(path=path, name=str(name), geometry=str(geometry), columns=columns, count=int(info["features"]))
                found.append(layer)
    except (DataSourceError, DataLayerError, OSError):
        return []
    return found


class VectorArchive:
    """The tiles of one layer.

    Args:
        path: The archive.
        layer: What it was made of.
    """

    def __init__(self, path: Path, layer: VectorLayer) -> None:
        self.layer = layer
        self.version = path.stem[-12:]
        self._stream = path.open("rb")
        self._lock = threading.Lock()
        self._reader = Reader(MmapSource(self._stream))
        header: dict[str, Any] = self._reader.header()
        self.zooms: tuple[int, int] = (int(header["min_zoom"]), int(header["max_zoom"]))

    def read(self, tile: WebTile) -> bytes:
        """Return a tile, compressed with gzip; empty where there is none."""
        with self._lock:
            found = self._reader.get(tile.z, tile.x, tile.y)
        return bytes(found or b"")

    def close(self) -> None:
        """Let the file go."""
        self._stream.close()


def open_archive(layer: VectorLayer, geobox: GeoBox | None, cache: Path) -> VectorArchive:
    """Return the tiles of a layer; they are made if the cache has none of the file as it is now.

    Args:
        layer: The layer.
        geobox: Grid that it was found on, which says how fine it is; None takes the layer's extent.
        cache: Folder of archives; those that nobody has looked at for a month go.

    Raises:
        RunError: If the file changes while it is read.
        WriteError: If the cache cannot be written.
    """
    cache.mkdir(parents=True, exist_ok=True)
    stat = layer.path.stat()
    key = f"{layer.path.absolute()} {stat.st_size} {stat.st_mtime_ns} {layer.name}"
    # the name of a layer is a stranger's: it may hold a path
    path = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.pmtiles"
    if not path.exists():
        _forget_old(cache)
        least, most = choose_zooms(geobox or _grid_of(layer))
        # two maps may cut the same layer at a time
        made = path.with_suffix(f".{os.getpid()}.part.pmtiles")
        made.unlink(missing_ok=True)
        options = {"MINZOOM": str(max(0, least - _FARTHER)), "MAXZOOM": str(most), "NAME": layer.name}
        copy_features(layer.path, layer.name, made, "PMTiles", layer.geometry, dataset_options=options)
        move_whole(made, path)
    path.touch()
    return VectorArchive(path, layer)


def _grid_of(layer: VectorLayer) -> GeoBox:
    """Return a grid over the extent of a layer, as fine as one looks at it at most."""
    info = read_info(layer.path, layer=layer.name, force_total_bounds=True)
    left, bottom, right, top = info["total_bounds"]
    side = max(right - left, top - bottom, np.finfo(float).tiny)
    if info["crs"] is None or not np.isfinite(side):
        raise RunError(f"Layer {layer.name} of {layer.path} has no place on a map: it declares no CRS, or has no extent.")
    step = side / _FINEST_PX
    shape = (max(1, round((top - bottom) / step)), max(1, round((right - left) / step)))
    return GeoBox(shape, Affine(step, 0, left, 0, -step, top), info["crs"])


def _forget_old(cache: Path) -> None:
    """Remove archives that nobody has looked at for long."""
    for path in cache.glob("*.pmtiles"):
        try:
            if time.time() - path.stat().st_mtime > _KEPT_S:
                path.unlink()
        except FileNotFoundError:
            continue
