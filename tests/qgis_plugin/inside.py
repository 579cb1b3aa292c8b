"""What happens inside of QGIS, run by the Python that has it: ``inside.py PLUGINS TASK.json`` prints a line of JSON."""

import json
import os
import sys
from pathlib import Path

plugins, task = sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
sys.path += [plugins, "/usr/share/qgis/python/plugins"]

from qgis.core import (  # noqa: E402
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterRasterLayer,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
    QgsVectorLayerJoinInfo,
)

application = QgsApplication([], False)
application.initQgis()

import geoseg_qgis  # noqa: E402
from geoseg_qgis.layers import band_names, raster_file, told_crs, vector_file  # noqa: E402
from processing.core.Processing import Processing  # noqa: E402
from processing.gui.Postprocessing import handleAlgorithmResults  # noqa: E402


class Feedback(QgsProcessingFeedback):
    """Keeps what it is told."""

    def __init__(self):
        super().__init__(False)
        self.told = []

    def reportError(self, error, fatalError=False):  # noqa: N802, N803
        self.told.append(error)


def algorithm(name):
    return QgsApplication.processingRegistry().createAlgorithmById(f"geoseg:{name}")


def run(name, parameters, project=None):
    context, feedback = QgsProcessingContext(), Feedback()
    if project is not None:
        context.setProject(project)
    one = algorithm(name) if isinstance(name, str) else name
    results, fine = one.run(parameters, context, feedback)
    if project is not None:
        assert handleAlgorithmResults(one, context, feedback, parameters), feedback.told
    return {key: str(value) for key, value in results.items()}, fine, "\n".join(feedback.told)


def load(raster, output):
    """Run with a project, and tell what its layer tree holds."""
    project = QgsProject.instance()
    run("segment", {"INPUT": raster, "OUTPUT": output}, project)
    return [
        {"group": group.name(), "layers": [describe(node.layer(), node.isVisible()) for node in group.findLayers()]}
        for group in project.layerTreeRoot().findGroups()
    ]


def change(date, output):
    """Compare a run with itself in a project of its own, and tell what its layer tree holds."""
    project = QgsProject()
    results = run("change", {"BEFORE": date, "AFTER": date, "OUTPUT": output}, project)
    return {"results": results, "layers": [describe(node.layer(), node.isVisible()) for node in project.layerTreeRoot().findLayers()]}


def describe(layer, shown):
    renderer = layer.renderer()
    if isinstance(layer, QgsRasterLayer):
        legend = [(c.label, c.color.name()) for c in renderer.classes()]
    elif renderer.type() == "categorizedSymbol":
        legend = [(c.label(), c.symbol().color().name()) for c in renderer.categories()]
    else:
        legend = [("", renderer.symbol().color().name())]
    return {"name": layer.name(), "shown": shown, "legend": legend}


def model(raster, output, file):
    """Build a model that segments and then vectorizes, save it, open it, run it."""
    made = QgsProcessingModelAlgorithm("town", "tests")
    made.addModelParameter(QgsProcessingParameterRasterLayer("raster", "raster"), QgsProcessingModelParameter("raster"))
    made.addModelParameter(QgsProcessingParameterFolderDestination("folder", "folder"), QgsProcessingModelParameter("folder"))
    first = QgsProcessingModelChildAlgorithm("geoseg:segment")
    first.setChildId("segment")
    source = QgsProcessingModelChildParameterSource
    first.addParameterSources("INPUT", [source.fromModelParameter("raster")])
    first.addParameterSources("OUTPUTS", [source.fromStaticValue([0])])
    first.addParameterSources("OUTPUT", [source.fromModelParameter("folder")])
    made.addChildAlgorithm(first)
    second = QgsProcessingModelChildAlgorithm("geoseg:vectorize")
    second.setChildId("vectorize")
    second.addParameterSources("INPUT", [source.fromChildOutput("segment", "CLASSES")])
    polygons = QgsProcessingModelOutput("polygons", "polygons")
    polygons.setChildId("vectorize")
    polygons.setChildOutputName("OUTPUT")
    second.setModelOutputs({"polygons": polygons})
    made.addChildAlgorithm(second)
    assert made.toFile(file)
    opened = QgsProcessingModelAlgorithm()
    assert opened.fromFile(file)
    opened.setProvider(QgsApplication.processingRegistry().providerById("geoseg"))
    results, fine, told = run(opened, {"raster": raster, "folder": output, "vectorize:polygons": f"{output}-polygons.gpkg"})
    return {
        "fine": fine,
        "told": told,
        "polygons": QgsVectorLayer(f"{output}-polygons.gpkg", "polygons").featureCount(),
        "results": results,
    }


def batch(rasters, outputs):
    """Run one after the other, as the batch dialog does."""
    return [run("segment", {"INPUT": r, "OUTPUT": o, "OUTPUTS": [0]})[1:] for r, o in zip(rasters, outputs, strict=True)]


def layers(raster, folder, polygons):
    """Hand layers of all kinds to geoseg."""
    square = QgsVectorLayer("Polygon?crs=EPSG:32645&field=name:string", "square", "memory")
    pictures = QgsRasterLayer("type=xyz&url=http://127.0.0.1:9/{z}/{x}/{y}.png&zmax=3&zmin=0", "tiles", "wms")
    image = QgsRasterLayer(raster, "image")
    refused = ""
    try:
        raster_file(pictures, f"{folder}/pictures", Feedback())
    except Exception as exc:
        refused = str(exc)
    whole = QgsVectorLayer(polygons, "whole")
    part = QgsVectorLayer(polygons, "part")
    part.setSubsetString("name = 'one'")
    return {
        "image": raster_file(image, f"{folder}/image", Feedback()),
        "bands": band_names(image),
        "refused": refused,
        "whole": vector_file(whole, whole, f"{folder}/whole"),
        "part": vector_file(part, part, f"{folder}/part"),
        "memory": vector_file(square, square, f"{folder}/memory"),
    }


def attempt(work):
    try:
        return work()
    except Exception as exc:
        return str(exc)


def only_in_qgis(raster, bare, folder, polygons):
    """Hand over what QGIS knows and a file does not: a CRS, a column, pixels in memory."""
    given, other = QgsRasterLayer(bare, "bare"), QgsRasterLayer(raster, "other")
    given.setCrs(QgsCoordinateReferenceSystem("EPSG:32645"))
    other.setCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
    joined, table = QgsVectorLayer(polygons, "joined"), QgsVectorLayer("None?field=key:string&field=kind:string", "table", "memory")
    join = QgsVectorLayerJoinInfo()
    join.setJoinLayer(table)
    join.setJoinFieldName("key")
    join.setTargetFieldName("name")
    joined.addJoin(join)
    memory, copy = QgsRasterLayer(description(raster), "memory"), f"{folder}/memory.tif"
    first = [raster_file(memory, f"{folder}/memory", Feedback()), os.stat(copy).st_mtime_ns]
    again = [raster_file(memory, f"{folder}/memory", Feedback()), os.stat(copy).st_mtime_ns]
    raster_file(QgsRasterLayer(description(bare), "another"), f"{folder}/memory", Feedback())
    return {
        "told": told_crs(given),
        "taken": raster_file(given, f"{folder}/bare", Feedback(), takes_crs=True),
        "refused": attempt(lambda: raster_file(given, f"{folder}/bare", Feedback())),
        "other": attempt(lambda: raster_file(other, f"{folder}/other", Feedback(), takes_crs=True)),
        "joined": vector_file(joined, joined, f"{folder}/joined"),
        "stays": first == again,
        "is_replaced": os.stat(copy).st_mtime_ns != again[1],
        "files": sorted(os.listdir(folder)),
    }


def description(raster):
    """Return a virtual raster as text, which is no file."""
    layer = QgsRasterLayer(raster)
    size = f'rasterXSize="{layer.width()}" rasterYSize="{layer.height()}"'
    source = f'<SimpleSource><SourceFilename relativeToVRT="0">{raster}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
    return f'<VRTDataset {size}><VRTRasterBand dataType="Byte" band="1">{source}</VRTRasterBand></VRTDataset>'


Processing.initialize()
plugin = geoseg_qgis.classFactory(None)
plugin.initProcessing()
answers = {name: globals()[name](**arguments) for name, arguments in task.items()}
plugin.unload()
print(json.dumps(answers))
