"""Detect change."""

from __future__ import annotations

import os
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputFile,
    QgsProcessingOutputHtml,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
)

from ..enums import FOLDER
from ..styling import load_file
from ..text import tr
from .base import GeosegAlgorithm, folder_for


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
            "Compares two finished runs of one place: which buildings were built, demolished or changed, which roads are new, and which "
            "class became which. Segment both pictures first, with the same model."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:  # noqa: N802  of QGIS
        """Declare the parameters."""
        for name, title, text in (
            ("BEFORE", tr("Run of the earlier picture"), tr("Folder of a finished run.")),
            ("AFTER", tr("Run of the later picture"), tr("Folder of a finished run of the same place.")),
        ):
            self.add(QgsProcessingParameterFile(name, title, behavior=FOLDER), text)
        self.add(QgsProcessingParameterFolderDestination("OUTPUT", tr("Folder of changes")), tr("Takes change.gpkg and a report."))
        self.add(QgsProcessingParameterBoolean("LOAD", tr("Open the layers when it is done"), defaultValue=True), tr("In a group."))
        self.add_common()
        self.addOutput(QgsProcessingOutputFile("CHANGES", tr("Changes")))
        self.addOutput(QgsProcessingOutputHtml("REPORT", tr("Report")))

    def processAlgorithm(  # noqa: N802  of QGIS
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run it."""
        before, after = (self.path_of(name, parameters, context) for name in ("BEFORE", "AFTER"))
        folder = folder_for(self.parameterAsString(parameters, "OUTPUT", context))
        result = self.run_geoseg(["change", before, after, "-o", folder, *self.more_of(parameters, context)], feedback)
        changes = os.path.join(folder, "change.gpkg")
        if not result.cancelled and self.parameterAsBool(parameters, "LOAD", context):
            load_file(changes, folder, context)
        return {"OUTPUT": folder, "CHANGES": changes, "REPORT": os.path.join(folder, "change.html")}
