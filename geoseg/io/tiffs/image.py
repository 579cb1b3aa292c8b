"""Images that are in memory, as tiled GeoTIFFs."""

from pathlib import Path
from threading import Lock
from typing import Any

from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.io import MemoryFile

from geoseg.io.files import write_whole
from geoseg.io.raster import bounded_cache

BLOCK_PX = 256
"""Side of the blocks that are compressed by themselves."""
_ONE_AT_A_TIME = Lock()
"""Files that are written at the same time share GDAL's cache, and can wait for each other for ever when it is full."""


def encode_geotiff(layers: NDArray[Any], transform: Affine, crs: Any, nodata: float | None = None) -> bytes:
    """Encode layers as the bytes of a tiled GeoTIFF.

    Args:
        layers: (L, H, W).
        transform: Of the upper left corner.
        crs: As odc.geo or rasterio know it; None for none.
        nodata: Value of pixels without data.
    """
    count, height, width = layers.shape
    profile = {"driver": "GTiff", "count": count, "dtype": layers.dtype.name, "height": height, "width": width}
    storage = {"tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX, "interleave": "band", "compress": "zstd", "zstd_level": 1}
    with _ONE_AT_A_TIME, bounded_cache(), MemoryFile() as memory:
        with memory.open(**profile, **storage, transform=transform, crs=crs, nodata=nodata) as dataset:
            dataset.write(layers)
        return bytes(memory.getbuffer())


def write_image(path: Path, pixels: NDArray[Any], geobox: GeoBox, nodata: float | None = None) -> None:
    """Write an image that is in memory as a tiled GeoTIFF, whole or not at all.

    Args:
        path: Final name.
        pixels: (C, H, W).
        geobox: Its grid.
        nodata: Value of pixels without data.

    Raises:
        WriteError: If the disk does not take it.
    """
    write_whole(path, encode_geotiff(pixels, geobox.transform, geobox.crs, nodata))
