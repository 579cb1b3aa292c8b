"""What the dock shows: a model, a layer, two buttons, a legend, the runs."""

from __future__ import annotations

import os
from typing import Any

from qgis.core import QgsMapLayerProxyModel
from qgis.gui import QgsFileWidget, QgsMapLayerComboBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from .legend import LegendWidget
from .progressrow import ProgressRow
from .runlist import RunsWidget
from .text import tr


class Panel(QScrollArea):
    """The widgets of the dock; :class:`geoseg.qgis_plugin.dock.GeosegDock` says what they do."""

    settings_wanted = pyqtSignal()
    """The settings page shall open."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._proposed_for = ""
        self.model = QComboBox(self)
        self.reload_button = _tool(self, tr("Reload"), tr("Look for geoseg and its models again"))
        self.layer = QgsMapLayerComboBox(self)
        self.layer.setFilters(QgsMapLayerProxyModel.Filter.RasterLayer)
        for box in (self.model, self.layer):
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(10)
        self.output = QgsFileWidget(self)
        self.output.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self.about = QLabel(self)
        self.about.setWordWrap(True)
        self.about.linkActivated.connect(lambda _: self.settings_wanted.emit())
        self.preview_button = QPushButton(tr("Preview here"), self)
        self.preview_button.setToolTip(tr("Map what the canvas shows, as a temporary layer"))
        self.run_button = QPushButton(tr("Run on whole layer"), self)
        self.run_button.setToolTip(tr("Map all of the layer into the run folder, in the background"))
        self.options_button = _tool(self, "...", tr("All options: open the dialog of the Processing toolbox"))
        self.preview_row, self.run_row = ProgressRow(self), ProgressRow(self)
        self.legend, self.runs = LegendWidget(self), RunsWidget(self)
        self._put_together()
        self.preview_row.ended.connect(self.enable)
        self.run_row.ended.connect(self.enable)
        self.model.currentIndexChanged.connect(lambda _: self._describe())
        self.layer.layerChanged.connect(self._propose_output)
        self.show_models([])
        self._propose_output(self.layer.currentLayer())

    def _put_together(self) -> None:
        inside = QWidget(self)
        layout = QVBoxLayout(inside)
        form = QFormLayout()
        form.addRow(tr("Model"), _beside(self.model, self.reload_button))
        form.addRow("", self.about)
        form.addRow(tr("Layer"), self.layer)
        form.addRow(tr("Run folder"), self.output)
        layout.addLayout(form)
        buttons = QHBoxLayout()
        for button in (self.preview_button, self.run_button, self.options_button):
            buttons.addWidget(button)
        layout.addLayout(buttons)
        layout.addWidget(self.preview_row)
        layout.addWidget(self.run_row)
        for title, widget in ((tr("Legend"), self.legend), (tr("Runs"), self.runs)):
            box = QGroupBox(title, inside)
            QVBoxLayout(box).addWidget(widget)
            layout.addWidget(box)
        layout.addStretch(1)
        self.setWidget(inside)
        self.setWidgetResizable(True)
        # a scroll area does not ask for the width of what is in it
        self.setMinimumWidth(inside.minimumSizeHint().width() + self.verticalScrollBar().sizeHint().width())

    def show_models(self, models: list[dict[str, Any]]) -> None:
        """Offer models, as ``geoseg models list --json`` tells of them; the one that was chosen stays chosen."""
        before = self.chosen_name()
        self.model.blockSignals(True)
        self.model.clear()
        for told in models:
            self.model.addItem(f"{os.path.basename(told['model'])} {told['version']}", told)
        names = [told["model"] for told in models]
        self.model.setCurrentIndex(names.index(before) if before in names else min(0, len(models) - 1))
        self.model.blockSignals(False)
        self._describe()

    def chosen_model(self) -> dict[str, Any] | None:
        """Return what is told of the chosen model."""
        told = self.model.currentData()
        return told if isinstance(told, dict) else None

    def chosen_name(self) -> str:
        """Return the name of the chosen model, as ``--model`` takes it."""
        told = self.chosen_model()
        return str(told["model"]) if told else ""

    def show_problem(self, text: str) -> None:
        """Say why there are no models, with a link to the settings."""
        self.show_models([])
        self.about.setText(f'{text} <a href="settings">{tr("Open the settings")}</a>')

    def _describe(self) -> None:
        told = self.chosen_model()
        self.model.setToolTip(told["description"] if told else "")
        self.about.setText(_describe(told) if told else tr("Looking for geoseg ..."))
        self.enable()

    def enable(self) -> None:
        """Enable the buttons that have what they need and are not at work."""
        is_ready = self.chosen_model() is not None and self.layer.currentLayer() is not None
        self.preview_button.setEnabled(is_ready and self.preview_row.is_free)
        self.run_button.setEnabled(is_ready and self.run_row.is_free)
        self.options_button.setEnabled(self.layer.currentLayer() is not None)

    def _propose_output(self, layer: Any) -> None:
        """Propose a folder beside the raster."""
        source = layer.source().split("|")[0] if layer is not None else ""
        folder = os.path.dirname(source) if os.path.isfile(source) else os.path.expanduser("~")
        # the list tells of its layer anew whenever layers come and go
        if layer is not None and layer.id() != self._proposed_for:
            self._proposed_for = layer.id()
            name = os.path.splitext(os.path.basename(source))[0] if os.path.isfile(source) else layer.name()
            self.output.setFilePath(os.path.join(folder, f"{name}-geoseg"))
        self.enable()


def _describe(told: dict[str, Any]) -> str:
    bands = tr("Bands: {bands}").format(bands=", ".join(told["bands"]))
    classes = tr("Classes: {classes}").format(classes=", ".join(row["name"] for row in told["classes"]))
    if told["resolution_m"] is None:
        return f"{bands}. {classes}."
    sharp = tr("Pixels: {finest:g} m").format(finest=told["resolution_m"])
    coarse = tr(" to {coarsest:g} m").format(coarsest=told["coarsest_m"]) if told["coarsest_m"] else ""
    return f"{bands}. {sharp}{coarse}. {classes}."


def _tool(parent: QWidget, text: str, tip: str) -> QToolButton:
    button = QToolButton(parent)
    button.setText(text)
    button.setToolTip(tip)
    return button


def _beside(first: QWidget, second: QWidget) -> QWidget:
    both = QWidget()
    row = QHBoxLayout(both)
    row.setContentsMargins(0, 0, 0, 0)
    row.addWidget(first, 1)
    row.addWidget(second)
    return both
