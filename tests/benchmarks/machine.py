"""On what machine, and with what versions, something was measured."""

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version

import psutil

from geoseg import __version__
from geoseg.machine import name_processor

_LIBRARIES = ("torch", "onnxruntime", "segmentation_models_pytorch", "rasterio", "numpy")


def describe(threads: int) -> dict[str, object]:
    """Return processor, memory, date and versions as a table for JSON."""
    return {
        "processor": name_processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "load": round(os.getloadavg()[0], 2),
        "versions": {"geoseg": __version__, **{name: _version(name) for name in _LIBRARIES}},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
