"""Labels grow into a mask, a bounded number of steps."""

import numpy as np
from numpy.typing import NDArray

from geoseg.pixels.kernel import kernel


@kernel
def grow(labels: NDArray[np.uint32], mask: NDArray[np.bool_], steps: int) -> None:
    """Grow labels into a mask by 4-connected steps, in place; all pixels of a step at once, the lower label wins.

    After n steps a pixel depends on nothing farther away than n pixels. Flooding in the order of probability, as a watershed
    does, has no such bound, because each claim may hang on an earlier one next to it; nor did it make better buildings
    (docs/instances.md).

    Args:
        labels: (H, W) uint32, 0 = free.
        mask: (H, W), where labels may grow.
        steps: Number of steps, the reach in pixels.
    """
    height, width = labels.shape
    # what lies inside of a label cannot grow
    front = [(i, j) for i in range(height) for j in range(width) if labels[i, j] > 0 and _has_room(labels, mask, i, j)]
    for _ in range(steps):
        claims = [(y, x, labels[i, j]) for i, j in front for y, x in _free_neighbors(labels, mask, i, j)]
        front = [(y, x) for y, x, label in claims if _claim(labels, y, x, label)]


@kernel
def _has_room(labels: NDArray[np.uint32], mask: NDArray[np.bool_], i: int, j: int) -> bool:
    """Tell whether a pixel has a neighbor to grow into."""
    height, width = labels.shape
    room = False
    for y, x in ((i - 1, j), (i, j - 1), (i, j + 1), (i + 1, j)):
        room = room or bool(0 <= y < height and 0 <= x < width and mask[y, x] and labels[y, x] == 0)
    return room


@kernel
def _free_neighbors(labels: NDArray[np.uint32], mask: NDArray[np.bool_], i: int, j: int) -> list[tuple[int, int]]:
    around = [(i - 1, j), (i, j - 1), (i, j + 1), (i + 1, j)]
    height, width = labels.shape
    return [(y, x) for y, x in around if 0 <= y < height and 0 <= x < width and mask[y, x] and labels[y, x] == 0]


@kernel
def _claim(labels: NDArray[np.uint32], y: int, x: int, label: np.uint32) -> bool:
    """Give a pixel a label unless a lower one has it; return whether it was free."""
    free = bool(labels[y, x] == 0)
    if free or label < labels[y, x]:
        labels[y, x] = label
    return free
