"""Overviews of class maps, each half as large as the one before, made several times faster than GDAL makes them by mode."""

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geoseg.errors import RunError
from geoseg.io.raster import create_raster, open_plain
from geoseg.pixels.mode import halve_by_mode
from geoseg.tiling import partition

_BLOCK_PX = 2048
_STORAGE = {"count": 1, "dtype": "uint8", "blockxsize": 512, "blockysize": 512, "compress": "zstd", "zstd_level": 1}


def add_mode_overviews(vrt: str, description: Path, least_px: int) -> tuple[str, list[Path]]:
    """Make the overviews of a virtual class map, and name them in its description.

    Args:
        vrt: Text of the VRT, of one band of uint8.
        description: The VRT as a file; overviews lie beside it.
        least_px: The last overview is the first one that fits into a square of this side.

    Returns:
        The text with overviews, and their files.

    Raises:
        RunError: If the class map cannot be read.
        WriteError: If the disk does not take them.
    """
    made: list[Path] = []
    larger, shape = description, _shape_of(description)
    while max(shape) > least_px:
        made.append(description.with_name(f"{description.stem}.{len(made) + 1}.overview.tif"))
        shape = _halve(larger, made[-1])
        larger = made[-1]
    named = "".join(
        f'<Overview><SourceFilename relativeToVRT="1">{escape(path.name)}</SourceFilename><SourceBand>1</SourceBand></Overview>'
        for path in made
    )
    return vrt.replace("</VRTRasterBand>", f"{named}</VRTRasterBand>", 1), made


def bytes_per_pixel(overview: Path) -> float:
    """Return how many bytes of an overview's file there are for a pixel: how little of the map repeats.

    Raises:
        RunError: If it cannot be read.
    """
    height, width = _shape_of(overview)
    return overview.stat().st_size / (height * width)


def _shape_of(path: Path) -> tuple[int, int]:
    with open_plain(path) as dataset:
        return int(dataset.height), int(dataset.width)


def _halve(larger: Path, smaller: Path) -> tuple[int, int]:
    with open_plain(larger) as dataset:
        shape = -(-dataset.height // 2), -(-dataset.width // 2)
        grid = GeoBox(shape, dataset.transform @ Affine.scale(2), dataset.crs)
        with create_raster(smaller, grid, nodata=dataset.nodata, **_STORAGE) as halved:
            for window in partition((dataset.height, dataset.width), _BLOCK_PX):
                _halve_window(dataset, halved, window)
    return shape


def _halve_window(dataset: Any, halved: Any, window: Window) -> None:
    try:
        whole = dataset.read(1, window=window)
    except RasterioError as exc:
        raise RunError(f"{dataset.name} could not be read: {exc}. Remove what is damaged and run the same command again.") from exc
    values = halve_by_mode(whole, None if dataset.nodata is None else int(dataset.nodata))
    height, width = values.shape
    halved.write(values, 1, window=Window(window.col_off // 2, window.row_off // 2, width, height))
