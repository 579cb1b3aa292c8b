"""From the canvas of QGIS to the pixels of a layer."""

from __future__ import annotations

import os
from typing import Any

from qgis.core import QgsCoordinateTransform, QgsCsException, QgsDistanceArea, QgsPointXY, QgsProject

from .preview import Clip, Grid, PreviewError, plan_clip
from .text import tr


def clip_of_canvas(canvas: Any, layer: Any, resolution_m: float | None) -> Clip:
    """Choose the pixels of a raster layer that a canvas shows.

    Args:
        canvas: The map.
        layer: Raster layer.
        resolution_m: What the model was trained for; see :func:`geoseg.qgis_plugin.preview.plan_clip`.

    Raises:
        PreviewError: If the canvas shows nothing of the layer, or its place is unknown.
    """
    if not layer.crs().isValid():
        raise PreviewError(tr("Layer {name} has no coordinate reference system. Set one in its properties.").format(name=layer.name()))
    way = QgsCoordinateTransform(canvas.mapSettings().destinationCrs(), layer.crs(), QgsProject.instance())
    try:
        seen = way.transformBoundingBox(canvas.extent())
    except QgsCsException as exc:
        raise PreviewError(tr("The map has no place in the coordinate system of the layer: {error}").format(error=exc)) from exc
    box = (seen.xMinimum(), seen.yMinimum(), seen.xMaximum(), seen.yMaximum())
    return plan_clip(grid_of(layer), box, resolution_m)


def file_of_layer(layer: Any) -> str:
    """Return the file or address of a raster layer.

    Raises:
        PreviewError: If another program cannot open it where it lies.
    """
    path = str(layer.source()).partition("|")[0]
    is_elsewhere = path.startswith("/vsi") and not path.startswith("/vsimem")
    if layer.providerType() == "gdal" and (os.path.isfile(path) or is_elsewhere):
        # geoseg runs in another folder
        return path if is_elsewhere else os.path.abspath(path)
    text = tr("'{name}' is no file that geoseg can open where it lies. The dialog with all options (...) exports it, or says what to do.")
    raise PreviewError(text.format(name=layer.name()))


def grid_of(layer: Any) -> Grid:
    """Return the pixels of a raster layer on the ground."""
    extent = layer.extent()
    pixel_x, pixel_y = layer.rasterUnitsPerPixelX(), layer.rasterUnitsPerPixelY()
    measure = QgsDistanceArea()
    measure.setSourceCrs(layer.crs(), QgsProject.instance().transformContext())
    measure.setEllipsoid("WGS84")
    # over many pixels: near a point, formulas lose digits
    center, count = extent.center(), max(1, layer.width() // 2)
    pixel_m = measure.measureLine(center, QgsPointXY(center.x() + count * pixel_x, center.y())) / count
    return Grid(extent.xMinimum(), extent.yMaximum(), pixel_x, pixel_y, layer.width(), layer.height(), pixel_m)
