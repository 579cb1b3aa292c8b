"""Raster attribute tables: what each value of a class map is, for programs that list and draw classes by table (GDAL, QGIS, ArcGIS)."""

from xml.sax.saxutils import escape

from geoseg.pixels.classes import ClassScheme

_INTEGER, _TEXT = 0, 2
_FIELDS = (
    ("Value", _INTEGER, 5),
    ("Class", _TEXT, 2),
    ("Kind", _TEXT, 0),
    ("Red", _INTEGER, 6),
    ("Green", _INTEGER, 7),
    ("Blue", _INTEGER, 8),
)
"""Name, type and usage of each column, by GDAL's numbers: value, name, anything, red, green, blue."""


def attribute_table(scheme: ClassScheme) -> str:
    """Return the table of a scheme as the XML that GDAL keeps it in: value, name, kind and color of each class."""
    fields = "".join(
        f'<FieldDefn index="{index}"><Name>{name}</Name><Type>{kind}</Type><Usage>{usage}</Usage></FieldDefn>'
        for index, (name, kind, usage) in enumerate(_FIELDS)
    )
    rows = "".join(
        f'<Row index="{index}">' + "".join(f"<F>{escape(str(cell))}</F>" for cell in (c.value, c.name, c.kind.value, *c.rgb)) + "</Row>"
        for index, c in enumerate(scheme)
    )
    return f'<GDALRasterAttributeTable tableType="thematic">{fields}{rows}</GDALRasterAttributeTable>'
