"""The provider: geoseg in the Processing toolbox."""

from __future__ import annotations

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithms.change import DetectChange
from .algorithms.evaluate import Evaluate
from .algorithms.objects import RedoObjects
from .algorithms.regularize import RegularizeBuildings
from .algorithms.segment import SegmentRaster
from .algorithms.train import TrainModel
from .algorithms.vectorize import VectorizeClasses
from .text import ICON, tr

ALGORITHMS = (SegmentRaster, RedoObjects, VectorizeClasses, RegularizeBuildings, Evaluate, DetectChange, TrainModel)


class GeosegProvider(QgsProcessingProvider):
    """Algorithms that run geoseg in an environment of its own."""

    def id(self) -> str:
        """Return the name before the colon of ``geoseg:segment``."""
        return "geoseg"

    def name(self) -> str:
        """Return what the toolbox shows; other products are named GeoSeg too."""
        return tr("geoseg - land cover, buildings, roads")

    def icon(self) -> QIcon:
        """Return the icon."""
        return QIcon(str(ICON))

    def loadAlgorithms(self) -> None:  # noqa: N802  of QGIS
        """Add all algorithms."""
        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())

    def supportedOutputVectorLayerExtensions(self) -> list[str]:  # noqa: N802  of QGIS
        """Return the endings of vector files that geoseg writes."""
        return ["gpkg", "fgb", "geojson", "shp"]

    def supportsNonFileBasedOutput(self) -> bool:  # noqa: N802  of QGIS
        """Tell that layers in memory cannot be written: another program writes files."""
        return False
