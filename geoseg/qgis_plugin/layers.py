"""Layers of QGIS as files that another program can open: passed on, exported, or refused."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Sequence
from typing import Any

from qgis.core import (
    QgsCoordinateTransformContext,
    QgsFeature,
    QgsFields,
    QgsProcessingException,
    QgsProcessingFeatureSource,
    QgsProviderRegistry,
    QgsRasterBlockFeedback,
    QgsRasterFileWriter,
    QgsRasterLayer,
    QgsRasterPipe,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from .enums import FAST_INSERT
from .text import tr

_PICTURES = {"wms": "WMS, WMTS, XYZ", "arcgismapserver": "ArcGIS map service", "vectortile": "vector tiles"}
"""Providers that give pictures made for the screen, whose pixels depend on what is seen."""


class OtherCrsError(ValueError):
    """A layer has another CRS than its file; the message says what to do."""


def told_crs(layer: QgsRasterLayer) -> str:
    """Return the CRS that a layer was given because its file declares none, as ``--assume-crs`` takes it; else nothing.

    Raises:
        OtherCrsError: If the file declares another one than the layer has.
    """
    given, declared = layer.crs(), layer.dataProvider().crs()
    if not given.isValid() or given == declared:
        return ""
    if declared.isValid():
        raise OtherCrsError(
            tr(
                "'{name}' has the CRS {given} in QGIS, but {declared} in its file, which geoseg reads. Write the right one into the file "
                "with Raster > Projections > Assign Projection, or set the layer back."
            ).format(name=layer.name(), given=given.userFriendlyIdentifier(), declared=declared.userFriendlyIdentifier())
        )
    return str(given.authid() if given.authid().startswith("EPSG:") else given.toWkt())


def raster_file(layer: QgsRasterLayer, beside: str, feedback: Any, takes_crs: bool = False) -> str:
    """Return a file or address with the pixels of a raster layer; what is none is exported as GeoTIFF.

    Args:
        layer: The layer.
        beside: Where an export goes, without its ending. One that stands there and is the same stays, so that a run can go on.
        feedback: Is told of an export, and may cancel it.
        takes_crs: Whether the command is also given :func:`told_crs`.

    Raises:
        QgsProcessingException: If the layer shows pictures of a server, cannot be exported, or has another CRS than its file.
    """
    provider = layer.providerType()
    if provider in _PICTURES:
        raise QgsProcessingException(
            tr(
                "'{name}' is a {kind} layer: a server draws it anew for every view, so it has no pixels of its own. "
                "Download the imagery, or save the part you need with Layer > Save As, as rendered image, and use that file."
            ).format(name=layer.name(), kind=_PICTURES[provider])
        )
    source = str(layer.source())
    if provider == "gdal" and not _is_only_in_qgis(source):
        try:
            told = told_crs(layer)
        except OtherCrsError as exc:
            raise QgsProcessingException(str(exc)) from exc
        if told and not takes_crs:
            raise QgsProcessingException(
                tr(
                    "The file of '{name}' declares no CRS; that of the layer is known to QGIS alone. Write it into the file with "
                    "Raster > Projections > Assign Projection."
                ).format(name=layer.name())
            )
        name = source.partition("|")[0]
        return os.path.abspath(name) if os.path.exists(name) else name
    path = f"{beside}.tif"
    feedback.pushInfo(tr("'{name}' is no file; exporting it to {path}.").format(name=layer.name(), path=path))
    made = f"{path}.part.tif"
    try:
        _export_raster(layer, made, feedback)
        # a file that was written anew would be another input, and the run in the folder could not go on
        if not os.path.exists(path) or not filecmp.cmp(made, path, shallow=False):
            os.replace(made, path)
    finally:
        if os.path.exists(made):
            os.remove(made)
    return path


def _is_only_in_qgis(source: str) -> bool:
    """Tell rasters in memory, and descriptions in place of a name."""
    return source.startswith(("/vsimem/", "MEM:", "<")) or not source


def _export_raster(layer: QgsRasterLayer, path: str, feedback: Any) -> None:
    provider = layer.dataProvider()
    pipe = QgsRasterPipe()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not pipe.set(provider.clone()):
        raise QgsProcessingException(tr("'{name}' cannot be read, so it cannot be exported.").format(name=layer.name()))
    writer = QgsRasterFileWriter(path)
    writer.setOutputFormat("GTiff")
    # renamed in QGIS 3.44
    (getattr(writer, "setCreationOptions", None) or writer.setCreateOptions)(["COMPRESS=DEFLATE", "TILED=YES", "BIGTIFF=IF_SAFER"])
    size = provider.xSize(), provider.ySize()
    crs = layer.crs() if layer.crs().isValid() else provider.crs()
    listener = QgsRasterBlockFeedback()
    feedback.canceled.connect(listener.cancel)
    error = writer.writeRaster(pipe, *size, provider.extent(), crs, QgsCoordinateTransformContext(), listener)
    if feedback.isCanceled():
        raise QgsProcessingException(tr("The export of '{name}' was cancelled.").format(name=layer.name()))
    if error:
        raise QgsProcessingException(
            tr("'{name}' could not be exported to {path} (error {error}). Save it as a GeoTIFF and use that file.").format(
                name=layer.name(), path=path, error=int(error)
            )
        )


def vector_file(source: QgsProcessingFeatureSource, layer: QgsVectorLayer | None, beside: str, columns: Sequence[str] | None = None) -> str:
    """Return a file with exactly the features of a source; equal features make equal files, so that a run can go on.

    Args:
        source: What Processing shall use: all features of a layer, or the selected ones.
        layer: The layer that it is of.
        beside: Where an export goes, without its ending.
        columns: Columns that an export keeps; None keeps all.

    Raises:
        QgsProcessingException: If it cannot be exported.
    """
    names = [field.name() for field in source.fields()]
    own = None if layer is None or source.featureCount() != layer.featureCount() else _whole_file(layer, names)
    if own is not None:
        return own
    return save_features(source, f"{beside}.fgb", columns)


def _whole_file(layer: QgsVectorLayer, columns: Sequence[str]) -> str | None:
    """Return the file of a layer that shows all of its only layer, as it is on disk: not joined or computed columns, nor another CRS."""
    if layer.providerType() != "ogr" or layer.subsetString() or layer.isEditable() or layer.source().startswith("/vsimem/"):
        return None
    path = os.path.abspath(str(QgsProviderRegistry.instance().decodeUri("ogr", layer.source()).get("path") or ""))
    if not os.path.isfile(path):
        return None
    alone = QgsVectorLayer(path, "alone", "ogr")
    is_same = layer.crs() == alone.crs() and {field.name() for field in alone.fields()}.issuperset(columns)
    return path if is_same and len(alone.dataProvider().subLayers()) == 1 else None


def save_features(source: QgsProcessingFeatureSource, path: str, columns: Sequence[str] | None = None) -> str:
    """Write features into a FlatGeobuf and return its path.

    Raises:
        QgsProcessingException: If the disk does not take it.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fields = QgsFields()
    for field in source.fields():
        if columns is None or field.name() in columns:
            fields.append(field)
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "FlatGeobuf"
    options.fileEncoding = "UTF-8"
    writer = QgsVectorFileWriter.create(path, fields, source.wkbType(), source.sourceCrs(), QgsCoordinateTransformContext(), options)
    for feature in source.getFeatures():
        kept = QgsFeature(fields)
        kept.setGeometry(feature.geometry())
        kept.setAttributes([feature.attribute(field.name()) for field in fields])
        writer.addFeature(kept, FAST_INSERT)
    message = writer.errorMessage() if writer.hasError() else ""
    del writer
    if message:
        raise QgsProcessingException(tr("Features could not be written to {path}: {why}").format(path=path, why=message))
    return path


def band_names(layer: QgsRasterLayer) -> list[str]:
    """Return what the bands of a raster layer are called, in lower case, without QGIS's numbers."""
    provider = layer.dataProvider()
    names = []
    for number in range(1, layer.bandCount() + 1):
        # "Band 3: nir", or "Band 3 (Blue)"
        _, _, name = provider.generateBandName(number).partition(":")
        names.append((name.strip() or provider.colorInterpretationName(number)).strip().lower())
    return names


def match_bands(wanted: Sequence[str], names: Sequence[str]) -> list[int] | None:
    """Return the numbers of the bands that a model means, or None where a name is missing or stands there twice."""
    if any(names.count(name) != 1 for name in wanted):
        return None
    return [names.index(name) + 1 for name in wanted]
