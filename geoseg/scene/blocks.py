"""Blocks between the streets, and what each is used for."""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from geoseg.scene.grid import BentGrid
from geoseg.scene.river import River

_SIDEWALK_M = 2.0
_VILLAGE_EVERY_M2 = 350_000.0


class BlockUse(StrEnum):
    """What a block is used for."""

    HOUSES = "houses"
    TERRACES = "terraces"
    HALLS = "halls"
    PARK = "park"
    WASTE = "waste"
    FIELDS = "fields"
    GROVE = "grove"


_TOWN = (BlockUse.HOUSES, BlockUse.TERRACES, BlockUse.HALLS, BlockUse.PARK, BlockUse.WASTE)
_TOWN_ODDS = (0.43, 0.28, 0.11, 0.08, 0.10)
_COUNTRY = (BlockUse.FIELDS, BlockUse.GROVE, BlockUse.WASTE)
_COUNTRY_ODDS = (0.72, 0.18, 0.10)
_HOME = (BlockUse.HOUSES, BlockUse.TERRACES, BlockUse.HOUSES, BlockUse.HALLS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The ground between four neighboring lines of the grid, less its streets and sidewalks."""

    u: tuple[float, float]
    """Bounds in grid coordinates."""
    v: tuple[float, float]
    """Bounds in grid coordinates."""
    use: BlockUse
    """What it is used for."""

    @property
    def middle_v(self) -> float:
        """Where the lots of its two rows meet."""
        return sum(self.v) / 2

    @property
    def depth(self) -> float:
        """Depth of a lot in metres."""
        return (self.v[1] - self.v[0]) / 2


def find_towns(rng: np.random.Generator, grid: BentGrid, river: River, size_m: tuple[float, float]) -> NDArray[np.bool_]:
    """Decide which blocks are built up: the town in the middle, and villages if the scene is large.

    Returns:
        (len(u_lines) - 1, len(v_lines) - 1), True where a block belongs to a town.
    """
    u, v = (lines[:-1] + np.diff(lines) / 2 for lines in (grid.u_lines, grid.v_lines))
    reach = math.hypot(*size_m) / 2
    town = np.clip(0.42 * min(size_m), 120, 420)
    villages = int(size_m[0] * size_m[1] / _VILLAGE_EVERY_M2)
    centers = np.vstack(([[0, 0]], rng.uniform(-reach, reach, (villages, 2))))
    radii = np.concatenate(([town], rng.uniform(110, 240, villages)))
    distance = np.hypot(u[:, None, None] - centers[:, 0], v[None, :, None] - centers[:, 1])
    urban = (distance * rng.uniform(0.85, 1.25, (len(u), len(v), 1)) < radii).any(axis=2)
    urban &= ~np.array([river.is_beyond(x) for x in u])[:, None]
    home_u, home_v = _home(grid)
    urban[home_u - 1 : home_u + 1, home_v - 1 : home_v + 1] = True
    return np.asarray(urban)


def plan_blocks(rng: np.random.Generator, grid: BentGrid, urban: NDArray[np.bool_]) -> list[Block]:
    """Choose a use for every block; the four around the middle are always lived in."""
    home_u, home_v = _home(grid)
    home = rng.permutation(np.array(_HOME, dtype=object))
    blocks = []
    for i in range(urban.shape[0]):
        for j in range(urban.shape[1]):
            uses, odds = (_TOWN, _TOWN_ODDS) if urban[i, j] else (_COUNTRY, _COUNTRY_ODDS)
            use = uses[int(rng.choice(len(uses), p=odds))]
            if home_u - 1 <= i <= home_u and home_v - 1 <= j <= home_v:
                use = home[2 * (i - home_u) + (j - home_v)]
            u = _inner(grid.u_lines[i : i + 2], grid.u_widths_m[i : i + 2])
            v = _inner(grid.v_lines[j : j + 2], grid.v_widths_m[j : j + 2])
            blocks.append(Block(u=u, v=v, use=use))
    return blocks


def _home(grid: BentGrid) -> tuple[int, int]:
    return int(np.flatnonzero(grid.u_lines == 0)[0]), int(np.flatnonzero(grid.v_lines == 0)[0])


def _inner(lines: NDArray[np.float64], widths_m: NDArray[np.float64]) -> tuple[float, float]:
    margins = widths_m / 2 + _SIDEWALK_M
    return float(lines[0] + margins[0]), float(lines[1] - margins[1])
