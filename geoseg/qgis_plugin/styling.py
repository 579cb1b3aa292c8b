"""The layers of a run in QGIS: styled, in one group for each run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsLayerTree,
    QgsPalettedRasterRenderer,
    QgsProcessingContext,
    QgsProcessingLayerPostProcessorInterface,
    QgsProject,
    QgsRasterLayer,
    QgsRendererCategory,
    QgsSimpleLineSymbolLayer,
    QgsSingleSymbolRenderer,
    QgsSymbol,
    QgsVectorLayer,
)
from qgis.PyQt.QtGui import QColor

from .text import tr

GROUP = "geoseg/group"
"""Property of a layer group: the run folder whose layers it holds."""

_NODATA = 255
_CASING_MM = 0.8
_UNDER_OBJECTS = 0.55
"""Opacity of the class map: objects on it have its colors, and the imagery below is wanted too."""


@dataclass(frozen=True)
class RunLayer:
    """One layer of a run."""

    key: str
    """Name in the run folder: ``classes``, ``landcover``, ``buildings`` or ``roads``."""
    uri: str
    """What QGIS opens."""
    title: str
    """What the layer tree shows."""
    shown: bool
    """Whether it is switched on at first: land cover polygons look like the classes below them."""


def layers_of(run: str) -> list[RunLayer]:
    """Return the layers that a run folder has, the topmost first."""
    features = os.path.join(run, "features.gpkg")
    classes = os.path.join(run, "classes.tif")
    titles = (("buildings", tr("Buildings")), ("roads", tr("Roads")), ("landcover", tr("Land cover")))
    names = _vector_layers(features)
    found = [RunLayer(key, f"{features}|layername={key}", title, key != "landcover") for key, title in titles if key in names]
    return [*found, *([RunLayer("classes", classes, tr("Classes"), True)] if os.path.isfile(classes) else [])]


def _vector_layers(path: str) -> set[str]:
    if not os.path.isfile(path):
        return set()
    # its provider goes with it
    layer = QgsVectorLayer(path, "features", "ogr")
    # "0!!::!!buildings!!::!!12!!::!!Polygon..."
    return {entry.split("!!::!!")[1] for entry in layer.dataProvider().subLayers()}


def open_layer(layer: RunLayer, run: str) -> Any:
    """Open a layer of a run, styled."""
    opened = QgsRasterLayer(layer.uri, layer.title) if layer.key == "classes" else QgsVectorLayer(layer.uri, layer.title, "ogr")
    dress(opened, layer.key, run)
    return opened


def dress(layer: Any, key: str, run: str) -> None:
    """Give a layer its colors and its legend; those of features stand in their GeoPackage."""
    if key == "classes":
        palette = read_palette(run)
        if palette:
            layer.setRenderer(QgsPalettedRasterRenderer(layer.dataProvider(), 1, palette))
    else:
        layer.loadDefaultStyle()
        # roads of a change have a symbol for each status
        if key == "roads" and isinstance(layer.renderer(), QgsSingleSymbolRenderer):
            _add_casing(layer.renderer().symbol())


def _add_casing(symbol: Any) -> None:
    """Draw a darker edge around roads, which have the color of the pixels below them."""
    casing = QgsSimpleLineSymbolLayer(symbol.color().darker(250), symbol.width() + _CASING_MM)
    symbol.insertSymbolLayer(0, casing)


def _let_through(layer: Any, key: str) -> None:
    if key == "classes":
        layer.setOpacity(_UNDER_OBJECTS)


def read_palette(run: str) -> list[Any]:
    """Return the classes of a run as a legend; empty if its summary is missing."""
    try:
        with open(os.path.join(run, "summary.json"), encoding="utf-8") as stream:
            classes = json.load(stream)["classes"]
    except (OSError, ValueError, KeyError):
        return []
    return [QgsPalettedRasterRenderer.Class(c["value"], QColor(c["color"]), c["name"]) for c in classes if c["value"] != _NODATA]


def add_run(run: str, project: QgsProject, keys: Sequence[str] | None = None) -> list[Any]:
    """Add the layers of a run folder to a project, in a group of its own, and return them.

    Args:
        run: The run folder.
        project: Takes the layers.
        keys: Which layers; None adds all.
    """
    added = []
    for layer in reversed([one for one in layers_of(run) if keys is None or one.key in keys]):
        opened = open_layer(layer, run)
        project.addMapLayer(opened, False)
        node = group_of(run, project).insertLayer(0, opened)
        node.setItemVisibilityChecked(layer.shown)
        _let_through(opened, layer.key)
        added.append(opened)
    return added


def group_of(run: str, project: QgsProject) -> Any:
    """Return the group of a run in the layer tree, made at the top if there is none."""
    root = project.layerTreeRoot()
    for group in root.findGroups(True):
        if group.customProperty(GROUP) == run:
            return group
    group = root.insertGroup(0, os.path.basename(run.rstrip("/\\")) or run)
    group.setCustomProperty(GROUP, run)
    return group


class _IntoGroup(QgsProcessingLayerPostProcessorInterface):
    """Styles a layer that Processing has loaded, and moves it into the group of its run."""

    def __init__(self, key: str, run: str, shown: bool) -> None:
        super().__init__()
        self._key, self._run, self._shown = key, run, shown

    def postProcessLayer(self, layer: Any, context: QgsProcessingContext, feedback: Any) -> None:  # noqa: N802  of QGIS
        """Do it, in the main thread."""
        dress(layer, self._key, self._run)
        _let_through(layer, self._key)
        project = context.project() or QgsProject.instance()
        node = project.layerTreeRoot().findLayer(layer.id())
        if node is None:
            return
        group = group_of(self._run, project)
        moved = node.clone()
        moved.setItemVisibilityChecked(self._shown)
        group.insertChildNode(_place(group, self._key), moved)
        node.parent().removeChildNode(node)


_ORDER = ("buildings", "roads", "landcover", "classes")


def _place(group: QgsLayerTree, key: str) -> int:
    """Return where a layer belongs among those that are there already."""
    above = _ORDER[: _ORDER.index(key)] if key in _ORDER else ()
    there = [_key_of(node.layer()) for node in group.findLayers()]
    return sum(name in above for name in there)


def _key_of(layer: Any) -> str:
    return "classes" if isinstance(layer, QgsRasterLayer) else str(layer.source()).rpartition("layername=")[2]


# Processing does not keep them
_kept: list[QgsProcessingLayerPostProcessorInterface] = []


def _keep(processor: QgsProcessingLayerPostProcessorInterface, details: Any) -> None:
    _kept.append(processor)
    details.setPostProcessor(processor)


def load_run(run: str, context: QgsProcessingContext, load: bool) -> Iterator[tuple[str, str]]:
    """Have Processing load the layers of a run when the algorithm is done; yield each key and what QGIS opens.

    Args:
        run: The run folder.
        context: Of the algorithm.
        load: Whether layers are loaded; without a project, as in ``qgis_process``, none are.
    """
    project = context.project()
    for layer in layers_of(run):
        if load and project is not None:
            _load(layer, run, context, project)
        yield layer.key, layer.uri


def _load(layer: RunLayer, run: str, context: QgsProcessingContext, project: QgsProject) -> None:
    details = QgsProcessingContext.LayerDetails(layer.title, project, layer.key)
    _keep(_IntoGroup(layer.key, run, layer.shown), details)
    context.addLayerToLoadOnCompletion(layer.uri, details)


def load_file(path: str, folder: str, context: QgsProcessingContext) -> None:
    """Have Processing load all layers of a GeoPackage into the group of a folder; their styles stand in it."""
    project = context.project()
    if project is None:
        return
    for name in sorted(_vector_layers(path) - {"layer_styles"}):
        _load(RunLayer(name, f"{path}|layername={name}", name, True), folder, context, project)


def palette_of(raster: QgsRasterLayer) -> dict[str, QColor]:
    """Return the colors of a class raster by value, as QGIS draws it; empty if it is drawn otherwise."""
    renderer = raster.renderer()
    return {str(int(c.value)): c.color for c in renderer.classes()} if isinstance(renderer, QgsPalettedRasterRenderer) else {}


class _Painted(QgsProcessingLayerPostProcessorInterface):
    """Gives class polygons the colors of the raster that they were drawn around."""

    def __init__(self, colors: dict[str, QColor]) -> None:
        super().__init__()
        self._colors = colors

    def postProcessLayer(self, layer: Any, context: QgsProcessingContext, feedback: Any) -> None:  # noqa: N802  of QGIS
        """Do it, in the main thread."""
        values, names = layer.fields().indexOf("class_value"), layer.fields().indexOf("class")
        if not self._colors or values < 0 or names < 0:
            return
        found = {f.attribute(values): f.attribute(names) for f in layer.getFeatures()}
        categories = []
        for value in sorted(found):
            symbol = QgsSymbol.defaultSymbol(layer.geometryType())
            symbol.setColor(self._colors.get(str(value), QColor("#808080")))
            categories.append(QgsRendererCategory(value, symbol, str(found[value])))
        layer.setRenderer(QgsCategorizedSymbolRenderer("class_value", categories))
        layer.triggerRepaint()


def paint_on_completion(path: str, colors: dict[str, QColor], context: QgsProcessingContext) -> None:
    """Have class polygons painted when Processing loads them, if it does."""
    if context.willLoadLayerOnCompletion(path):
        _keep(_Painted(colors), context.layerToLoadOnCompletionDetails(path))
