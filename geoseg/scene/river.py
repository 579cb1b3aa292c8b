"""The river at the edge of the town."""

import math
from dataclasses import dataclass

import numpy as np
import shapely

from geoseg.scene.grid import BentGrid

KEEP_OFF_M = 8.0
"""How far streets and houses stay away from the planned bank; the drawn bank moves by less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class River:
    """A winding river that runs across the main road."""

    polygon: shapely.Polygon
    """Surface in metres, before the banks are roughened."""
    u: float
    """Where it crosses the main road, in grid coordinates."""

    @property
    def keep_off(self) -> shapely.Polygon:
        """Where nothing is built."""
        return self.polygon.buffer(KEEP_OFF_M)

    def is_beyond(self, u: float) -> bool:
        """Tell whether a grid position lies on the far side, seen from the town."""
        return abs(u) > abs(self.u) - 25 and (u > 0) == (self.u > 0)


def draw_river(rng: np.random.Generator, grid: BentGrid, size_m: tuple[float, float]) -> River:
    """Let a river wind through the scene, at a third of its size from the middle."""
    small = min(size_m)
    u = float(rng.choice([-1, 1]) * rng.uniform(0.3, 0.36) * small)
    v = np.arange(grid.v_lines[0], grid.v_lines[-1], 5.0)
    width = np.clip(0.09 * small, 2, 34)
    phases = rng.uniform(0, 2 * math.pi, 2)
    sway = np.clip(0.04 * small, 0, 14)
    wind = sway * np.sin(v / 48 + phases[0]) + 0.35 * sway * np.sin(v / 19 + phases[1])
    wind -= np.interp(0, v, wind)
    course = shapely.LineString(grid.to_ground(np.column_stack((u + wind, v))))
    return River(polygon=course.buffer(width / 2), u=u)
