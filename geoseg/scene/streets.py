"""The street network: which lines of the grid are built, and what lies on them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from geoseg.scene.grid import BentGrid, Points
from geoseg.scene.river import River

_FILLET_M = 4.0
_LEFT_OUT = 0.15
_COUNTRY_ROAD = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Street:
    """One unbroken street."""

    line: shapely.LineString
    """Centreline in metres."""
    width_m: float
    """Between the curbs."""
    is_main: bool
    """Whether it is the wide road with lanes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streets:
    """All streets of a scene."""

    streets: tuple[Street, ...]
    """Main road first."""
    surface: BaseGeometry
    """Asphalt in metres, corners rounded."""
    crossings: BaseGeometry
    """Where lines meet, grown to the size of the crossing: no markings there."""


def plan_streets(rng: np.random.Generator, grid: BentGrid, urban: NDArray[np.bool_], river: River) -> Streets:
    """Build the edges of the grid that have a town on one side, the main road everywhere, and a few country roads.

    Args:
        rng: Chance of this stage.
        grid: Lines to choose from.
        urban: (len(u_lines) - 1, len(v_lines) - 1), True where a block belongs to a town.
        river: Only the main road bridges it.
    """
    along = np.pad(urban, ((0, 0), (1, 1)))
    along = (along[:, :-1] | along[:, 1:]).T
    across = np.pad(urban, ((1, 1), (0, 0)))
    across = across[:-1] | across[1:]
    across &= rng.random(across.shape) > _LEFT_OUT
    home_u, home_v = (int(np.flatnonzero(lines == 0)[0]) for lines in (grid.u_lines, grid.v_lines))
    along[home_v % _COUNTRY_ROAD :: _COUNTRY_ROAD] = True
    across[home_u % _COUNTRY_ROAD :: _COUNTRY_ROAD] = True
    wet = river.keep_off
    shapely.prepare(wet)
    streets = []
    for j, v in enumerate(grid.v_lines):
        pieces = [grid.line(u, np.full(2, v)) for u in sliding_window_view(grid.u_lines, 2)]
        keep = along[j] if j == home_v else along[j] & ~shapely.intersects(wet, pieces)
        lines = [grid.line(u, np.full(len(u), v)) for u in _runs(grid.u_lines, keep)]
        streets += [Street(line=line, width_m=float(grid.v_widths_m[j]), is_main=j == home_v) for line in lines]
    for i, u in enumerate(grid.u_lines):
        pieces = [grid.line(np.full(2, u), v) for v in sliding_window_view(grid.v_lines, 2)]
        keep = across[i] & ~shapely.intersects(wet, pieces)
        lines = [grid.line(np.full(len(v), u), v) for v in _runs(grid.v_lines, keep)]
        streets += [Street(line=line, width_m=float(grid.u_widths_m[i]), is_main=False) for line in lines]
    return pave(streets)


def pave(streets: Sequence[Street]) -> Streets:
    """Lay the asphalt of streets."""
    ordered = sorted(streets, key=lambda street: not street.is_main)
    return Streets(streets=tuple(ordered), surface=_surface(ordered), crossings=_crossings(ordered))


def _runs(at: Points, keep: NDArray[np.bool_]) -> Iterator[Points]:
    edges = np.flatnonzero(np.diff(np.array([False, *keep, False]).astype(np.int8)))
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        yield at[first : last + 1]


def _surface(streets: list[Street]) -> BaseGeometry:
    asphalt = shapely.union_all([s.line.buffer(s.width_m / 2) for s in streets])
    return asphalt.buffer(_FILLET_M, quad_segs=4).buffer(-_FILLET_M, quad_segs=4)


def _crossings(streets: list[Street]) -> BaseGeometry:
    tree = shapely.STRtree([s.line for s in streets])
    first, second = tree.query([s.line for s in streets], predicate="intersects")
    pairs = [(streets[a], streets[b]) for a, b in zip(first, second, strict=True) if a < b]
    return shapely.union_all([a.line.intersection(b.line).buffer(max(a.width_m, b.width_m) * 0.75) for a, b in pairs])
