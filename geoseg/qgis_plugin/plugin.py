"""What QGIS loads: the provider, the settings page, the dock and the translation."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from qgis.core import QgsApplication, QgsSettings
from qgis.PyQt.QtCore import QCoreApplication, QTranslator

from .provider import GeosegProvider

_WITH_A_WINDOW = (("dock", "GeosegDock"), ("options", "GeosegOptions"))
"""Modules and their classes that need the window of QGIS; each is made with ``iface`` and has ``add()`` and ``remove()``."""


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
        for module, name in _WITH_A_WINDOW:
            if not Path(__file__).with_name(f"{module}.py").is_file():
                continue
            part = getattr(import_module(f".{module}", __package__), name)(self._iface)
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
