"""Detect change."""

from __future__ import annotations

import os
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputFile,
    QgsProcessingOutputHtml,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from ..enums import DOUBLE, FOLDER, POLYGON
from ..layers import raster_file
from ..styling import load_file
from ..text import tr
from .base import GeosegAlgorithm, folder_for
from .segment import MODELS


class DetectChange(GeosegAlgorithm):
    """``geoseg change``."""

    def name(self) -> str:
        """Return the name after the colon."""
        return "change"

    def displayName(self) -> str:  # noqa: N802  of QGIS
        """Return what the toolbox shows."""
        return tr("Detect change")

    def shortHelpString(self) -> str:  # noqa: N802  of QGIS
        """Return what the dialog shows beside the parameters."""
        return tr(
            "Compares two dates of one place: which buildings were built, demolished or changed, which roads are new, and which class "
            "became which. Give a finished run or a raster for each date; rasters are segmented first, into the folder of changes. "
            "Both dates should be seen by the same model."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:  # noqa: N802  of QGIS
        """Declare the parameters."""
        for name, run, raster in (
            ("BEFORE", tr("Run of the earlier date"), tr("Or raster of the earlier date")),
            ("AFTER", tr("Run of the later date"), tr("Or raster of the later date")),
        ):
            folder = QgsProcessingParameterFile(name, run, behavior=FOLDER, optional=True)
            self.add(folder, tr("Folder of a finished run."))
            self.add(QgsProcessingParameterRasterLayer(f"{name}_RASTER", raster, optional=True), tr("Instead of a run."))
        model = QgsProcessingParameterString("MODEL", tr("Model"), defaultValue=MODELS[0])
        model.setMetadata({"widget_wrapper": {"value_hints": list(MODELS)}})
        self.add(model, tr("For rasters."))
        align = QgsProcessingParameterBoolean("ALIGN", tr("Correct misregistration"), defaultValue=False)
        self.add(align, tr("Moves the later date by the shift that is measured between the dates."))
        for name, title, text in (
            ("TOLERANCE", tr("Tolerance (m)"), tr("How far borders may lie apart without a change; empty takes two pixels or more.")),
            ("MIN_AREA", tr("Smallest change (m2)"), tr("Empty takes the square of twice the tolerance.")),
        ):
            self.add(QgsProcessingParameterNumber(name, title, DOUBLE, None, True, 0.0), text)
        zones = QgsProcessingParameterFeatureSource("ZONES", tr("Zones"), [POLYGON], optional=True)
        self.add(zones, tr("Changes are added up in each polygon."), advanced=True)
        again = QgsProcessingParameterBoolean("OVERWRITE", tr("Start over"), defaultValue=False)
        self.add(again, tr("Replaces an earlier comparison in the folder."), advanced=True)
        self.add(QgsProcessingParameterFolderDestination("OUTPUT", tr("Folder of changes")), tr("Takes change.gpkg and a report."))
        self.add(QgsProcessingParameterBoolean("LOAD", tr("Open the layers when it is done"), defaultValue=True), tr("In a group."))
        self.add_common()
        self.addOutput(QgsProcessingOutputFile("CHANGES", tr("Changes")))
        self.addOutput(QgsProcessingOutputHtml("REPORT", tr("Report")))

    def processAlgorithm(  # noqa: N802  of QGIS
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run it."""
        folder = folder_for(self.parameterAsString(parameters, "OUTPUT", context))
        dates = [self._date(name, parameters, context, feedback, folder) for name in ("BEFORE", "AFTER")]
        arguments = ["change", *(path for path, _ in dates), "-o", folder, "--progress", "json"]
        if any(is_raster for _, is_raster in dates):
            arguments += ["-m", self.parameterAsString(parameters, "MODEL", context)]
        for name, option in (("TOLERANCE", "--tolerance"), ("MIN_AREA", "--min-area")):
            if parameters.get(name) is not None:
                arguments += [option, repr(self.parameterAsDouble(parameters, name, context))]
        for name, option in (("ALIGN", "--align"), ("OVERWRITE", "--overwrite")):
            arguments += [option] if self.parameterAsBool(parameters, name, context) else []
        zones = self.polygons_file("ZONES", parameters, context, f"{folder}-zones")
        arguments += [] if zones is None else ["--zones", zones]
        result = self.run_geoseg([*arguments, *self.more_of(parameters, context)], feedback)
        changes = os.path.join(folder, "change.gpkg")
        if not result.cancelled and self.parameterAsBool(parameters, "LOAD", context):
            load_file(changes, folder, context)
        return {"OUTPUT": folder, "CHANGES": changes, "REPORT": os.path.join(folder, "change.html")}

    def _date(
        self, name: str, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback, folder: str
    ) -> tuple[str, bool]:
        """Return the run or the raster of a date, and whether it is a raster."""
        run = self.path_of(name, parameters, context)
        raster = self.parameterAsRasterLayer(parameters, f"{name}_RASTER", context)
        if bool(run) == (raster is not None):
            raise QgsProcessingException(tr("Give either a run or a raster for each date; both or neither were given for one."))
        return (run, False) if run else (raster_file(raster, f"{folder}-{name.lower()}", feedback), True)
