"""Texts in the user's language."""

from __future__ import annotations

from qgis.PyQt.QtCore import QCoreApplication

CONTEXT = "geoseg"
"""Context of all texts in the translation files."""


def tr(text: str) -> str:
    """Return a text in the language of QGIS; every text that a user sees goes through here, as a literal."""
    return str(QCoreApplication.translate(CONTEXT, text))
