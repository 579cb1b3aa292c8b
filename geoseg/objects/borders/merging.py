"""Merge small patches on the graph of patches, the smallest first."""

from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from geoseg.pixels.kernel import kernel


@kernel
def find_all(parents: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the root of each tree's members."""
    roots = np.empty_like(parents)
    for k in range(len(parents)):
        roots[k] = _find(parents, k)
    return roots


@kernel
def _find(parents: NDArray[np.int64], a: int) -> int:
    while parents[a] != a:
        parents[a] = parents[parents[a]]
        a = parents[a]
    return a


@kernel
def merge_small(
    parents: NDArray[np.int64],
    patches: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]],
    pairs: NDArray[np.int64],
    length_m: NDArray[np.float64],
    min_area_m2: float,
) -> None:
    """Merge small patches, the smallest first; ``parents`` and ``patches`` (value, area, first pixel) are changed."""
    values, areas, first = patches
    heads, tails, nexts = _chain(pairs, len(parents))
    shared, touched = np.zeros(len(parents), np.float64), np.empty(len(parents), np.int64)
    heap = [(0.0, np.int64(0), np.int64(0))]
    heap.clear()
    for k in range(1, len(parents)):
        if parents[k] == k and areas[k] < min_area_m2:
            heappush(heap, (areas[k], first[k], np.int64(k)))
    while len(heap) > 0:
        area, _, popped = heappop(heap)
        patch = int(popped)
        if parents[patch] != patch or areas[patch] != area:
            continue
        count = _add_up(parents, (heads, nexts), pairs, length_m, patch, (shared, touched))
        best = _longest(touched[:count], shared, areas, first)
        if best >= 0:
            _absorb(parents, (heads, tails, nexts), (values, areas, first), patch, best)
            for k in range(count):
                other = touched[k]
                if other != best and values[other] == values[best]:
                    _absorb(parents, (heads, tails, nexts), (values, areas, first), other, best)
            if areas[best] < min_area_m2:
                heappush(heap, (areas[best], first[best], np.int64(best)))
        for k in range(count):
            shared[touched[k]] = 0.0


@kernel
def _chain(pairs: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Chain the ends of pairs: the first and the last of each patch, and the next one of each; end ``e`` is ``pairs[e >> 1, e & 1]``."""
    heads, tails, nexts = np.full(count, -1, np.int64), np.full(count, -1, np.int64), np.full(2 * len(pairs), -1, np.int64)
    for end in range(2 * len(pairs)):
        patch = pairs[end >> 1, end & 1]
        if tails[patch] < 0:
            heads[patch] = end
        else:
            nexts[tails[patch]] = end
        tails[patch] = end
    return heads, tails, nexts


@kernel
def _add_up(
    parents: NDArray[np.int64],
    chains: tuple[NDArray[np.int64], NDArray[np.int64]],
    pairs: NDArray[np.int64],
    length_m: NDArray[np.float64],
    patch: int,
    found: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> int:
    """Write the neighbors of a patch and the border shared with each; return how many there are."""
    shared, touched = found
    count, end = 0, chains[0][patch]
    while end >= 0:
        other = _find(parents, pairs[end >> 1, 1 - (end & 1)])
        if other != patch:
            # a border of no length counts as one too, so that each neighbor is noted once
            if shared[other] == 0.0:
                touched[count] = other
                count += 1
                shared[other] = 1e-30
            shared[other] += length_m[end >> 1]
        end = chains[1][end]
    return count


@kernel
def _longest(touched: NDArray[np.int64], shared: NDArray[np.float64], areas: NDArray[np.float64], first: NDArray[np.int64]) -> int:
    """Return the neighbor with the longest shared border, of equal ones the larger, of equal ones the first; -1 if none."""
    best = -1
    for patch in touched:
        if shared[patch] < 1e-20:
            continue
        if best < 0 or shared[patch] > shared[best] * (1 + 1e-9):
            best = patch
        elif shared[patch] >= shared[best] * (1 - 1e-9):
            larger = areas[patch] > areas[best] * (1 + 1e-9)
            equal = areas[patch] >= areas[best] * (1 - 1e-9)
            if larger or (equal and first[patch] < first[best]):
                best = patch
    return best


@kernel
def _absorb(
    parents: NDArray[np.int64],
    chains: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    patches: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]],
    patch: int,
    into: int,
) -> None:
    """Make a patch part of another one."""
    heads, tails, nexts = chains
    parents[patch] = into
    patches[1][into] += patches[1][patch]
    patches[2][into] = min(patches[2][into], patches[2][patch])
    if heads[patch] >= 0:
        if heads[into] < 0:
            heads[into] = heads[patch]
        else:
            nexts[tails[into]] = heads[patch]
        tails[into] = tails[patch]
