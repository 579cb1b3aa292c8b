"""Surfaces and things in one answer: each pixel has one class, and one instance where it belongs to a thing."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.pixels.classes import NODATA_CLASS
from geoseg.pixels.decode import CONFIDENCE_SCALE
from geoseg.pixels.kernel import kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """One row per segment: first the classes, in the order of their values, then the instances, in the order of their ids.

    The row of a class holds its pixels that belong to no instance.
    """

    class_value: NDArray[np.int64]
    """(n,) class."""
    instance_id: NDArray[np.int64]
    """(n,) instance; 0 in the rows of classes."""
    pixels: NDArray[np.int64]
    """(n,) pixels, at least one."""
    area_m2: NDArray[np.float64]
    """(n,) area of these pixels on the ground."""
    score: NDArray[np.float64]
    """(n,) mean confidence in [0, 1]."""

    def __len__(self) -> int:
        return len(self.pixels)


def merge_panoptic(classes: NDArray[np.uint8], labels: NDArray[np.uint32], things: NDArray[np.integer]) -> NDArray[np.uint32]:
    """Put instances over a class map; they win (Kirillov et al. 2019, "Panoptic segmentation").

    Args:
        classes: (H, W) class values, NODATA_CLASS without data.
        labels: (H, W) instance ids, 0 = none.
        things: (n + 1,) class value of each instance, by its id; that of 0 has no meaning.

    Returns:
        (2, H, W): class value and instance id. Pixels of the classes of things that belong to no instance keep them, with id 0.
    """
    merged = np.empty((2, *classes.shape), np.uint32)
    merged[0] = np.where(labels > 0, things[labels], classes)
    merged[1] = labels
    return merged


class SegmentTally:
    """Pixels, areas and scores of all segments, summed over blocks.

    Args:
        things: (n + 1,) class value of each instance, by its id; that of 0 has no meaning.
    """

    def __init__(self, things: NDArray[np.integer]) -> None:
        self._things = things
        # class values first, then instances
        self._sums = np.zeros((3, NODATA_CLASS + len(things)))

    def add(self, merged: NDArray[np.uint32], confidence: NDArray[np.uint8], row_area_m2: NDArray[np.float64]) -> None:
        """Count one block.

        Args:
            merged: (2, H, W) from :func:`merge_panoptic`.
            confidence: (H, W) percent.
            row_area_m2: (H,) area of one pixel of each row.
        """
        _add_up(merged, confidence, row_area_m2, self._sums)

    def finish(self) -> Segments:
        """Return the table; nodata and classes without pixels have no row."""
        rows = np.flatnonzero(self._sums[0])
        rows = rows[rows != NODATA_CLASS]
        pixels, area, score = self._sums[:, rows]
        is_thing = rows > NODATA_CLASS
        instance_id = np.where(is_thing, rows - NODATA_CLASS, 0)
        return Segments(
            class_value=np.where(is_thing, self._things[instance_id], rows),
            instance_id=instance_id,
            pixels=pixels.astype(np.int64),
            area_m2=area,
            score=score / pixels / CONFIDENCE_SCALE,
        )


@kernel
def _add_up(merged: NDArray[np.uint32], confidence: NDArray[np.uint8], row_area_m2: NDArray[np.float64], sums: NDArray[np.float64]) -> None:
    for i in range(confidence.shape[0]):
        for j in range(confidence.shape[1]):
            label = merged[1, i, j]
            segment = label + NODATA_CLASS if label > 0 else merged[0, i, j]
            sums[0, segment] += 1
            sums[1, segment] += row_area_m2[i]
            sums[2, segment] += confidence[i, j]
