"""Redo objects."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputFolder,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
)

from ..enums import DOUBLE, FOLDER
from ..text import tr
from .base import GeosegAlgorithm

METHODS = ("right_angles", "right_angles_and_diagonals", "any_angle", "circle", "none")
_NUMBERS = {
    "MIN_AREA": "buildings.min_area_m2",
    "MIN_SCORE": "buildings.min_score",
    "TOLERANCE": "buildings.tolerance_m",
    "LANDCOVER_MIN_AREA": "landcover.min_area_m2",
}


class RedoObjects(GeosegAlgorithm):
    """``geoseg objects``."""

    def name(self) -> str:
        """Return the name after the colon."""
        return "objects"

    def displayName(self) -> str:  # noqa: N802  of QGIS
        """Return what the toolbox shows."""
        return tr("Redo objects")

    def shortHelpString(self) -> str:  # noqa: N802  of QGIS
        """Return what the dialog shows beside the parameters."""
        return tr(
            "Makes buildings, land cover and roads of a finished run again with other settings, from its rasters alone: no model, "
            "no imagery, seconds instead of minutes. What is left empty stays as the run has it."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:  # noqa: N802  of QGIS
        """Declare the parameters."""
        run = QgsProcessingParameterFile("INPUT", tr("Run folder"), behavior=FOLDER)
        self.add(run, tr("Folder of a finished run; its objects are replaced."))
        for name, title, text, most in (
            ("MIN_AREA", tr("Smallest building (m2)"), tr("Smaller ones are dropped."), None),
            ("MIN_SCORE", tr("Lowest score of a building"), tr("0 to 1; buildings that the model is less sure of are dropped."), 1.0),
            ("TOLERANCE", tr("How far outlines may move (m)"), tr("When they are straightened, on the ground."), None),
            ("LANDCOVER_MIN_AREA", tr("Smallest patch of land cover (m2)"), tr("Smaller ones join a neighbor."), None),
        ):
            number = QgsProcessingParameterNumber(name, title, DOUBLE, None, True, 0.0)
            if most is not None:
                number.setMaximum(most)
            self.add(number, text)
        method = QgsProcessingParameterEnum("METHOD", tr("Outlines of buildings"), list(METHODS), optional=True)
        self.add(method, tr("What outlines become."))
        self.addOutput(QgsProcessingOutputFolder("OUTPUT", tr("Run folder")))
        self.add_loading()
        self.add_common()

    def processAlgorithm(  # noqa: N802  of QGIS
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run it."""
        run = self.path_of("INPUT", parameters, context)
        settings = [
            f"{key}={self.parameterAsDouble(parameters, name, context)!r}"
            for name, key in _NUMBERS.items()
            if parameters.get(name) is not None
        ]
        if parameters.get("METHOD") is not None:
            settings.append(f"buildings.method={METHODS[self.parameterAsEnum(parameters, 'METHOD', context)]}")
        words = [word for setting in settings for word in ("--set", setting)]
        result = self.run_geoseg(["objects", run, "--progress", "json", *words, *self.more_of(parameters, context)], feedback)
        return {"OUTPUT": run} if result.cancelled else self.report_run(run, parameters, context)
