"""What is asked of a flood, whether it comes as pixels or as polygons."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.io.ground import measure_lines

DRY, FLOODED, PERMANENT, UNKNOWN = 0, 1, 2, 255
STATES = {FLOODED: "flooded", PERMANENT: "permanent", UNKNOWN: "unknown"}
"""What is drawn of a flood; the rest is dry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FloodAreas:
    """How much of polygons is under water, m2 on the ground."""

    whole_m2: NDArray[np.float64]
    """(n,) area."""
    flooded_m2: NDArray[np.float64]
    """(n,) of it under water that was not there before."""
    permanent_m2: NDArray[np.float64]
    """(n,) of it under water that was there before."""
    unknown_m2: NDArray[np.float64]
    """(n,) of it where the flood has no data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """Lines as straight pieces, in order."""

    line: NDArray[np.int64]
    """(n,) index of the line."""
    ends: NDArray[np.float64]
    """(n, 2, 2) first and last point, x and y in the flood's CRS."""
    start_m: NDArray[np.float64]
    """(n,) where on its line the piece begins, metres on the ground."""
    length_m: NDArray[np.float64]
    """(n,) metres on the ground."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretches:
    """Parts of lines in one state, in order along each line."""

    line: NDArray[np.int64]
    """(n,) index of the line."""
    from_m: NDArray[np.float64]
    """(n,) where it begins, metres along the line."""
    to_m: NDArray[np.float64]
    """(n,) where it ends."""
    state: NDArray[np.uint8]
    """(n,) ``FLOODED``, ``PERMANENT`` or ``UNKNOWN``; what is not listed is dry."""

    def of(self, state: int) -> "Stretches":
        """Return those of one state."""
        return self.take(self.state == state)

    def take(self, chosen: NDArray[np.bool_]) -> "Stretches":
        """Return those that are chosen, (n,)."""
        return Stretches(line=self.line[chosen], from_m=self.from_m[chosen], to_m=self.to_m[chosen], state=self.state[chosen])

    def sum_m(self, count: int) -> NDArray[np.float64]:
        """Return metres by line, (count,)."""
        return np.bincount(self.line, self.to_m - self.from_m, minlength=count).astype(np.float64)

    def longest_m(self, count: int) -> NDArray[np.float64]:
        """Return the longest stretch of each line, (count,) metres."""
        longest = np.zeros(count)
        np.maximum.at(longest, self.line, self.to_m - self.from_m)
        return longest


class Flood(Protocol):
    """Water on a map."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def crs(self) -> str:
        """Its CRS as WKT."""
        ...

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top."""
        ...

    @property
    def hides_ground(self) -> bool:
        """Whether roofs hide the water below them: classes of imagery do, measured and modelled extents do not."""
        ...

    def measure(self, polygons: NDArray[np.object_]) -> FloodAreas:
        """Measure how much of polygons in its CRS is under water."""
        ...

    def cut(self, segments: Segments) -> Stretches:
        """Cut lines where they enter and leave water."""
        ...

    def patches(self) -> Iterator[gpd.GeoDataFrame]:
        """Yield its polygons with ``state`` and ``area_m2``, batch by batch; the first one may be empty."""
        ...

    def shores(self, step: float) -> Iterator[NDArray[np.float64]]:
        """Yield points (n, 2) where water ends on dry ground, not where the data end; on lines one about every step (units of the CRS)."""
        ...


def cut_into_segments(lines: NDArray[np.object_], crs: str) -> Segments:
    """Return the straight pieces of lines (n,) in a CRS."""
    points, line = shapely.get_coordinates(lines, return_index=True)
    along = line[1:] == line[:-1]
    ends = np.stack([points[:-1], points[1:]], axis=1)[along]
    length = measure_lines(shapely.linestrings(ends), crs) if len(ends) else np.zeros(0)
    owner = line[1:][along].astype(np.int64)
    total = np.concatenate([[0.0], np.cumsum(length)])
    first = np.searchsorted(owner, owner)
    return Segments(line=owner, ends=ends, start_m=total[:-1] - total[first], length_m=length)


def join_stretches(segments: Segments, index: NDArray[np.int64], t: NDArray[np.float64], state: NDArray[np.uint8]) -> Stretches:
    """Put parts of segments together to stretches as long as they are.

    Args:
        segments: The segments.
        index: (n,) segment of each part.
        t: (n, 2) where the part begins and ends, 0 to 1 along its segment.
        state: (n,) its state.
    """
    places = segments.start_m[index, None] + t * segments.length_m[index, None]
    chosen = (state != DRY) & (places[:, 1] > places[:, 0])
    line, places, state = segments.line[index][chosen], places[chosen], state[chosen]
    order = np.lexsort((places[:, 0], line))
    line, places, state = line[order], places[order], state[order]
    is_first = np.ones(len(line), bool)
    gap = places[1:, 0] - places[:-1, 1]
    is_first[1:] = (line[1:] != line[:-1]) | (state[1:] != state[:-1]) | (gap > _TOUCH_M)
    first = np.flatnonzero(is_first)
    last = np.append(first[1:], len(line))[: len(first)] - 1
    return Stretches(line=line[first], from_m=places[first, 0], to_m=places[last, 1], state=state[first])


_TOUCH_M = 1e-4
"""Parts of a line that are nearer to each other touch."""
