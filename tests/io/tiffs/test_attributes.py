"""The raster attribute table of a class map, as GDAL reads it back."""

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import rasterio
import rasterio.shutil
from odc.geo.geobox import GeoBox

from geoseg.io.store.mosaic import LayerStyle, plain_vrt
from geoseg.io.tiffs.cog import write_cog
from geoseg.pixels.classes import NODATA_CLASS, ClassKind, ClassScheme, LandClass
from tests.doubles import CRS, TRANSFORM, write_raster

SCHEME = ClassScheme(
    classes=(
        LandClass(value=7, name="mud & <water>", color="#0a141e"),
        LandClass(value=2, name="road", color="#ff0080", kind=ClassKind.ROAD),
    )
)


def test_gdal_reads_values_names_and_colors_of_the_table(tmp_path: Path) -> None:
    write_raster(tmp_path / "plain.tif", np.full((1, 20, 30), 7, np.uint8))
    style = LayerStyle(nodata=NODATA_CLASS, scheme=SCHEME)
    vrt = plain_vrt(GeoBox((20, 30), TRANSFORM, CRS), "plain.tif", "uint8", style, ("class",))
    write_cog(vrt, tmp_path, tmp_path / "classes.tif", overviews="mode")
    # GDAL describes what it has read when it wraps a raster as a virtual one
    rasterio.shutil.copy(tmp_path / "classes.tif", tmp_path / "read.vrt", driver="VRT")
    table = ET.parse(tmp_path / "read.vrt").getroot().find("VRTRasterBand/GDALRasterAttributeTable")
    assert table is not None
    assert table.attrib["tableType"] == "thematic"
    columns = [(field.findtext("Name"), field.findtext("Usage")) for field in table.findall("FieldDefn")]
    assert columns == [("Value", "5"), ("Class", "2"), ("Kind", "0"), ("Red", "6"), ("Green", "7"), ("Blue", "8")]
    rows = [[cell.text for cell in row.findall("F")] for row in table.findall("Row")]
    assert rows == [["7", "mud & <water>", "surface", "10", "20", "30"], ["2", "road", "road", "255", "0", "128"]]
