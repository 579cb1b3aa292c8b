"""Segment raster."""

from __future__ import annotations

import os
from typing import Any

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterBand,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from ..enums import POLYGON
from ..layers import band_names, match_bands, raster_file, told_crs
from ..runs import remember
from ..text import tr
from .base import GeosegAlgorithm, folder_for, read_card

MODELS = ("aerial", "buildings", "satellite", "roads", "korea", "base")
"""Models that geoseg ships."""
OUTPUTS = ("classes", "confidence", "evidence", "landcover", "buildings", "panoptic", "roads", "probabilities", "uncertainty")
USUAL = tuple(range(7))
FORMATS = ("geoparquet", "flatgeobuf", "geojson", "pmtiles", "osm", "coco", "zarr", "styles")
DEVICES = ("auto", "cpu", "cuda")


class SegmentRaster(GeosegAlgorithm):
    """``geoseg segment``."""

    def name(self) -> str:
        """Return the name after the colon."""
        return "segment"

    def displayName(self) -> str:  # noqa: N802  of QGIS
        """Return what the toolbox shows."""
        return tr("Segment raster")

    def tags(self) -> list[str]:
        """Return what else users may search for."""
        return tr("land cover,buildings,roads,classification,deep learning,segmentation,orthophoto").split(",")

    def shortHelpString(self) -> str:  # noqa: N802  of QGIS
        """Return what the dialog shows beside the parameters."""
        return tr(
            "Turns imagery into a class map, land cover polygons, buildings and a road network, in a run folder.\n\n"
            "The model 'aerial' is for drones and planes (0.15 m to 0.5 m), 'satellite' for 0.5 m to 1 m, both from red, green and "
            "blue; their classes are land, water, vegetation, road and building. 'buildings' knows buildings alone, with fewer false ones. "
            "'roads' knows roads alone, 0.25 m to 1 m. "
            "'korea' is for 10 m pictures of Korea.\n\n"
            "A run that was cancelled goes on where it stopped when it is started again with the same settings."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:  # noqa: N802  of QGIS
        """Declare the parameters."""
        self.add(
            QgsProcessingParameterRasterLayer("INPUT", tr("Imagery")),
            tr("A raster file. Other layers are exported first; pictures of map servers (WMS, XYZ tiles) are refused."),
        )
        model = QgsProcessingParameterString("MODEL", tr("Model"), defaultValue=MODELS[0])
        model.setMetadata({"widget_wrapper": {"value_hints": list(MODELS)}})
        self.add(model, tr("A model that geoseg ships. Its bands are found by their names."))
        extent = QgsProcessingParameterExtent("EXTENT", tr("Only inside this extent"), optional=True)
        self.add(extent, tr("For example that of the map canvas. It is taken as a box in degrees."))
        area = QgsProcessingParameterFeatureSource("AOI", tr("Only inside these polygons"), [POLYGON], optional=True)
        self.add(area, tr("A polygon layer, or its selected polygons, in any coordinate system."))
        self.add(
            QgsProcessingParameterFolderDestination("OUTPUT", tr("Run folder")),
            tr("Takes all results. A new or empty folder, or that of the same run, which goes on."),
        )
        self.add_loading()
        self._add_advanced()

    def _add_advanced(self) -> None:
        own = QgsProcessingParameterFile("MODEL_FILE", tr("Model of your own"), optional=True)
        self.add(own, tr("model.json of a model package, or an .onnx or .pt2 file; instead of the model above."), advanced=True)
        bands = QgsProcessingParameterBand("BANDS", tr("Bands in the model's order"), None, "INPUT", True, True)
        self.add(bands, tr("Empty takes the bands whose names are those of the model's card, or else the first ones."), advanced=True)
        outputs = QgsProcessingParameterEnum(
            "OUTPUTS", tr("What is made"), list(OUTPUTS), allowMultiple=True, defaultValue=list(USUAL), optional=True
        )
        self.add(outputs, tr("Probabilities and uncertainty of each class take much room."), advanced=True)
        formats = QgsProcessingParameterEnum("FORMATS", tr("Further formats"), list(FORMATS), allowMultiple=True, optional=True)
        self.add(formats, tr("Written beside the GeoPackage; some need: pip install 'geoseg[formats]'."), advanced=True)
        device = QgsProcessingParameterEnum("DEVICE", tr("Where to compute"), list(DEVICES), defaultValue=0)
        self.add(device, tr("auto takes a GPU where there is one."), advanced=True)
        memory = QgsProcessingParameterString("MEMORY", tr("Memory that may be used"), optional=True)
        self.add(memory, tr("For example 4GB; empty takes what is free."), advanced=True)
        again = QgsProcessingParameterBoolean("OVERWRITE", tr("Start over"), defaultValue=False)
        self.add(again, tr("Removes an earlier run in the folder first."), advanced=True)
        self.add_common()

    def processAlgorithm(  # noqa: N802  of QGIS
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run it."""
        run = folder_for(self.parameterAsString(parameters, "OUTPUT", context))
        arguments = ["segment", *self._input(parameters, context, feedback, run), "-o", run, "--progress", "json"]
        arguments += self._where(parameters, context, run) + self._what(parameters, context)
        if self.parameterAsBool(parameters, "OVERWRITE", context):
            arguments.append("--overwrite")
        # the dock lists it, also if it is cancelled
        remember(run)
        result = self.run_geoseg([*arguments, *self.more_of(parameters, context)], feedback)
        return {"OUTPUT": run} if result.cancelled else self.report_run(run, parameters, context)

    def _input(self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback, run: str) -> list[str]:
        """Return raster, model and bands."""
        layer = self.parameterAsRasterLayer(parameters, "INPUT", context)
        if layer is None:
            raise QgsProcessingException(self.invalidRasterError(parameters, "INPUT"))
        path = raster_file(layer, f"{run}-input", feedback, takes_crs=True)
        model = _package(self.path_of("MODEL_FILE", parameters, context)) or self.parameterAsString(parameters, "MODEL", context)
        card = read_card(model, feedback)
        bands = self.parameterAsInts(parameters, "BANDS", context) if parameters.get("BANDS") else _find_bands(layer, card)
        feedback.pushInfo(_describe(card, bands))
        told = "" if path == f"{run}-input.tif" else told_crs(layer)
        chosen = ["--bands", ",".join(map(str, bands))] if bands else []
        return [path, "-m", model, *chosen, *(["--assume-crs", told] if told else [])]

    def _where(self, parameters: dict[str, Any], context: QgsProcessingContext, run: str) -> list[str]:
        arguments = []
        area = self.polygons_file("AOI", parameters, context, f"{run}-aoi")
        if area is not None:
            arguments += ["--aoi", area]
        extent = self.parameterAsExtent(parameters, "EXTENT", context, QgsCoordinateReferenceSystem("EPSG:4326"))
        if parameters.get("EXTENT") and not extent.isNull():
            box = (extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum())
            # degrees may begin with a minus
            arguments.append("--bbox=" + ",".join(f"{degrees:.9f}" for degrees in box))
        return arguments

    def _what(self, parameters: dict[str, Any], context: QgsProcessingContext) -> list[str]:
        arguments = []
        outputs = self.choices("OUTPUTS", parameters, context)
        if outputs and set(outputs) != set(USUAL):
            arguments += ["--outputs", ",".join(OUTPUTS[i] for i in outputs)]
        formats = self.choices("FORMATS", parameters, context)
        if formats:
            arguments += ["--formats", ",".join(FORMATS[i] for i in formats)]
        memory = self.parameterAsString(parameters, "MEMORY", context)
        if memory:
            arguments += ["--memory", memory]
        device = DEVICES[self.parameterAsEnum(parameters, "DEVICE", context)]
        return [*arguments, *([] if device == DEVICES[0] else ["--device", device])]


def _package(path: str) -> str:
    """Return what the command line calls a model: the folder of a package, or a file."""
    return os.path.dirname(path) if os.path.basename(path) == "model.json" else path


def _find_bands(layer: Any, card: dict[str, Any]) -> list[int]:
    """Map the bands of a model onto those of a layer by name; empty where the first ones are meant, or nothing fits."""
    wanted = [str(band["name"]).lower() for band in card["properties"]["bands"]]
    found = match_bands(wanted, band_names(layer)) or []
    return [] if found == list(range(1, len(found) + 1)) else found


def _describe(card: dict[str, Any], bands: list[int]) -> str:
    spec = card["properties"]["geoseg:spec"]
    chosen = tr(", which are bands {numbers} of the layer").format(numbers=", ".join(map(str, bands))) if bands else ""
    resolution = f"{spec['resolution_m']:g} m" if spec.get("resolution_m") else tr("that of the imagery")
    return tr("Model {name} {version}: classes {classes}; bands {wanted}{chosen}; resolution {resolution}.").format(
        name=spec["name"],
        version=spec["version"],
        classes=", ".join(c["name"] for c in spec["classes"]),
        wanted=", ".join(spec["bands"]),
        chosen=chosen,
        resolution=resolution,
    )
