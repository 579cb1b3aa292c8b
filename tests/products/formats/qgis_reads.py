"""What QGIS makes of the styles of a run folder; runs in the Python of QGIS and writes JSON."""

import json
import sys
from pathlib import Path
from typing import Any

from qgis.core import QgsApplication, QgsRasterLayer, QgsVectorLayer


def describe(layer: Any) -> list[list[Any]]:
    """Value, name and color of each class; of one row with the name of the layer where all features look alike."""
    renderer = layer.renderer()
    kind = renderer.type()
    if kind == "paletted":
        return [[int(one.value), one.label, one.color.name()] for one in renderer.classes()]
    if kind == "categorizedSymbol":
        return [[int(one.value()), one.label(), one.symbol().color().name()] for one in renderer.categories()]
    if kind == "RuleRenderer":
        return [[rule.filterExpression(), rule.label(), rule.symbol().color().name()] for rule in renderer.rootRule().children()]
    return [[kind, "", renderer.symbol().color().name()]]


def read(run: Path, names: list[str]) -> dict[str, Any]:
    """Open each layer without a style, with its QML, with its SLD, and vectors as the GeoPackage has them."""
    found: dict[str, Any] = {}
    for name in names:
        uri = str(run / "classes.tif") if name == "classes" else f"{run / 'features.gpkg'}|layername={name}"
        own = QgsRasterLayer(uri, name) if name == "classes" else QgsVectorLayer(uri, name, "ogr")
        told = {"own": describe(own)}
        for ending, load in (("qml", "loadNamedStyle"), ("sld", "loadSldStyle")):
            layer = QgsRasterLayer(uri, name) if name == "classes" else QgsVectorLayer(uri, name, "ogr")
            message, is_loaded = getattr(layer, load)(str(run / f"{name}.{ending}"))
            told[ending] = describe(layer) if is_loaded else message
        found[name] = told
    return found


application = QgsApplication([], False)
application.initQgis()
sys.stdout.write(json.dumps(read(Path(sys.argv[1]), sys.argv[2:])))
application.exitQgis()
