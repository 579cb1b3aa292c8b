"""Vectorize class raster."""

from __future__ import annotations

import os
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterBand,
    QgsProcessingParameterEnum,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterVectorDestination,
)

from ..enums import DOUBLE, INTEGER, POLYGON
from ..layers import raster_file
from ..styling import paint_on_completion, palette_of
from ..text import tr
from .base import GeosegAlgorithm, scratch

METHODS = ("douglas-peucker", "visvalingam")
CONNECTIVITY = ("4", "8")


class VectorizeClasses(GeosegAlgorithm):
    """``geoseg vectorize``."""

    def name(self) -> str:
        """Return the name after the colon."""
        return "vectorize"

    def displayName(self) -> str:  # noqa: N802  of QGIS
        """Return what the toolbox shows."""
        return tr("Vectorize class raster")

    def shortHelpString(self) -> str:  # noqa: N802  of QGIS
        """Return what the dialog shows beside the parameters."""
        return tr(
            "Draws polygons around the patches of any class raster, simplified as one coverage: without gaps and overlaps between "
            "neighbors. Lengths and areas are metres on the ground in every coordinate system."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:  # noqa: N802  of QGIS
        """Declare the parameters."""
        self.add(QgsProcessingParameterRasterLayer("INPUT", tr("Class raster")), tr("A raster of whole numbers."))
        self.add(QgsProcessingParameterBand("BAND", tr("Band"), 1, "INPUT", True), tr("Band of class values."))
        tolerance = QgsProcessingParameterNumber("TOLERANCE", tr("Tolerance (m)"), DOUBLE, None, True, 0.0)
        self.add(tolerance, tr("How far borders may move; 0 keeps pixel edges, empty takes one and a half pixels."))
        area = QgsProcessingParameterNumber("MIN_AREA", tr("Smallest patch (m2)"), DOUBLE, 0.0, False, 0.0)
        self.add(area, tr("Smaller patches join the neighbor with the longest border."))
        rounds = QgsProcessingParameterNumber("SMOOTH", tr("Rounds of smoothing"), INTEGER, 0, False, 0, 5)
        self.add(rounds, tr("Corners are cut; each round doubles the vertices."), advanced=True)
        method = QgsProcessingParameterEnum("METHOD", tr("Method"), list(METHODS), defaultValue=0)
        self.add(method, tr("visvalingam takes out triangles smaller than the tolerance squared."), advanced=True)
        touching = QgsProcessingParameterEnum("CONNECTIVITY", tr("Connectivity"), list(CONNECTIVITY), defaultValue=0)
        self.add(touching, tr("8 joins pixels that touch diagonally."), advanced=True)
        nodata = QgsProcessingParameterNumber("NODATA", tr("Value without polygons"), INTEGER, None, True)
        self.add(nodata, tr("Beside the nodata value of the raster."), advanced=True)
        self.add_common()
        self.add(
            QgsProcessingParameterVectorDestination("OUTPUT", tr("Polygons"), POLYGON),
            tr("With the columns class_value, class and area_m2."),
        )

    def processAlgorithm(  # noqa: N802  of QGIS
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run it."""
        layer = self.parameterAsRasterLayer(parameters, "INPUT", context)
        if layer is None:
            raise QgsProcessingException(self.invalidRasterError(parameters, "INPUT"))
        output = os.path.abspath(self.parameterAsOutputLayer(parameters, "OUTPUT", context))
        arguments = ["vectorize", raster_file(layer, scratch("classes"), feedback), "-o", output, "--overwrite"]
        for name, option in (("TOLERANCE", "--tolerance"), ("MIN_AREA", "--min-area")):
            if parameters.get(name) is not None:
                arguments += [option, repr(self.parameterAsDouble(parameters, name, context))]
        for name, option in (("BAND", "--band"), ("SMOOTH", "--smooth"), ("NODATA", "--nodata")):
            if parameters.get(name) is not None:
                arguments.append(f"{option}={self.parameterAsInt(parameters, name, context)}")
        arguments += ["--method", METHODS[self.parameterAsEnum(parameters, "METHOD", context)]]
        arguments += ["--connectivity", CONNECTIVITY[self.parameterAsEnum(parameters, "CONNECTIVITY", context)]]
        result = self.run_geoseg([*arguments, *self.more_of(parameters, context)], feedback)
        if not result.cancelled:
            paint_on_completion(output, palette_of(layer), context)
        return {"OUTPUT": output}
