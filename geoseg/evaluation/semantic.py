"""How well a class map agrees with labels."""

import numpy as np
from numpy.typing import NDArray

from geoseg.labels.targets import NOT_BUILDING, UNLABELLED, building_channel
from geoseg.model.spec import Metric, ModelSpec


def confusion_matrix(truth: NDArray[np.integer], found: NDArray[np.integer], size: int) -> NDArray[np.int64]:
    """Count pixels by true (row) and found (column) class.

    Args:
        truth: Any shape, 0..size-1; other values are left out.
        found: Same shape, 0..size-1 wherever the truth is.
        size: Number of classes.

    Returns:
        (size, size) counts.
    """
    known = truth < size
    pairs = truth[known].astype(np.int64) * size + found[known].astype(np.int64)
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


def iou_per_class(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return intersection over union of each class, (K,); NaN where a class is neither true nor found."""
    hits = np.diag(confusion).astype(np.float64)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return np.asarray(np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0))


def building_iou(targets: NDArray[np.uint8], found: NDArray[np.bool_], spec: ModelSpec) -> float:
    """Return the IoU of buildings where anything is labelled.

    Args:
        targets: (H, W) semantic targets as in :class:`geoseg.labels.targets.LabelledRaster`.
        found: (H, W), True = building.
        spec: Names the building channel.
    """
    truth = targets == building_channel(spec)
    known = targets != UNLABELLED
    union = ((truth | found) & known).sum()
    return float((truth & found & known).sum() / union) if union else float("nan")


def class_metrics(dataset: str, confusion: NDArray[np.int64], spec: ModelSpec) -> tuple[Metric, ...]:
    """Return mean IoU, IoU per class and overall accuracy, rounded to four digits."""
    iou = iou_per_class(confusion)
    rows = [("mean IoU", float(np.nanmean(iou)))]
    rows += [(f"IoU {c.name}", float(v)) for c, v in zip(spec.classes, iou, strict=True) if not np.isnan(v)]
    rows.append(("accuracy", float(np.diag(confusion).sum() / max(confusion.sum(), 1))))
    return tuple(Metric(dataset=dataset, name=name, value=round(value, 4)) for name, value in rows)


def is_partial(targets: NDArray[np.uint8]) -> bool:
    """Tell whether labels know buildings only."""
    return bool((targets == NOT_BUILDING).any())
