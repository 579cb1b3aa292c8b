"""Regularize buildings."""

from __future__ import annotations

import os
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterNumber,
    QgsProcessingParameterVectorDestination,
)

from ..enums import DOUBLE, POLYGON
from ..text import tr
from .base import GeosegAlgorithm, scratch
from .objects import METHODS


class RegularizeBuildings(GeosegAlgorithm):
    """``geoseg regularize``."""

    def name(self) -> str:
        """Return the name after the colon."""
        return "regularize"

    def displayName(self) -> str:  # noqa: N802  of QGIS
        """Return what the toolbox shows."""
        return tr("Regularize buildings")

    def shortHelpString(self) -> str:  # noqa: N802  of QGIS
        """Return what the dialog shows beside the parameters."""
        return tr(
            "Straightens building outlines of any origin: right angles, right angles and diagonals, few straight edges, or circles. "
            "No outline moves farther than the tolerance, becomes invalid or reaches into a neighbor; touching buildings keep their "
            "common walls. The column 'status' tells which outlines stayed as they were."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:  # noqa: N802  of QGIS
        """Declare the parameters."""
        polygons = QgsProcessingParameterFeatureSource("INPUT", tr("Buildings"), [POLYGON])
        self.add(polygons, tr("Polygons in any coordinate system; all columns are kept."))
        method = QgsProcessingParameterEnum("METHOD", tr("Outlines"), list(METHODS[:-1]), defaultValue=0)
        self.add(method, tr("What outlines become."))
        tolerance = QgsProcessingParameterNumber("TOLERANCE", tr("Tolerance (m)"), DOUBLE, 1.5, False, 0.01)
        self.add(tolerance, tr("How far an outline may move, on the ground."))
        self.add_common()
        self.add(
            QgsProcessingParameterVectorDestination("OUTPUT", tr("Regularized buildings"), POLYGON),
            tr("Also with the columns area_m2, perimeter_m and status."),
        )

    def processAlgorithm(  # noqa: N802  of QGIS
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run it."""
        output = os.path.abspath(self.parameterAsOutputLayer(parameters, "OUTPUT", context))
        polygons = self.polygons_file("INPUT", parameters, context, scratch("buildings"))
        arguments = ["regularize", str(polygons), "-o", output, "--overwrite"]
        arguments += ["--method", METHODS[self.parameterAsEnum(parameters, "METHOD", context)]]
        arguments += ["--tolerance", repr(self.parameterAsDouble(parameters, "TOLERANCE", context))]
        self.run_geoseg([*arguments, *self.more_of(parameters, context)], feedback)
        return {"OUTPUT": output}
