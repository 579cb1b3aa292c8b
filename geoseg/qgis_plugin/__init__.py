"""geoseg in QGIS: an island that imports only qgis and the standard library, and starts ``python -m geoseg`` elsewhere."""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:  # noqa: N802  QGIS looks for this name
    """Return the plugin; QGIS calls it once.

    Args:
        iface: The window of QGIS; None without one.
    """
    from .plugin import GeosegPlugin

    return GeosegPlugin(iface)
