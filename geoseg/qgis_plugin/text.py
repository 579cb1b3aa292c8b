"""Texts in the user's language, and the icon."""

from __future__ import annotations

from pathlib import Path

from qgis.PyQt.QtCore import QCoreApplication

CONTEXT = "geoseg"
"""Context of all texts in the translation files."""

ICON = Path(__file__).parent / "icon.svg"
"""The icon of plugin, provider and algorithms."""


def tr(text: str) -> str:
    """Return a text in the language of QGIS; every text that a user sees goes through here, as a literal."""
    return str(QCoreApplication.translate(CONTEXT, text))
