"""What the values of a band mean, as the raster itself says."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as ET

import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from geoseg.errors import RasterError
from geoseg.io.raster import RasterOptions, bounded_cache, open_dataset

_NAME_USAGE, _VALUE_USAGES = "2", ("5", "3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One band of a raster."""

    dtype: str
    """Data type, as NumPy names it."""
    nodata: float | None
    """Value of pixels without data."""
    names: dict[int, str]
    """Names of values, from the raster's category names or attribute table; empty if it has neither."""


def describe_band(path: str, number: int) -> Band:
    """Read type, nodata and names of a band.

    Args:
        path: File name or GDAL connection string; it was opened before.
        number: From 1.

    Raises:
        RasterError: If there is no such band, or the raster is placed by control points and not by a grid.
    """
    with open_dataset(path, RasterOptions()) as dataset:
        if not 1 <= number <= dataset.count:
            raise RasterError(f"{path} has {dataset.count} bands; band {number} was asked for. Choose one with --band.")
        if dataset.crs is None and dataset.gcps[0]:
            raise RasterError(f"{path} is placed by {len(dataset.gcps[0])} ground control points and not by a grid. Warp it with gdalwarp.")
        return Band(dtype=dataset.dtypes[number - 1], nodata=dataset.nodatavals[number - 1], names=_read_names(path, number))


def _read_names(path: str, number: int) -> dict[int, str]:
    """Read names through the text that GDAL writes for any format when it wraps a raster as a virtual one."""
    with TemporaryDirectory() as folder:
        wrapped = Path(folder) / "raster.vrt"
        try:
            with bounded_cache():
                rasterio.shutil.copy(path, wrapped, driver="VRT")
            band = ET.parse(wrapped).getroot().find(f"VRTRasterBand[@band='{number}']")
        except (RasterioError, CPLE_BaseError, ET.ParseError):
            # names are a courtesy of the file: one that cannot be wrapped has none
            return {}
    if band is None:
        return {}
    categories = [category.text or "" for category in band.findall("CategoryNames/Category")]
    listed = {value: name for value, name in enumerate(categories) if name.strip()}
    return listed or _read_table(band)


def _read_table(band: ET.Element) -> dict[int, str]:
    """Read the raster attribute table: the column of names, and that of values or of minima."""
    table = band.find("GDALRasterAttributeTable")
    if table is None:
        return {}
    usages = [field.findtext("Usage", "") for field in table.findall("FieldDefn")]
    value = next((usages.index(usage) for usage in _VALUE_USAGES if usage in usages), None)
    if value is None or _NAME_USAGE not in usages:
        return {}
    rows = [[cell.text or "" for cell in row.findall("F")] for row in table.findall("Row")]
    name = usages.index(_NAME_USAGE)
    return {int(float(row[value])): row[name] for row in rows if row[name].strip()}
