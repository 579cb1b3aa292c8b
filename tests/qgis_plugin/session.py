"""What a real QGIS does in the tests: started with ``--code``, it drives the plugin, takes pictures and writes what it saw.

It runs in the Python of QGIS, so that it imports nothing of geoseg. ``GEOSEG_SESSION`` names a JSON file with what is asked.
"""

import itertools
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qgis import utils
from qgis.core import Qgis, QgsApplication, QgsProject, QgsRasterLayer, QgsRectangle
from qgis.PyQt.QtCore import QEventLoop, Qt, QTimer
from qgis.PyQt.QtWidgets import QApplication, QDialog, QDockWidget, QWidget
from qgis.utils import iface

ASKED = json.loads(Path(os.environ["GEOSEG_SESSION"]).read_text())
PICTURES = Path(ASKED["pictures"])
seen: dict[str, Any] = {"log": [], "bar": [], "steps": []}


def main() -> None:
    QgsApplication.messageLog().messageReceived.connect(lambda text, tag, level: seen["log"].append([str(text), str(tag), int(level)]))
    iface.messageBar().widgetAdded.connect(lambda item: hear_bar())
    for step in STEPS:
        began = time.monotonic()
        try:
            step()
        except Exception:
            seen["failed"] = [step.__name__, traceback.format_exc()]
            iface.mainWindow().grab().save(str(PICTURES / "failed.png"))
            break
        seen["steps"].append([step.__name__, round(time.monotonic() - began, 2)])
    Path(ASKED["answer"]).write_text(json.dumps(seen))
    os._exit(0)


def hear_bar() -> None:
    item = iface.messageBar().currentItem()
    if item is not None:
        seen["bar"].append([item.title(), item.text(), int(item.level())])


def plugin() -> Any:
    return utils.plugins[ASKED["plugin"]]


def dock() -> Any:
    return next(part for part in plugin()._parts if type(part).__name__ == "GeosegDock")


def settle(seconds: float = 0.3) -> None:
    loop = QEventLoop()
    QTimer.singleShot(int(1000 * seconds), loop.quit)
    loop.exec()


def wait(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {seconds} s; messages {seen['bar'][-3:]}, log {seen['log'][-3:]}")
        settle(0.1)


def picture(name: str, widget: QWidget) -> None:
    settle(0.5)
    widget.grab().save(str(PICTURES / f"{name}.png"))


def load_plugin() -> None:
    if utils.isPluginLoaded(ASKED["plugin"]):
        utils.unloadPlugin(ASKED["plugin"])
    utils.updateAvailablePlugins()
    assert utils.loadPlugin(ASKED["plugin"]), "loadPlugin"
    assert utils.startPlugin(ASKED["plugin"]), "startPlugin"
    settle()
    seen["after_loading"] = list(seen["log"])
    seen["provider"] = QgsApplication.processingRegistry().providerById("geoseg").name()


def show_imagery() -> None:
    iface.mainWindow().resize(1280, 800)
    iface.mainWindow().findChild(QDockWidget, "Browser").hide()
    layers = iface.mainWindow().findChild(QDockWidget, "Layers")
    iface.mainWindow().resizeDocks([layers], [230], Qt.Orientation.Horizontal)
    layer = QgsRasterLayer(ASKED["raster"], "orthophoto")
    QgsProject.instance().addMapLayer(layer)
    iface.setActiveLayer(layer)
    iface.zoomToActiveLayer()
    settle(1)


def open_settings() -> None:
    dialog = QDialog(iface.mainWindow())
    options = next(part for part in plugin()._parts if type(part).__name__ == "GeosegOptions")
    page = options._factory.createWidget(dialog)
    dialog.resize(640, 520)
    page.resize(640, 520)
    dialog.show()
    form = page.form
    wait(lambda: form.status.text().startswith(("\N{HEAVY CHECK MARK}", "\N{WARNING SIGN}")), "the test of the environment")
    seen["settings"] = form.status.text()
    picture("qgis-settings", dialog)
    page.apply()
    dialog.close()


def create_environment() -> None:
    """Press Create with a small wheel and no internet, then Create and Cancel."""
    dialog = QDialog(iface.mainWindow())
    options = next(part for part in plugin()._parts if type(part).__name__ == "GeosegOptions")
    page = options._factory.createWidget(dialog)
    dialog.show()
    form = page.form
    before = form.chosen_python()
    form.source.setFilePath(ASKED["wheel"])
    form.wheels.setFilePath(os.path.dirname(ASKED["wheel"]))
    form.base.setFilePath(ASKED["base"])
    form.create_button.click()
    seen["while_creating"] = form.create_button.text()
    wait(lambda: form.create_button.text() == "Create", "the end of the creation")
    wait(lambda: "works" in form.status.text() or form.status.text().startswith("\N{WARNING SIGN}"), "the test of what was created")
    seen["created"] = [form.chosen_python(), form.status.text(), form.log.toPlainText()]
    form.create_button.click()
    wait(form.log.toPlainText, "a first line")
    form.create_button.click()
    wait(lambda: form.create_button.text() == "Create", "the end of the cancelled creation")
    seen["cancelled_creation"] = form.log.toPlainText().splitlines()[-1]
    form.create_button.click()
    wait(lambda: form.create_button.text() != "Create", "a third creation")
    another = options._factory.createWidget(QDialog(iface.mainWindow()))
    another.window().show()
    another.window().reject()
    seen["goes_on_after_another_cancel"] = options._factory.creation.is_going_on
    dialog.reject()
    wait(lambda: not options._factory.creation.is_going_on, "the end of the creation after Cancel")
    dialog.show()
    wait(lambda: form.create_button.text() == "Create", "the button after Cancel")
    form.source.setFilePath("")
    form.create_button.click()
    wait(lambda: form.create_button.text() == "Create", "a refusal")
    seen["refused_creation"] = form.log.toPlainText()
    form.python.setCurrentText(before)
    page.apply()
    dialog.close()


def open_dock() -> None:
    dock().action.trigger()
    wait(lambda: dock().panel.chosen_model() is not None, "a list of models")
    panel = dock().panel
    seen["models"] = [panel.model.itemText(row) for row in range(panel.model.count())]
    panel.layer.setLayer(QgsProject.instance().mapLayersByName("orthophoto")[0])
    panel.output.setFilePath(ASKED["output"])
    seen["is_docked"] = dock().dock.isVisible() and not dock().dock.isFloating()


def preview() -> None:
    began = time.monotonic()
    iface.mapCanvas().zoomByFactor(0.5)
    settle()
    ticks: list[float] = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.monotonic()))
    timer.start(20)
    dock().panel.preview_button.click()
    wait(lambda: named("Preview"), "a preview")
    timer.stop()
    seen["preview"] = describe(named("Preview")[0])
    seen["preview_s"] = time.monotonic() - began
    seen["longest_pause_s"] = max(b - a for a, b in itertools.pairwise(ticks))
    seen["canvas"] = list(iface.mapCanvas().extent().toRectF().getRect())
    for value in (0, 2):
        dock().panel.legend.sliders[value].setValue(20)
    settle(1)
    picture("qgis-preview", iface.mainWindow())
    for value in (0, 2):
        dock().panel.legend.sliders[value].setValue(100)


def named(start: str) -> list[Any]:
    return [layer for layer in QgsProject.instance().mapLayers().values() if layer.name().startswith(start)]


def describe(layer: Any) -> dict[str, Any]:
    box = layer.extent()
    told: dict[str, Any] = {"name": layer.name(), "box": [box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()]}
    renderer = layer.renderer()
    told["renderer"] = renderer.type()
    if told["renderer"] == "paletted":
        told["classes"] = [[int(one.value), one.label, one.color.name()] for one in renderer.classes()]
    elif told["renderer"] == "categorizedSymbol":
        told["classes"] = [[int(one.value()), one.label(), one.symbol().color().name()] for one in renderer.categories()]
    else:
        symbol = renderer.symbol()
        told["color"] = symbol.symbolLayer(symbol.symbolLayerCount() - 1).color().name()
    return told


def fade_a_class() -> None:
    layer = named("Preview")[0]
    value = max(dock().panel.legend.sliders)
    dock().panel.legend.sliders[value].setValue(25)
    seen["faded"] = {int(one.value): one.color.alpha() for one in layer.renderer().classes()}
    seen["faded_value"] = value
    dock().panel.legend.sliders[value].setValue(100)


def run_layer() -> None:
    dock().panel.run_button.click()
    wait(lambda: named("Buildings"), "layers of the run")
    seen["folder_after_run"] = dock().panel.output.filePath()
    seen["previews_after_run"] = [layer.name() for layer in named("Preview")]
    root = QgsProject.instance().layerTreeRoot()
    seen["groups"] = {group.name(): [child.name() for child in group.children()] for group in root.findGroups()}
    seen["run"] = [describe(layer) for name in ("Classes", "Buildings", "Roads", "Land cover") for layer in named(name)]
    wait(lambda: [s for s in dock().panel.runs.states().values() if s and s.state == "finished"], "the state of the run")
    iface.zoomToActiveLayer()
    settle(1.5)
    picture("qgis-run", iface.mainWindow())


def stop_and_resume() -> None:
    panel = dock().panel
    panel.output.setFilePath(ASKED["second"])
    panel.run_button.click()
    wait(lambda: panel.run_row.bar.value() > 0 and panel.run_row.bar.maximum() > 0, "progress")
    began = time.monotonic()
    panel.run_row.button.click()
    wait(lambda: panel.run_row.is_free, "the end of the run", 10)
    seen["cancel_s"] = time.monotonic() - began
    states = panel.runs.states
    wait(lambda: states()[ASKED["second"]] and states()[ASKED["second"]].state != "running", "the state after cancelling")
    seen["after_cancel"] = states()[ASKED["second"]].state
    panel.runs.select(ASKED["second"])
    seen["can_resume"] = panel.runs.resume_button.isEnabled()
    picture("qgis-panel", dock().dock)
    panel.runs.resume_button.click()
    wait(lambda: states()[ASKED["second"]].state == "finished", "the resumed run")
    seen["after_resume"] = states()[ASKED["second"]].state


def open_dialog() -> None:
    from qgis import processing

    dialog = processing.createAlgorithmDialog("geoseg:segment", {"INPUT": named("orthophoto")[0], "MODEL": dock().panel.chosen_name()})
    seen["dialog"] = None
    if dialog is not None:
        dialog.resize(900, 640)
        dialog.show()
        seen["dialog"] = dialog.windowTitle()
        picture("qgis-segment", dialog)
        dialog.close()


def refusals() -> None:
    """Ask for what cannot be done; each time one message says why."""
    panel, orthophoto = dock().panel, named("orthophoto")[0]
    seen["refusals"] = {}

    def ask(name: str, layer: Any, button: Any) -> None:
        count = len(seen["bar"])
        panel.layer.setLayer(layer)
        button.click()
        wait(lambda: len(seen["bar"]) > count and panel.preview_row.is_free and panel.run_row.is_free, f"a message about {name}")
        seen["refusals"][name] = seen["bar"][count][1:]

    gray = QgsRasterLayer(ASKED["gray"], "gray")
    tiles = QgsRasterLayer("type=xyz&url=http://localhost/%7Bz%7D/%7Bx%7D/%7By%7D.png&zmax=1&zmin=0", "tiles", "wms")
    QgsProject.instance().addMapLayers([gray, tiles], False)
    ask("too few bands", gray, panel.preview_button)
    ask("tiles of a server", tiles, panel.run_button)
    iface.mapCanvas().setExtent(QgsRectangle(0, 0, 10, 10))
    ask("map elsewhere", orthophoto, panel.preview_button)


def unload() -> None:
    QApplication.processEvents()
    assert utils.unloadPlugin(ASKED["plugin"]), "unloadPlugin"
    seen["left_after_unloading"] = [layer.name() for layer in named("Preview")]


def hear_exception(*what: Any) -> None:
    seen["log"].append(["".join(traceback.format_exception(*what)), "excepthook", int(Qgis.MessageLevel.Critical)])


STEPS = (
    load_plugin, show_imagery, open_settings, create_environment, open_dock, preview, fade_a_class, run_layer, stop_and_resume,
    open_dialog, refusals, unload,
)  # fmt: skip
sys.excepthook = hear_exception
QTimer.singleShot(0, main)
