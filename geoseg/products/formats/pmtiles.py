"""PMTiles: vector tiles of all layers in one archive, that a web map reads by ranges from any file server.

GDAL cuts, simplifies and encodes the tiles of one layer. A vector tile is a Protocol Buffers message whose layers are a repeated field, and
such messages are joined by writing them one after the other, so that the archives of all layers become one without decoding any tile.
"""

import gzip
import heapq
import math
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox
from pmtiles.reader import MmapSource, Reader, all_tiles
from pmtiles.tile import Compression, TileType, zxy_to_tileid
from pmtiles.writer import write
from pyproj import Transformer

from geoseg.errors import WriteError
from geoseg.io.arrow import copy_features
from geoseg.io.ground import pixel_size_m
from geoseg.products.formats.run import GEOMETRY_TYPES, RunProducts

_EQUATOR_M = 40_075_016.7
_EXTENT = 4096
"""Units of a tile's side."""
_DEEPEST = 18


def write_pmtiles(products: RunProducts, target: Path) -> None:
    """Write ``features.pmtiles``.

    Raises:
        WriteError: If the disk does not take it.
    """
    layers = [layer for layer, count in products.layers().items() if count]
    if not layers:
        return
    least, most = choose_zooms(products.geobox)
    options = {"MINZOOM": str(least), "MAXZOOM": str(most), "NAME": products.name}
    parts = [target / f".{layer}.pmtiles" for layer in layers]
    for layer, part in zip(layers, parts, strict=True):
        copy_features(products.features, layer, part, "PMTiles", GEOMETRY_TYPES[layer], dataset_options=options)
    try:
        join_archives(parts, target / "features.pmtiles")
        for part in parts:
            part.unlink()
    except OSError as exc:
        raise WriteError(f"features.pmtiles could not be written: {exc}. Make room and run the same command again.") from exc


def choose_zooms(geobox: GeoBox) -> tuple[int, int]:
    """Return the zooms at which the raster fills about one tile, and at which a unit of a tile is no larger than a pixel."""
    pixel_m, box = pixel_size_m(geobox), geobox.boundingbox
    to_degrees = Transformer.from_crs(geobox.crs, "EPSG:4326", always_xy=True)
    _, south, _, north = to_degrees.transform_bounds(box.left, box.bottom, box.right, box.top)
    around_m = _EQUATOR_M * max(0.01, math.cos(math.radians((south + north) / 2)))
    deepest = math.ceil(math.log2(around_m / _EXTENT / pixel_m))
    widest_m = pixel_m * max(geobox.shape)
    shallowest = math.floor(math.log2(around_m / widest_m))
    most = min(max(deepest, 0), _DEEPEST)
    return min(max(shallowest, 0), most), most


def join_archives(parts: list[Path], path: Path) -> None:
    """Join archives of vector tiles that hold other layers each."""
    sources = [part.open("rb") for part in parts]
    try:
        getters = [MmapSource(source) for source in sources]
        readers = [Reader(get) for get in getters]
        headers = [reader.header() for reader in readers]
        with write(str(path)) as writer:
            for tile_id, data in _join_tiles(getters):
                writer.write_tile(tile_id, data)
            writer.finalize(_join_headers(headers), _join_metadata([reader.metadata() for reader in readers]))
    finally:
        for source in sources:
            source.close()


def _join_tiles(getters: list[Any]) -> Iterator[tuple[int, bytes]]:
    streams = [((zxy_to_tileid(*at), data) for at, data in all_tiles(get)) for get in getters]
    for tile_id, found in groupby(heapq.merge(*streams, key=itemgetter(0)), key=itemgetter(0)):
        # equal tiles must be equal bytes, so that they are stored once: no time in the header
        yield tile_id, gzip.compress(b"".join(gzip.decompress(data) for _, data in found), mtime=0)


def _join_headers(headers: list[dict[str, Any]]) -> dict[str, Any]:
    joined: dict[str, Any] = {"tile_type": TileType.MVT, "tile_compression": Compression.GZIP, "internal_compression": Compression.GZIP}
    joined |= {key: min(h[key] for h in headers) for key in ("min_lon_e7", "min_lat_e7", "min_zoom")}
    joined |= {key: max(h[key] for h in headers) for key in ("max_lon_e7", "max_lat_e7", "max_zoom")}
    joined |= {"center_zoom": joined["min_zoom"]}
    joined |= {f"center_{axis}_e7": (joined[f"min_{axis}_e7"] + joined[f"max_{axis}_e7"]) // 2 for axis in ("lon", "lat")}
    return joined


def _join_metadata(each: list[dict[str, Any]]) -> dict[str, Any]:
    layers = [layer for metadata in each for layer in metadata.get("vector_layers", [])]
    return {**each[0], "vector_layers": layers}
