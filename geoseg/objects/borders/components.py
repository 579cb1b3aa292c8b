"""Connected components of label rasters: label a block, count what is in it, join what belongs together."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.pixels.kernel import entry, kernel

_NOWHERE = int(np.iinfo(np.int64).max)


@kernel
def label(values: NDArray[Any], background: int, labels: NDArray[np.int32]) -> int:
    """Write 4-connected components of equal value into ``labels``, from 1, background 0; return how many there are."""
    parents = np.empty(values.size + 1, np.int32)
    parents[0] = 0
    count = 0
    for i in range(values.shape[0]):
        before, number = values[i, 0], np.int32(0)
        for j in range(values.shape[1]):
            value = values[i, j]
            above = i > 0 and values[i - 1, j] == value
            if value == background:
                number = np.int32(0)
            elif j > 0 and value == before:
                # With the same value in the corner between them the two are connected already.
                if above and values[i - 1, j - 1] != value:
                    unite(parents, int(number), labels[i - 1, j])
            elif above:
                number = labels[i - 1, j]
            else:
                count += 1
                number = np.int32(count)
                parents[count] = count
            labels[i, j], before = number, value
    return _renumber(parents, count, labels)


@entry
def measure(
    values: NDArray[Any], labels: NDArray[np.int32], count: int, inner: tuple[int, int], origin: tuple[int, int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Count the components of a block.

    Args:
        values: (h, w) raster values.
        labels: (h, w) components, from 1; 0 = background.
        count: How many there are.
        inner: First row and column that count; those above and on the left belong to other blocks.
        origin: Raster row and column of the first pixel, and columns of the raster.

    Returns:
        Value, first pixel in row-major order, and pixels of each component, each (count,).
    """
    value_of, pixels = np.zeros(count, np.int64), np.zeros(count, np.int64)
    first = np.full(count, _NOWHERE, np.int64)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            part = labels[i, j] - 1
            if part < 0:
                continue
            value_of[part] = values[i, j]
            if i >= inner[0] and j >= inner[1]:
                if pixels[part] == 0:
                    first[part] = (origin[0] + i) * origin[2] + origin[1] + j
                pixels[part] += 1
    return value_of, first, pixels


@kernel
def find_diagonals(values: NDArray[Any], labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return (k, 2) components of a block with the same value that only touch diagonally."""
    pairs = [(np.int64(0), np.int64(0))]
    pairs.clear()
    for i in range(1, values.shape[0]):
        for j in range(1, values.shape[1]):
            here, across = labels[i, j], labels[i - 1, j - 1]
            if here > 0 and across > 0 and here != across and values[i, j] == values[i - 1, j - 1]:
                pairs.append((np.int64(across), np.int64(here)))
            here, across = labels[i, j - 1], labels[i - 1, j]
            if here > 0 and across > 0 and here != across and values[i, j - 1] == values[i - 1, j]:
                pairs.append((np.int64(across), np.int64(here)))
    found = np.empty((len(pairs), 2), np.int64)
    for k in range(len(pairs)):
        found[k, 0], found[k, 1] = pairs[k]
    return found


@kernel
def unite_all(joints: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Join components 1..count by (k, 2) pairs; return (count + 1,) the smallest number in each one's tree, 0 for background."""
    roots = np.arange(count + 1)
    for k in range(len(joints)):
        unite(roots, joints[k, 0], joints[k, 1])
    for part in range(1, len(roots)):
        roots[part] = roots[roots[part]]
    return roots


@kernel
def unite(parents: NDArray[Any], a: int, b: int) -> None:
    """Join two trees under the smaller root, halving the paths on the way up."""
    while parents[a] != a:
        parents[a] = parents[parents[a]]
        a = parents[a]
    while parents[b] != b:
        parents[b] = parents[parents[b]]
        b = parents[b]
    parents[max(a, b)] = min(a, b)


@kernel
def _renumber(parents: NDArray[np.int32], count: int, labels: NDArray[np.int32]) -> int:
    """Replace provisional labels by the ranks of their roots; return how many roots there are."""
    roots = 0
    for provisional in range(1, count + 1):
        if parents[provisional] == provisional:
            roots += 1
            parents[provisional] = roots
        else:
            parents[provisional] = parents[parents[provisional]]
    for i in range(labels.shape[0]):
        for j in range(labels.shape[1]):
            labels[i, j] = parents[labels[i, j]]
    return roots
