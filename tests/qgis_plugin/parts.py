"""What single widgets do in the Python of QGIS, without its window: ``parts.py PLUGINS RASTER FOLDER`` prints a line of JSON."""

import json
import os
import sys
import time

plugins, raster, folder = sys.argv[1:]
sys.path += [plugins, "/usr/share/qgis/python/plugins"]

from qgis.core import QgsApplication, QgsProject, QgsRasterLayer, QgsSingleBandGrayRenderer  # noqa: E402
from qgis.PyQt.QtCore import QObject, pyqtSignal  # noqa: E402
from qgis.PyQt.QtWidgets import QMainWindow  # noqa: E402

application = QgsApplication([], True)
application.initQgis()

from geoseg_qgis import runs  # noqa: E402
from geoseg_qgis.background import Background  # noqa: E402
from geoseg_qgis.dock import GeosegDock  # noqa: E402
from geoseg_qgis.legend import LegendWidget, set_opacity  # noqa: E402
from geoseg_qgis.options import Creation, GeosegOptions, SettingsPage  # noqa: E402
from geoseg_qgis.runlist import RunsWidget  # noqa: E402
from geoseg_qgis.styling import dress  # noqa: E402

failures = []


def hear_exception(*what):
    failures.append(repr(what[1]))
    sys.__excepthook__(*what)


sys.excepthook = hear_exception


class Window(QObject):
    """As much of the window of QGIS as the dock needs."""

    currentLayerChanged = pyqtSignal(object)  # noqa: N815

    def __init__(self):
        super().__init__()
        self.main = QMainWindow()

    def mainWindow(self):  # noqa: N802
        return self.main

    def __getattr__(self, name):
        return lambda *_: None


def settle(seconds=0.2):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        application.processEvents()


def class_layer():
    layer = QgsRasterLayer(os.path.join(folder, "classes.tif"), "classes")
    dress(layer, "classes", folder)
    return layer


def legend():
    """Draw a layer otherwise while its sliders are seen."""
    widget, layer = LegendWidget(), class_layer()
    widget.show_layer(layer)
    layer.renderer().setAlphaBand(1)
    set_opacity(layer, 1, 0.5)
    alpha_band = layer.renderer().alphaBand()
    slider = widget.sliders[0]
    layer.setRenderer(QgsSingleBandGrayRenderer(layer.dataProvider(), 1))
    slider.setValue(20)
    return {"alpha_band": alpha_band, "sliders": len(widget.sliders)}


def run_folder():
    """Name the folder of a run from home, and one that means nothing elsewhere."""
    told = {"model": "aerial", "version": "1", "bands": [], "classes": [], "resolution_m": None, "description": ""}
    layer = QgsRasterLayer(raster, "picture")
    QgsProject.instance().addMapLayer(layer)
    dock, asked = GeosegDock(Window()), []
    dock._run = lambda where, arguments: asked.append(where)
    dock.panel.show_models([told])
    dock.panel.layer.setLayer(layer)
    for name in ("~/out", "out"):
        dock.panel.output.setFilePath(name)
        dock.run_layer()
    return asked


def selection():
    """Keep what is selected when the list is read anew."""
    for name in ("/a", "/b"):
        runs.remember(name)
    widget = RunsWidget()
    widget.select("/a")
    widget.reload()
    return (widget._selected() or [None])[0]


def unloading():
    """Unload the dock while something is at work, and count what begins afterwards."""
    window = Window()
    dock, begun = GeosegDock(window), []
    dock.add()
    work = dock._prepare(lambda work: [time.sleep(0.02) for _ in iter(work.is_cancelled, True)])
    work.stopped.connect(lambda: begun.append("more"))
    work.start()
    dock.remove()
    settle()
    return {"begun": begun, "is_running": work.is_running}


def closed_settings():
    """Close the settings page with OK while an environment is made, then open it again."""
    creation = Creation()
    creation.work = work = Background(lambda work: [time.sleep(0.02) for _ in iter(work.is_cancelled, True)])
    page = SettingsPage(creation)
    page._follow(work)
    work.start()
    page.apply()
    page.deleteLater()
    del page
    settle()
    again = SettingsPage(creation)
    button = again.form.create_button.text()
    again.form.create_button.click()
    work.wait(2)
    settle()
    told = [button, again.form.create_button.text()]
    options = GeosegOptions(Window())
    options._factory.creation.work = other = Background(lambda work: [time.sleep(0.02) for _ in iter(work.is_cancelled, True)]).start()
    options.remove()
    return {"buttons": told, "is_running": other.is_running}


answers = {part.__name__: part() for part in (legend, run_folder, selection, unloading, closed_settings)}
print(json.dumps({**answers, "home": os.path.expanduser("~"), "here": os.getcwd(), "failures": failures}), flush=True)
os._exit(0)
