"""The dock for quick work: preview what the canvas shows, run on the whole layer, look after runs."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import suppress
from typing import Any

from qgis.core import Qgis, QgsProject, QgsRasterLayer, QgsSettings
from qgis.gui import QgsDockWidget
from qgis.PyQt import QtGui, QtWidgets
from qgis.PyQt.QtCore import Qt

from .answers import CommandError, ask, carry_out
from .background import Background
from .environment import SETTING, pick_python
from .layers import OtherCrsError, told_crs
from .legend import is_class_layer
from .mapview import clip_of_canvas, file_of_layer
from .options import MODELS_SETTING
from .panel import Panel
from .preview import PreviewError, clip_address, preview_arguments
from .runner import NotStartedError
from .runs import RunState, read_states, remember, remembered
from .styling import add_run, dress
from .text import ICON, tr

# Qt 6 moved it
_QAction = getattr(QtGui, "QAction", None) or QtWidgets.QAction
_CLOSING_S = 3.0
"""How long QGIS waits for work to end when it closes."""


class GeosegDock:
    """The dock, and all that its buttons do.

    Args:
        iface: The window of QGIS.
    """

    def __init__(self, iface: Any) -> None:
        self._iface = iface
        self._work: list[Background] = []
        self._preview: tuple[str, str] | None = None
        self._previews: set[str] = set()
        self._python = ""
        self.panel = Panel()
        self.dock = QgsDockWidget("geoseg", iface.mainWindow())
        self.dock.setObjectName("geosegDock")
        self.dock.setWidget(self.panel)
        self.action = _QAction(QtGui.QIcon(str(ICON)), tr("geoseg panel"), iface.mainWindow())
        self.action.setCheckable(True)
        self._connect()

    def _connect(self) -> None:
        panel = self.panel
        self.action.triggered.connect(self.dock.setUserVisible)
        self.dock.visibilityChanged.connect(self._seen)
        panel.reload_button.clicked.connect(lambda _: self.look())
        panel.settings_wanted.connect(self.open_settings)
        panel.preview_button.clicked.connect(lambda _: self.preview())
        panel.run_button.clicked.connect(lambda _: self.run_layer())
        panel.options_button.clicked.connect(lambda _: self.open_dialog())
        panel.runs.refreshed.connect(self.refresh_runs)
        panel.runs.resumed.connect(self.resume)
        panel.runs.opened.connect(self.open_run)
        self._iface.currentLayerChanged.connect(panel.legend.show_layer)

    def add(self) -> None:
        """Put the dock, its button and its menu entry into the window."""
        self._iface.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.dock)
        self._iface.addRasterToolBarIcon(self.action)
        self._iface.addPluginToRasterMenu("geoseg", self.action)
        QgsProject.instance().layersWillBeRemoved.connect(self.panel.legend.forget)
        self.dock.hide()

    def remove(self) -> None:
        """End all work and take everything out again; runs can be resumed."""
        for work in self._work:
            # nobody is there to hear of the end, and nothing new shall start then
            work.blockSignals(True)
            work.cancel()
        for work in self._work:
            work.wait(_CLOSING_S)
        self._drop_preview()
        for folder in self._previews:
            shutil.rmtree(folder, ignore_errors=True)
        self._iface.currentLayerChanged.disconnect(self.panel.legend.show_layer)
        QgsProject.instance().layersWillBeRemoved.disconnect(self.panel.legend.forget)
        self._iface.removeRasterToolBarIcon(self.action)
        self._iface.removePluginRasterMenu("geoseg", self.action)
        self._iface.removeDockWidget(self.dock)
        self.dock.deleteLater()

    def _seen(self, is_visible: bool) -> None:
        self.action.setChecked(is_visible)
        if is_visible and self.panel.chosen_model() is None:
            self.look()

    def look(self) -> Background:
        """Look for the environment and its models."""
        setting, own = (os.path.expanduser(str(QgsSettings().value(name, "") or "")) for name in (SETTING, MODELS_SETTING))
        work = self._prepare(lambda work: _look(setting, own, work))
        work.done.connect(self._show_models)
        work.failed.connect(self.panel.show_problem)
        return work.start()

    def _show_models(self, found: tuple[str, list[dict[str, Any]], str]) -> None:
        self._python, models, problem = found
        self.panel.show_models(models)
        if problem:
            self.say(problem, Qgis.MessageLevel.Warning)
        self.refresh_runs()

    def open_settings(self) -> None:
        """Open the settings page, then look again."""
        self._iface.showOptionsDialog(self._iface.mainWindow(), "geoseg")
        self.look()

    def open_dialog(self) -> None:
        """Open the dialog of the toolbox with the layer and the model filled in."""
        from qgis import processing

        layer, model = self.panel.layer.currentLayer(), self.panel.chosen_name()
        chosen = {"MODEL_FILE": os.path.join(model, "model.json")} if os.path.isdir(model) else {"MODEL": model}
        given = {"INPUT": layer, **chosen}
        processing.execAlgorithmDialog("geoseg:segment", {key: value for key, value in given.items() if value})

    def preview(self) -> Background | None:
        """Map what the canvas shows into a temporary layer."""
        told, layer, python = self.panel.chosen_model(), self.panel.layer.currentLayer(), self._python
        if told is None or layer is None:
            return None
        try:
            path = file_of_layer(layer)
            clip = clip_of_canvas(self._iface.mapCanvas(), layer, told["resolution_m"])
            address = clip_address(path, clip)
            assumed = _assume_crs(layer)
        except (OtherCrsError, PreviewError) as exc:
            self.say(str(exc), Qgis.MessageLevel.Warning)
            return None
        folder, crs = tempfile.mkdtemp(prefix="geoseg-preview-"), layer.crs()
        self._previews.add(folder)
        arguments = [*preview_arguments(address, folder, told["model"]), *assumed]
        began = time.monotonic()
        work = self._prepare(lambda work: carry_out(python, arguments, work.tell, work.is_cancelled))
        self.panel.preview_row.watch(work, tr("Preview ..."))
        self.panel.enable()
        work.failed.connect(lambda text: self.say(text.replace(address, path), Qgis.MessageLevel.Critical))
        for end in (work.failed, work.stopped):
            end.connect(lambda *_: shutil.rmtree(folder, ignore_errors=True))
        note = "" if clip.is_whole else " " + tr("It shows the middle of the map; zoom in for a preview of all of it.")
        work.done.connect(lambda _: self._show_preview(folder, crs, tr("Preview ({model})").format(model=told["name"])))
        work.done.connect(
            lambda _: self.say(tr("Preview in {seconds:.1f} s.").format(seconds=time.monotonic() - began) + note, Qgis.MessageLevel.Info)
        )
        return work.start()

    def _show_preview(self, folder: str, crs: Any, name: str) -> None:
        self._drop_preview()
        layer = QgsRasterLayer(os.path.join(folder, "classes.tif"), name)
        dress(layer, "classes", folder)
        if not layer.crs().isValid():
            layer.setCrs(crs)
        QgsProject.instance().addMapLayer(layer, False)
        QgsProject.instance().layerTreeRoot().insertLayer(0, layer)
        self._preview = (layer.id(), folder)
        self._iface.setActiveLayer(layer)

    def _drop_preview(self) -> None:
        if self._preview is not None:
            layer_id, folder = self._preview
            QgsProject.instance().removeMapLayers([one for one in (layer_id,) if QgsProject.instance().mapLayer(one) is not None])
            shutil.rmtree(folder, ignore_errors=True)
            self._preview = None

    def run_layer(self) -> Background | None:
        """Map the whole layer into the run folder, beside the window."""
        told, layer = self.panel.chosen_model(), self.panel.layer.currentLayer()
        folder = os.path.expanduser(self.panel.output.filePath().strip())
        if told is None or layer is None:
            return None
        try:
            path, assumed = file_of_layer(layer), _assume_crs(layer)
        except (OtherCrsError, PreviewError) as exc:
            self.say(str(exc), Qgis.MessageLevel.Warning)
            return None
        if not folder:
            self.say(tr("Name a run folder."), Qgis.MessageLevel.Warning)
            return None
        # geoseg runs in another folder, and the list of runs outlives this one
        folder = os.path.abspath(folder)
        return self._run(folder, ["segment", path, "-o", folder, "-m", told["model"], *assumed, "--progress", "json"])

    def resume(self, state: RunState) -> Background | None:
        """Go on with a run that stopped."""
        if not self.panel.run_row.is_free:
            self.say(tr("A run is at work; resume this one when it has ended."), Qgis.MessageLevel.Warning)
            return None
        return self._run(state.folder, list(state.resume))

    def _run(self, folder: str, arguments: list[str]) -> Background:
        remember(folder)
        self.panel.runs.reload()
        self.panel.runs.show_state(RunState(folder, "running"))
        python = self._python
        work = self._prepare(lambda work: carry_out(python, arguments, work.tell, work.is_cancelled))
        self.panel.run_row.watch(work, tr("Run in {folder} ...").format(folder=os.path.basename(folder)))
        self.panel.enable()
        work.failed.connect(lambda text: self.say(text, Qgis.MessageLevel.Critical))
        work.stopped.connect(lambda: self.say(tr("The run was ended; Resume goes on with it."), Qgis.MessageLevel.Info))
        work.done.connect(lambda result: self._show_run(folder, result))
        for end in (work.done, work.failed, work.stopped):
            end.connect(lambda *_: self.refresh_runs())
        return work.start()

    def _show_run(self, folder: str, result: Any) -> None:
        # it would shine through the layers of the run
        self._drop_preview()
        self.open_run(folder)
        lacking = tr("It is finished, but parts of it could not be made.") if result.exit_code == 3 else ""
        warnings = [event["message"] for event in result.events if event["event"] == "Warned"]
        text = " ".join(part for part in (lacking, *warnings) if part)
        level = Qgis.MessageLevel.Warning if text else Qgis.MessageLevel.Success
        self.say(text or tr("The run in {folder} is finished.").format(folder=folder), level)

    def open_run(self, folder: str) -> None:
        """Load the layers of a run, styled, as a group."""
        layers = add_run(folder, QgsProject.instance())
        for layer in layers:
            if is_class_layer(layer):
                self._iface.setActiveLayer(layer)
        if not layers:
            self.say(tr("There are no layers in {folder}.").format(folder=folder), Qgis.MessageLevel.Warning)

    def refresh_runs(self) -> Background | None:
        """Ask for the states of all runs."""
        folders, python = remembered(), self._python
        self.panel.runs.reload()
        if not folders or not python:
            return None
        work = self._prepare(lambda work: read_states(python, folders, work.is_cancelled, work.tell))
        work.heard.connect(self.panel.runs.show_state)
        return work.start()

    def say(self, text: str, level: Any) -> None:
        """Show a message in the bar of the window; long ones can be opened."""
        bar, first = self._iface.messageBar(), text.strip().split("\n")[0]
        if len(first) > 200 or first != text.strip():
            bar.pushMessage("geoseg", first[:200], text, level)
        else:
            bar.pushMessage("geoseg", text, level)

    def _prepare(self, job: Any) -> Background:
        """Return work that has to be connected, then started."""
        self._work = [work for work in self._work if work.is_running]
        work = Background(job)
        self._work.append(work)
        return work


def _assume_crs(layer: Any) -> list[str]:
    told = told_crs(layer)
    return ["--assume-crs", told] if told else []


def _look(setting: str, own: str, work: Background) -> tuple[str, list[dict[str, Any]], str]:
    """Return the Python, its models, and what is wrong with the user's own ones."""
    python = pick_python(setting)
    if python is None:
        raise NotStartedError(tr("No Python with geoseg was found."))
    question = ["models", "list", "--json"]
    if own:
        # a folder that was moved keeps nobody from the shipped models
        with suppress(CommandError):
            return python, ask(python, [*question, "--folder", own], work.is_cancelled), ""
    shipped = ask(python, question, work.is_cancelled)
    return python, shipped, tr("No model package was found in the folder of own models, {}. Check the settings.").format(own) if own else ""
