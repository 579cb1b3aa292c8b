"""The provider: geoseg in the Processing toolbox."""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .text import tr

ICON = Path(__file__).parent / "icon.svg"


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
