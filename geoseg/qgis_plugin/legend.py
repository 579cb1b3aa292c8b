"""The classes of a raster layer with a slider each: how much of a class is seen."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsPalettedRasterRenderer, QgsRasterLayer, QgsRasterTransparency
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QColor, QPixmap
from qgis.PyQt.QtWidgets import QGridLayout, QLabel, QSlider, QWidget

from .text import tr


class LegendWidget(QWidget):
    """Color, name and opacity of each class of the layer that is shown; changes are seen at once and saved with the project."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layer: Any = None
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(2, 1)
        self.sliders: dict[int, QSlider] = {}
        self.show_layer(None)

    def show_layer(self, layer: Any) -> None:
        """Show the classes of a raster layer; None, or a layer without classes, shows a hint."""
        while self._grid.count():
            widget = self._grid.takeAt(0).widget()
            widget.hide()
            widget.deleteLater()
        self.sliders = {}
        self._layer = layer if is_class_layer(layer) else None
        if self._layer is None:
            hint = QLabel(tr("Select a class map in the layer list."), self)
            hint.setWordWrap(True)
            self._grid.addWidget(hint, 0, 0, 1, 3)
            return
        provider = self._layer.dataProvider()
        nodata = provider.sourceNoDataValue(1) if provider.sourceHasNoDataValue(1) else None
        for row, one in enumerate(one for one in self._layer.renderer().classes() if one.value != nodata):
            self._add_row(row, int(one.value), one.label, one.color)

    def _add_row(self, row: int, value: int, name: str, color: QColor) -> None:
        swatch = QPixmap(14, 14)
        swatch.fill(QColor(color.red(), color.green(), color.blue()))
        picture = QLabel(self)
        picture.setPixmap(swatch)
        slider = QSlider(Qt.Orientation.Horizontal, self)
        slider.setRange(0, 100)
        slider.setValue(round(color.alpha() / 2.55))
        slider.setToolTip(tr("Opacity of {name}").format(name=name))
        slider.setAccessibleName(name)
        slider.valueChanged.connect(lambda percent: self._change(value, percent))
        for column, widget in enumerate((picture, QLabel(name, self), slider)):
            self._grid.addWidget(widget, row, column)
        self.sliders[value] = slider

    def _change(self, value: int, percent: int) -> None:
        if is_class_layer(self._layer):
            set_opacity(self._layer, value, percent / 100)
        else:
            # it is drawn otherwise by now
            self.show_layer(None)

    def forget(self, layer_ids: list[str]) -> None:
        """Stop showing a layer that is about to be removed."""
        if self._layer is not None and self._layer.id() in layer_ids:
            self.show_layer(None)


def is_class_layer(layer: Any) -> bool:
    """Whether a layer is a raster that is drawn by classes."""
    return isinstance(layer, QgsRasterLayer) and isinstance(layer.renderer(), QgsPalettedRasterRenderer)


def set_opacity(layer: Any, value: int, opacity: float) -> None:
    """Make one class of a class map more or less transparent.

    Args:
        layer: Raster layer that is drawn by classes.
        value: Of the class.
        opacity: 0 is not seen, 1 hides what lies below.
    """
    renderer = layer.renderer()
    classes = renderer.classes()
    for one in classes:
        if int(one.value) == value:
            one.color = QColor(one.color.red(), one.color.green(), one.color.blue(), round(255 * opacity))
    changed = QgsPalettedRasterRenderer(layer.dataProvider(), renderer.band(), classes)
    changed.setOpacity(renderer.opacity())
    changed.setAlphaBand(renderer.alphaBand())
    if renderer.rasterTransparency() is not None:
        changed.setRasterTransparency(QgsRasterTransparency(renderer.rasterTransparency()))
    layer.setRenderer(changed)
    layer.triggerRepaint()
    layer.emitStyleChanged()
