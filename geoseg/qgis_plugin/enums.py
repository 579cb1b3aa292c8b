"""Names that moved when QGIS gathered its enumerations, and what they were before."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    Qgis,
    QgsFeatureSink,
    QgsProcessing,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
)


def _find(scoped: str, owner: Any, old: str) -> Any:
    """Return ``Qgis.<kind>.<member>`` where this QGIS has it, else what it was called before."""
    kind, member = scoped.split(".")
    return getattr(getattr(Qgis, kind), member) if hasattr(Qgis, kind) else getattr(owner, old)


POLYGON = _find("ProcessingSourceType.VectorPolygon", QgsProcessing, "TypeVectorPolygon")
LINE = _find("ProcessingSourceType.VectorLine", QgsProcessing, "TypeVectorLine")
ADVANCED = _find("ProcessingParameterFlag.Advanced", QgsProcessingParameterDefinition, "FlagAdvanced")
FOLDER = _find("ProcessingFileParameterBehavior.Folder", QgsProcessingParameterFile, "Folder")
DOUBLE = _find("ProcessingNumberParameterType.Double", QgsProcessingParameterNumber, "Double")
INTEGER = _find("ProcessingNumberParameterType.Integer", QgsProcessingParameterNumber, "Integer")
FAST_INSERT = QgsFeatureSink.Flag.FastInsert
