"""How programs draw a run: styles of QGIS (QML) and of OGC (SLD 1.0.0), from the colors of its classes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd

from geoseg.io.files import write_whole
from geoseg.io.vector import FIXED_DATE
from geoseg.pixels.classes import ClassKind, ClassScheme
from geoseg.products.formats.run import RunProducts

_QGIS = "3.28.0"
_SLD, _OGC = "http://www.opengis.net/sld", "http://www.opengis.net/ogc"
_BUILDING, _ROAD, _NODE = "#d62828", "#f77f00", "#6c3a00"
"""Colors of things for which the scheme has no class."""
LAYER_KINDS = {"landcover": "fill", "buildings": "fill", "roads": "line", "road_nodes": "marker"}
"""Layers that are drawn, and with what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How the features of a layer look."""

    kind: str
    """``fill``, ``line`` or ``marker``."""
    column: str | None
    """Column that the color depends on; None draws all alike."""
    rows: tuple[tuple[int | str, str, str], ...]
    """Value, name and color (``#rrggbb``); of one row if there is no column."""


def find_look(layer: str, scheme: ClassScheme) -> Look:
    """Return how a layer of ``features.gpkg`` is drawn."""
    if layer == "landcover":
        return Look(kind="fill", column="class_value", rows=tuple((c.value, c.name, c.color) for c in scheme))
    kind = {"buildings": ClassKind.BUILDING, "roads": ClassKind.ROAD}.get(layer)
    known = scheme.of_kind(kind) if kind is not None else ()
    default = {"buildings": _BUILDING, "roads": _ROAD}.get(layer, _NODE)
    return Look(kind=LAYER_KINDS[layer], column=None, rows=((0, layer.replace("_", " "), known[0].color if known else default),))


def write_styles(products: RunProducts, target: Path) -> None:
    """Write ``classes.qml`` and ``classes.sld``, and the same for every layer of features.

    QGIS takes the first by itself when it opens the raster; for layers of the GeoPackage it finds the styles inside that.
    """
    if products.find("classes.tif") is not None:
        write_whole(target / "classes.qml", raster_qml(products.scheme).encode())
        write_whole(target / "classes.sld", raster_sld(products.scheme).encode())
    for layer in products.layers():
        look = find_look(layer, products.scheme)
        write_whole(target / f"{layer}.qml", vector_qml(look).encode())
        write_whole(target / f"{layer}.sld", vector_sld(layer, look).encode())


def style_table(scheme: ClassScheme, layers: Iterable[str]) -> pd.DataFrame:
    """Return the table ``layer_styles`` of the layers of a run; see :func:`tabulate_looks`."""
    return tabulate_looks({layer: find_look(layer, scheme) for layer in layers})


def tabulate_looks(looks: Mapping[str, Look]) -> pd.DataFrame:
    """Return the table ``layer_styles`` of a GeoPackage, in which QGIS looks for the styles of its layers, by their names."""
    common = {"f_table_catalog": "", "f_table_schema": "", "f_geometry_column": "geom", "useAsDefault": True, "owner": "", "ui": ""}
    rows = [
        {
            **common,
            "f_table_name": layer,
            "styleName": layer,
            "styleQML": vector_qml(look),
            "styleSLD": vector_sld(layer, look),
            "description": f"Colors of geoseg for {layer}",
            "update_time": datetime.fromisoformat(FIXED_DATE),
        }
        for layer, look in looks.items()
    ]
    return pd.DataFrame(rows)


def raster_qml(scheme: ClassScheme) -> str:
    """Return the style of a class map for QGIS: a palette with names."""
    root = ET.Element("qgis", version=_QGIS, styleCategories="Symbology")
    renderer = ET.SubElement(
        ET.SubElement(root, "pipe"), "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    palette = ET.SubElement(renderer, "colorPalette")
    for c in scheme:
        ET.SubElement(palette, "paletteEntry", value=str(c.value), color=c.color, label=c.name, alpha="255")
    return _qml(root)


def vector_qml(look: Look) -> str:
    """Return the style of a layer for QGIS: one symbol, or one for each value of a column."""
    root = ET.Element("qgis", version=_QGIS, styleCategories="Symbology")
    common: dict[str, Any] = {"symbollevels": "0", "enableorderby": "0", "forceraster": "0"}
    if look.column is None:
        renderer = ET.SubElement(root, "renderer-v2", type="singleSymbol", **common)
    else:
        renderer = ET.SubElement(root, "renderer-v2", type="categorizedSymbol", attr=look.column, **common)
        categories = ET.SubElement(renderer, "categories")
        for number, (value, name, _) in enumerate(look.rows):
            ET.SubElement(categories, "category", symbol=str(number), value=str(value), label=name, render="true", type=_type_of(value))
    symbols = ET.SubElement(renderer, "symbols")
    for number, (_, _, color) in enumerate(look.rows):
        symbols.append(_symbol(str(number), look.kind, color))
    return _qml(root)


def _type_of(value: int | str) -> str:
    return "long" if isinstance(value, int) else "string"


def _symbol(name: str, kind: str, color: str) -> ET.Element:
    symbol = ET.Element("symbol", name=name, type=kind, alpha="1", clip_to_extent="1", force_rhr="0")
    drawn, options = {
        "fill": ("SimpleFill", {"color": _rgba(color, 160), "outline_color": _rgba(color, 255), "outline_width": "0.2", "style": "solid"}),
        "line": ("SimpleLine", {"line_color": _rgba(color, 255), "line_width": "0.6", "capstyle": "round", "joinstyle": "round"}),
        "marker": ("SimpleMarker", {"color": _rgba(color, 255), "name": "circle", "size": "1.2", "outline_style": "no"}),
    }[kind]
    layer = ET.SubElement(symbol, "layer", {"class": drawn, "enabled": "1", "locked": "0", "pass": "0"})
    table = ET.SubElement(layer, "Option", type="Map")
    for key, value in options.items():
        ET.SubElement(table, "Option", name=key, value=value, type="QString")
        # before version 3.26 QGIS reads these
        ET.SubElement(layer, "prop", k=key, v=value)
    return symbol


def _rgba(color: str, alpha: int) -> str:
    return ",".join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5)) + f",{alpha}"


def _qml(root: ET.Element) -> str:
    ET.indent(root, " ")
    return f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{ET.tostring(root, encoding='unicode')}\n"


def raster_sld(scheme: ClassScheme) -> str:
    """Return the style of a class map for GeoServer, MapServer and others."""
    root, rules = _sld("classes")
    colors = ET.SubElement(ET.SubElement(ET.SubElement(rules, "Rule"), "RasterSymbolizer"), "ColorMap", type="values")
    for c in scheme:
        ET.SubElement(colors, "ColorMapEntry", color=c.color, quantity=str(c.value), label=c.name, opacity="1")
    return _xml(root)


def vector_sld(layer: str, look: Look) -> str:
    """Return the style of a layer for GeoServer, MapServer and others."""
    root, rules = _sld(layer)
    for value, name, color in look.rows:
        rule = ET.SubElement(rules, "Rule")
        ET.SubElement(rule, "Name").text = name
        if look.column is not None:
            equal = ET.SubElement(ET.SubElement(rule, "ogc:Filter"), "ogc:PropertyIsEqualTo")
            ET.SubElement(equal, "ogc:PropertyName").text = look.column
            ET.SubElement(equal, "ogc:Literal").text = str(value)
        _add_symbolizer(rule, look.kind, color)
    return _xml(root)


def _add_symbolizer(rule: ET.Element, kind: str, color: str) -> None:
    if kind == "line":
        _parameters(ET.SubElement(ET.SubElement(rule, "LineSymbolizer"), "Stroke"), [("stroke", color), ("stroke-width", "2")])
        return
    if kind == "fill":
        symbolizer = ET.SubElement(rule, "PolygonSymbolizer")
        _parameters(ET.SubElement(symbolizer, "Fill"), [("fill", color), ("fill-opacity", "0.63")])
        _parameters(ET.SubElement(symbolizer, "Stroke"), [("stroke", color), ("stroke-width", "0.7")])
        return
    graphic = ET.SubElement(ET.SubElement(rule, "PointSymbolizer"), "Graphic")
    mark = ET.SubElement(graphic, "Mark")
    ET.SubElement(mark, "WellKnownName").text = "circle"
    _parameters(ET.SubElement(mark, "Fill"), [("fill", color)])
    ET.SubElement(graphic, "Size").text = "4"


def _parameters(parent: ET.Element, values: Sequence[tuple[str, str]]) -> None:
    for name, value in values:
        ET.SubElement(parent, "CssParameter", name=name).text = value


def _sld(name: str) -> tuple[ET.Element, ET.Element]:
    root = ET.Element("StyledLayerDescriptor", {"version": "1.0.0", "xmlns": _SLD, "xmlns:ogc": _OGC})
    layer = ET.SubElement(root, "NamedLayer")
    ET.SubElement(layer, "Name").text = name
    style = ET.SubElement(layer, "UserStyle")
    ET.SubElement(style, "Title").text = name
    return root, ET.SubElement(style, "FeatureTypeStyle")


def _xml(root: ET.Element) -> str:
    ET.indent(root, " ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'
