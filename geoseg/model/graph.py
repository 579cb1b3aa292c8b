"""ONNX graphs of packages."""

from pathlib import Path

from geoseg.model.package import ModelPackage


def has_graph(package: ModelPackage, cache: Path) -> bool:
    """Tell whether an ONNX graph of this package is there without torch."""
    return False
