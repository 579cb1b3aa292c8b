"""What a drawn scene is asked for, and where the sun stands over it."""

import math
from dataclasses import dataclass

import numpy as np

from geoseg.errors import ConfigError

_COARSEST_M = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneOptions:
    """Size and chance of a drawn scene.

    The plan is laid out in metres: the same seed over the same ground gives the same streets and houses at every resolution.

    Raises:
        ConfigError: If a size is below one pixel, the seed is negative, or the resolution is not in (0, 2] metres.
    """

    height_px: int = 2048
    """Rows."""
    width_px: int = 2048
    """Columns."""
    resolution_m: float = 0.3
    """Side of a pixel; from about 1 m upwards roads and roofs lose their details."""
    seed: int = 1
    """Decides everything that is left to chance."""
    nodata_corner: bool = True
    """Whether one corner is cut off, as the edge of a rotated flight strip does."""

    def __post_init__(self) -> None:
        for what, size in (("height", self.height_px), ("width", self.width_px)):
            if size < 1:
                raise ConfigError(f"A scene needs a {what} of at least 1 pixel; {size} was asked for.")
        if not 0 < self.resolution_m <= _COARSEST_M:
            raise ConfigError(
                f"A scene is drawn with pixels of more than 0 and up to {_COARSEST_M} m; {self.resolution_m} m was asked for."
            )
        if self.seed < 0:
            raise ConfigError(f"The seed of a scene is 0 or more; {self.seed} was given.")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height_px, self.width_px

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height on the ground."""
        return self.width_px * self.resolution_m, self.height_px * self.resolution_m

    def chance(self, *stage: int) -> np.random.Generator:
        """Return the generator of one stage, so that a change in one stage leaves the others as they are."""
        return np.random.default_rng((self.seed, *stage))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sun:
    """Direction of the light, in image axes (x right, y down)."""

    x: float
    """First component of the unit vector that points toward the sun, on the ground."""
    y: float
    """Second component."""
    elevation: float
    """Height over the horizon in radians."""

    @property
    def shadow_per_m(self) -> tuple[float, float]:
        """Where the tip of the shadow of a pole of 1 m lies, in metres from its foot."""
        reach = 1 / math.tan(self.elevation)
        return -self.x * reach, -self.y * reach

    def shade(self, slope: float, facing_x: float, facing_y: float) -> float:
        """Return how bright a plane is, relative to level ground (Lambert).

        Args:
            slope: Inclination in radians.
            facing_x: First component of the unit vector that points downhill.
            facing_y: Second component.
        """
        toward = facing_x * self.x + facing_y * self.y
        light = math.cos(slope) * math.sin(self.elevation) + math.sin(slope) * math.cos(self.elevation) * toward
        return max(light, 0.25) / math.sin(self.elevation)


def draw_sun(rng: np.random.Generator) -> Sun:
    """Choose a late morning or early afternoon north of the tropics."""
    azimuth = math.radians(rng.uniform(115, 235))
    return Sun(x=math.sin(azimuth), y=-math.cos(azimuth), elevation=math.radians(rng.uniform(42, 56)))
