"""Evaluate."""

from __future__ import annotations

import os
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputHtml,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterRasterLayer,
)

from ..enums import FOLDER, LINE, POLYGON
from ..layers import raster_file
from ..text import tr
from .base import GeosegAlgorithm, folder_for, scratch

_VECTORS = {"LABELS": "--labels", "BUILDINGS": "--buildings", "ROADS": "--roads", "AOI": "--aoi"}


class Evaluate(GeosegAlgorithm):
    """``geoseg evaluate``."""

    def name(self) -> str:
        """Return the name after the colon."""
        return "evaluate"

    def displayName(self) -> str:  # noqa: N802  of QGIS
        """Return what the toolbox shows."""
        return tr("Evaluate")

    def shortHelpString(self) -> str:  # noqa: N802  of QGIS
        """Return what the dialog shows beside the parameters."""
        return tr(
            "Compares a result with labels and writes a report: intersection over union and F1 of each class, precision and recall of "
            "buildings, length and topology of roads. Give a run folder or a class raster, and at least one kind of labels."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:  # noqa: N802  of QGIS
        """Declare the parameters."""
        run = QgsProcessingParameterFile("RUN", tr("Run folder"), behavior=FOLDER, optional=True)
        self.add(run, tr("Folder of a finished run."))
        raster = QgsProcessingParameterRasterLayer("CLASSMAP", tr("Class raster"), optional=True)
        self.add(raster, tr("Instead of a run folder; only classes are compared."))
        mask = QgsProcessingParameterRasterLayer("LABEL_RASTER", tr("Labels as a raster"), optional=True)
        self.add(mask, tr("Class values."))
        polygon, line = POLYGON, LINE
        for name, title, kind, text in (
            ("LABELS", tr("Labels as polygons"), polygon, tr("With a column of class names or values.")),
            ("BUILDINGS", tr("True buildings"), polygon, tr("One polygon for each building.")),
            ("ROADS", tr("True roads"), line, tr("Centrelines.")),
            ("AOI", tr("Area in which labels are complete"), polygon, tr("Empty takes everywhere.")),
        ):
            self.add(QgsProcessingParameterFeatureSource(name, title, [kind], optional=True), text)
        field = QgsProcessingParameterField("FIELD", tr("Class column"), parentLayerParameterName="LABELS", optional=True)
        self.add(field, tr("Of the labels as polygons; empty takes class or class_value."))
        self.add_common()
        self.add(QgsProcessingParameterFolderDestination("OUTPUT", tr("Report folder")), tr("Takes evaluation.json and evaluation.html."))
        self.addOutput(QgsProcessingOutputHtml("REPORT", tr("Report")))

    def processAlgorithm(  # noqa: N802  of QGIS
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run it."""
        folder = folder_for(self.parameterAsString(parameters, "OUTPUT", context))
        arguments = ["evaluate", self._result(parameters, context, feedback), "-o", folder]
        mask = self.parameterAsRasterLayer(parameters, "LABEL_RASTER", context)
        if mask is not None:
            if parameters.get("LABELS") not in (None, ""):
                raise QgsProcessingException(tr("Give labels as a raster or as polygons, not both."))
            arguments += ["--labels", raster_file(mask, scratch("labels"), feedback)]
        for name, option in _VECTORS.items():
            path = self.polygons_file(name, parameters, context, scratch(name.lower()))
            if path is not None:
                arguments += [option, path]
        column = self.parameterAsString(parameters, "FIELD", context)
        if column:
            arguments += ["--class-column", column]
        self.run_geoseg([*arguments, *self.more_of(parameters, context)], feedback)
        return {"OUTPUT": folder, "REPORT": os.path.join(folder, "evaluation.html")}

    def _result(self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> str:
        run = self.path_of("RUN", parameters, context)
        raster = self.parameterAsRasterLayer(parameters, "CLASSMAP", context)
        if bool(run) == (raster is not None):
            raise QgsProcessingException(tr("Give either a run folder or a class raster; both or neither were given."))
        return run or raster_file(raster, scratch("classes"), feedback)
