"""Train model."""

from __future__ import annotations

import os
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputFile,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from ..enums import DOUBLE, INTEGER, POLYGON
from ..layers import raster_file, vector_file
from ..text import tr
from .base import GeosegAlgorithm, folder_for
from .segment import MODELS


class TrainModel(GeosegAlgorithm):
    """``geoseg labels recipe``, ``geoseg train``."""

    def name(self) -> str:
        """Return the name after the colon."""
        return "train"

    def displayName(self) -> str:  # noqa: N802  of QGIS
        """Return what the toolbox shows."""
        return tr("Train model")

    def shortHelpString(self) -> str:  # noqa: N802  of QGIS
        """Return what the dialog shows beside the parameters."""
        return tr(
            "Trains a model of your own from a raster and polygons that you drew over it, with a column that names their classes. What "
            "no polygon covers is not learned from, unless a class is named for it. Training starts from a shipped model and takes "
            "minutes to hours; a GPU helps. A recipe is written beside the model: change it and run geoseg train for more.\n\n"
            "A fifth of the area, in blocks drawn by lot, is kept aside and measured at the end.\n\n"
            "Needs pip install 'geoseg[train]' in the environment of the plugin. Cancelled, it goes on after the last epoch."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:  # noqa: N802  of QGIS
        """Declare the parameters."""
        self.add(QgsProcessingParameterRasterLayer("INPUT", tr("Imagery")), tr("Of 8 bit, with the bands of the model to start from."))
        labels = QgsProcessingParameterFeatureSource("LABELS", tr("Polygons"), [POLYGON])
        self.add(labels, tr("Areas whose class is known; all classes should have some."))
        field = QgsProcessingParameterField("FIELD", tr("Class column"), parentLayerParameterName="LABELS")
        self.add(field, tr("Names of classes. Those of the model to start from keep their colors; 'building' and 'road' become objects."))
        rest = QgsProcessingParameterString("BACKGROUND", tr("Class of everything else"), optional=True)
        self.add(rest, tr("Empty: nothing is learned where no polygon is."))
        start = QgsProcessingParameterString("MODEL", tr("Start from"), defaultValue="base")
        start.setMetadata({"widget_wrapper": {"value_hints": list(MODELS)}})
        self.add(start, tr("A shipped model, or the folder of a package."))
        epochs = QgsProcessingParameterNumber("EPOCHS", tr("Epochs"), INTEGER, 30, False, 1)
        self.add(epochs, tr("More learn more, and take longer."))
        share = QgsProcessingParameterNumber("TEST_SHARE", tr("Share of the area kept for the test"), DOUBLE, 0.2, False, 0.0, 0.5)
        self.add(share, tr("In blocks drawn by lot; polygons there are measured, not learned from. 0 measures nothing."), advanced=True)
        steps = QgsProcessingParameterNumber("STEPS", tr("Steps of an epoch"), INTEGER, 50, False, 1)
        self.add(steps, tr("Each learns from a batch of windows."), advanced=True)
        self.add_common()
        self.add(QgsProcessingParameterFolderDestination("OUTPUT", tr("Model package")), tr("Its model.json is a model for segmenting."))
        self.addOutput(QgsProcessingOutputFile("MODEL_FILE", tr("Model")))

    def processAlgorithm(  # noqa: N802  of QGIS
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run it."""
        package = folder_for(self.parameterAsString(parameters, "OUTPUT", context))
        recipe = f"{package}-recipe.toml"
        raster, draft = self._draft(parameters, context, feedback, package)
        done = self.run_geoseg([*draft, "-o", recipe, "--overwrite"], feedback)
        if not done.cancelled:
            words = ["train", recipe, "--data", os.path.dirname(raster), "-o", package, "--progress", "json"]
            self.run_geoseg([*words, *self.more_of(parameters, context)], feedback)
        return {"OUTPUT": package, "MODEL_FILE": os.path.join(package, "model.json")}

    def _draft(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback, package: str
    ) -> tuple[str, list[str]]:
        """Return the file of the imagery and the command that drafts the recipe."""
        layer = self.parameterAsRasterLayer(parameters, "INPUT", context)
        source = self.parameterAsSource(parameters, "LABELS", context)
        if layer is None or source is None:
            missing = "INPUT" if layer is None else "LABELS"
            raise QgsProcessingException(
                self.invalidRasterError(parameters, missing) if layer is None else self.invalidSourceError(parameters, missing)
            )
        column = self.parameterAsString(parameters, "FIELD", context)
        vectors = self.parameterAsVectorLayer(parameters, "LABELS", context)
        labels = vector_file(source, vectors, f"{package}-labels", [column])
        raster = raster_file(layer, f"{package}-input", feedback)
        words = ["labels", "recipe", raster, "--labels", labels, "--column", column]
        words += ["-m", self.parameterAsString(parameters, "MODEL", context)]
        words += ["--test-share", repr(self.parameterAsDouble(parameters, "TEST_SHARE", context))]
        for name, option in (("EPOCHS", "--epochs"), ("STEPS", "--steps")):
            words += [option, str(self.parameterAsInt(parameters, name, context))]
        rest = self.parameterAsString(parameters, "BACKGROUND", context)
        return raster, [*words, *(["--background", rest] if rest else [])]
