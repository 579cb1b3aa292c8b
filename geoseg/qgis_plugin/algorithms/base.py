"""What all algorithms share: starting geoseg, its events in the feedback, loading what came out."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import Any

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputRasterLayer,
    QgsProcessingOutputVectorLayer,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterString,
    QgsProcessingUtils,
    QgsSettings,
)
from qgis.PyQt.QtGui import QIcon

from ..answers import CommandError, ask
from ..enums import ADVANCED
from ..environment import SETTING, VARIABLE, pick_python
from ..layers import vector_file
from ..progress import FeedbackListener
from ..runner import NotStartedError, Result, Runner
from ..runs import remember
from ..styling import load_run
from ..text import ICON, tr

MISSING = 3
"""Exit code of a run that lacks some chunks."""


class GeosegAlgorithm(QgsProcessingAlgorithm):
    """An algorithm that is one command of geoseg."""

    def createInstance(self) -> GeosegAlgorithm:  # noqa: N802  of QGIS
        """Return a new one; QGIS runs copies."""
        return type(self)()

    def icon(self) -> QIcon:
        """Return the icon of the provider."""
        return QIcon(str(ICON))

    def add(self, parameter: QgsProcessingParameterDefinition, help_text: str, advanced: bool = False) -> None:
        """Add a parameter with what its help says, folded if it is advanced."""
        parameter.setHelp(help_text)
        if advanced:
            parameter.setFlags(parameter.flags() | ADVANCED)
        self.addParameter(parameter)

    def add_common(self) -> None:
        """Add further options of the command line."""
        more = QgsProcessingParameterString("MORE", tr("Further options"), defaultValue="", optional=True)
        self.add(more, tr("As on the command line, for example --halo exact --set buildings.min_area_m2=20."), advanced=True)

    def add_loading(self) -> None:
        """Add whether layers are loaded, and the layers of a run as outputs that the next step of a model can take."""
        load = QgsProcessingParameterBoolean("LOAD", tr("Open the layers when it is done"), defaultValue=True)
        self.add(load, tr("Styled, in a group with the name of the run folder."))
        self.addOutput(QgsProcessingOutputRasterLayer("CLASSES", tr("Classes")))
        for name, title in (("BUILDINGS", tr("Buildings")), ("ROADS", tr("Roads")), ("LANDCOVER", tr("Land cover"))):
            self.addOutput(QgsProcessingOutputVectorLayer(name, title))

    def more_of(self, parameters: dict[str, Any], context: QgsProcessingContext) -> list[str]:
        """Return the further options, word by word."""
        return shlex.split(self.parameterAsString(parameters, "MORE", context))

    def run_geoseg(self, arguments: Sequence[str], feedback: QgsProcessingFeedback) -> Result:
        """Run a command, with its events in the feedback, until it ends or is cancelled.

        Raises:
            QgsProcessingException: If there is no environment, or the command failed; the message is that of geoseg.
        """
        feedback.pushCommandInfo("geoseg " + " ".join(shlex.quote(word) for word in arguments))
        try:
            job = Runner(find_python()).start(arguments, FeedbackListener(feedback))
        except NotStartedError as exc:
            raise QgsProcessingException(str(exc)) from exc
        result = job.wait(feedback.isCanceled)
        if result.cancelled:
            feedback.pushInfo(tr("Stopped. What is done is kept: run it again with the same settings to go on."))
        elif result.exit_code not in {0, MISSING}:
            raise QgsProcessingException(result.error_text)
        return result

    def path_of(self, name: str, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """Return a file or folder that stands already; the command runs in another folder than QGIS. Empty if it was left empty."""
        path = self.parameterAsString(parameters, name, context)
        return os.path.abspath(path) if path else ""

    def choices(self, name: str, parameters: dict[str, Any], context: QgsProcessingContext) -> list[int]:
        """Return what was chosen of several; of nothing, QGIS makes the first one."""
        return [] if parameters.get(name) in (None, "", []) else list(self.parameterAsEnums(parameters, name, context))

    def polygons_file(self, name: str, parameters: dict[str, Any], context: QgsProcessingContext, beside: str) -> str | None:
        """Return the file of a polygon parameter, exported where it is none, or None if it was left empty."""
        if parameters.get(name) in (None, ""):
            return None
        source = self.parameterAsSource(parameters, name, context)
        if source is None:
            raise QgsProcessingException(self.invalidSourceError(parameters, name))
        return vector_file(source, self.parameterAsVectorLayer(parameters, name, context), beside)

    def report_run(self, run: str, parameters: dict[str, Any], context: QgsProcessingContext) -> dict[str, Any]:
        """Have the layers of a run loaded and the dock list it, and return the outputs."""
        remember(run)
        found = load_run(run, context, self.parameterAsBool(parameters, "LOAD", context))
        return {"OUTPUT": run, **{key.upper(): uri for key, uri in found}}


def find_python() -> str:
    """Return the Python that has geoseg.

    Raises:
        NotStartedError: If there is none.
    """
    python = pick_python(str(QgsSettings().value(SETTING, "") or ""))
    if python is None:
        raise NotStartedError(
            tr(
                "No Python with geoseg was found. Choose or create one in Settings > Options > geoseg, or name its executable in the "
                "environment variable {variable}."
            ).format(variable=VARIABLE)
        )
    return python


def scratch(name: str) -> str:
    """Return a name for a copy that is gone when QGIS ends."""
    return str(QgsProcessingUtils.generateTempFilename(name))


def read_card(model: str, feedback: QgsProcessingFeedback) -> dict[str, Any]:
    """Ask geoseg for the card of a model.

    Raises:
        QgsProcessingException: If there is no such model.
    """
    try:
        card: dict[str, Any] = ask(find_python(), ["models", "info", model, "--json"], feedback.isCanceled)
    except (NotStartedError, CommandError) as exc:
        raise QgsProcessingException(str(exc)) from exc
    return card


def folder_for(path: str) -> str:
    """Return an output folder without a separator at its end, with the folder that holds it made."""
    folder = os.path.abspath(path)
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    return folder
