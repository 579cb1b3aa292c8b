"""The bent grid that streets, blocks and fields hang on."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray

Points = NDArray[np.float64]

MAIN_WIDTH_M = 13.0
_STEP_M = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A right-angled local frame: s along the street, t away from it, both in metres."""

    x: float
    """Origin on the ground."""
    y: float
    """Origin on the ground."""
    angle: float
    """Direction of s in radians, from x toward y."""

    def to_ground(self, st: Points) -> Points:
        """Map (n, 2) local points to the ground."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return np.column_stack((self.x + st[:, 0] * cos - st[:, 1] * sin, self.y + st[:, 0] * sin + st[:, 1] * cos))


@dataclass(frozen=True, slots=True, kw_only=True)
class BentGrid:
    """Two families of lines, turned and slightly bent.

    In grid coordinates the lines are straight: the main road is v = 0, the other streets are u = const and v = const. On the
    ground (metres, x right, y down, origin in the upper left corner of the scene) they are sine waves of long period.
    """

    center: tuple[float, float]
    """Where u = v = 0 lies on the ground."""
    angle: float
    """Direction of u in radians."""
    bend: tuple[float, float, float, float]
    """Amplitude (m), length (m per radian), and the phases of both families."""
    u_lines: Points
    """Streets across the main road, ascending; one is 0."""
    v_lines: Points
    """Streets along the main road, ascending; one is 0."""
    u_widths_m: Points
    """Widths of the streets at ``u_lines``."""
    v_widths_m: Points
    """Widths of the streets at ``v_lines``."""

    def to_ground(self, uv: Points) -> Points:
        """Map (n, 2) grid points to the ground."""
        size, length, phase_u, phase_v = self.bend
        u = uv[:, 0] + size * (np.sin(uv[:, 1] / length + phase_u) - math.sin(phase_u))
        v = uv[:, 1] + size * (np.sin(uv[:, 0] / length + phase_v) - math.sin(phase_v))
        return Frame(x=self.center[0], y=self.center[1], angle=self.angle).to_ground(np.column_stack((u, v)))

    def frame(self, u: float, v: float, *, turned: bool = False) -> Frame:
        """Return the frame at a grid point, s along the lines v = const; ``turned`` by half a turn, so that t points to -v."""
        size, length, _, phase_v = self.bend
        (x, y), lean = self.to_ground(np.array([[u, v]]))[0], math.atan(size / length * math.cos(u / length + phase_v))
        return Frame(x=float(x), y=float(y), angle=self.angle + lean + math.pi * turned)

    def line(self, u: Points, v: Points) -> shapely.LineString:
        """Return the bent line through grid points, each (n,); lines that share a grid point share a vertex."""
        return shapely.LineString(np.round(self.to_ground(_densify(np.column_stack((u, v)))), 6))

    def patch(self, u: tuple[float, float], v: tuple[float, float]) -> shapely.Polygon:
        """Return the bent rectangle between two u and two v."""
        corners = np.array([(u[0], v[0]), (u[1], v[0]), (u[1], v[1]), (u[0], v[1]), (u[0], v[0])])
        return shapely.Polygon(self.to_ground(_densify(corners)))


def draw_grid(rng: np.random.Generator, size_m: tuple[float, float]) -> BentGrid:
    """Lay a grid over the scene, with a crossing near its middle."""
    reach = math.hypot(*size_m) / 2 + 60
    u_lines, v_lines = _lines(rng, reach, (88, 135)), _lines(rng, reach, (48, 70))
    offset = rng.uniform(-0.06, 0.06, 2)
    return BentGrid(
        center=(size_m[0] * (0.5 + offset[0]), size_m[1] * (0.5 + offset[1])),
        angle=math.radians(rng.uniform(8, 28) * rng.choice([-1, 1])),
        bend=(rng.uniform(7, 11), rng.uniform(60, 80), rng.uniform(0, 6.28), rng.uniform(0, 6.28)),
        u_lines=u_lines,
        v_lines=v_lines,
        u_widths_m=np.where(u_lines == 0, 8.5, rng.uniform(5.5, 7.5, len(u_lines))),
        v_widths_m=np.where(v_lines == 0, MAIN_WIDTH_M, rng.uniform(5.5, 7.5, len(v_lines))),
    )


def _lines(rng: np.random.Generator, reach: float, step: tuple[float, float]) -> Points:
    steps = rng.uniform(*step, (2, math.ceil(reach / step[0]) + 1)).cumsum(axis=1)
    return np.concatenate((-steps[0][::-1], [0.0], steps[1]))


def _densify(corners: Points) -> Points:
    pieces = [corners[:1]]
    for start, stop in pairwise(corners):
        count = max(1, math.ceil(math.dist(start, stop) / _STEP_M))
        pieces.append(np.linspace(start, stop, count + 1)[1:])
    return np.concatenate(pieces)
