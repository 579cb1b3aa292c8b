"""What QGIS loads: the provider, the settings page, the dock and the translation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import QgsApplication, QgsSettings
from qgis.PyQt.QtCore import QCoreApplication, QTranslator

from .provider import GeosegProvider


class GeosegPlugin:
    """The plugin.

    Args:
        iface: The window of QGIS; None in ``qgis_process``.
    """

    def __init__(self, iface: Any) -> None:
        self._iface = iface
        self._provider: GeosegProvider | None = None
        self._parts: list[Any] = []
        self._translator = _load_translation()

    def initProcessing(self) -> None:  # noqa: N802  of QGIS
        """Add the algorithms; ``qgis_process`` calls nothing else."""
        self._provider = GeosegProvider()
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:  # noqa: N802  of QGIS
        """Add the algorithms, the dock and the settings page."""
        self.initProcessing()
        # qgis_process has no widgets
        from .dock import GeosegDock
        from .options import GeosegOptions

        for kind in (GeosegDock, GeosegOptions):
            part = kind(self._iface)
            part.add()
            self._parts.append(part)

    def unload(self) -> None:
        """Take everything out again."""
        for part in reversed(self._parts):
            part.remove()
        self._parts = []
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None
        if self._translator is not None:
            QCoreApplication.removeTranslator(self._translator)


def _load_translation() -> QTranslator | None:
    language = str(QgsSettings().value("locale/userLocale", "en"))
    for name in (language, language[:2]):
        file = Path(__file__).parent / "i18n" / f"geoseg_{name}.qm"
        if file.is_file():
            translator = QTranslator()
            translator.load(str(file))
            QCoreApplication.installTranslator(translator)
            return translator
    return None
