"""What counts as a change."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from geoseg.errors import ConfigError

MAX_TOLERANCE_M = 1000.0
"""More than that is no misregistration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeOptions:
    """How two dates are compared. Lengths and areas are metres on the ground.

    Raises:
        ConfigError: If a number is out of its range.
    """

    tolerance_m: float | None = None
    """How far borders may lie apart without being a change; None takes two pixels, or one of the coarser date more than the dates do."""
    min_area_m2: float | None = None
    """Smaller patches and buildings, and less growth, are no change; None takes the square of twice the tolerance."""
    min_growth: float = 0.1
    """Share of its area by which a building grows or shrinks at least."""
    min_evidence: float = 0.5
    """By how much the probability of building rises on ground that is built up, and falls on ground that is cleared; 0 takes all."""
    min_sure_m2: float = 12.0
    """Least such ground, its area times the change of the probability there, so that small changes have to be surer than large ones.
    Where the probability changes by 85 %, it may be smaller."""
    min_road_m: float = 15.0
    """Shorter pieces of road are no change."""
    align: bool = False
    """Move AFTER by the misregistration that was measured before anything is compared."""
    match: dict[str, str] = field(default_factory=dict)
    """New names of classes of either date, by their names there; an empty one counts as no data."""
    zones: Path | None = None
    """Vector file; changes are added up in each of its polygons."""

    def __post_init__(self) -> None:
        if self.tolerance_m is not None and not 0 <= self.tolerance_m <= MAX_TOLERANCE_M:
            raise ConfigError(f"The tolerance of a change is 0 to {MAX_TOLERANCE_M:.0f} m; got {self.tolerance_m}.")
        for name in ("min_area_m2", "min_road_m", "min_sure_m2"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"{name} must be 0 or more; got {value}.")
        if not 0 <= self.min_evidence <= 1:
            raise ConfigError(f"min_evidence is a change of a probability, 0 to 1; got {self.min_evidence}.")
        if not 0 <= self.min_growth < math.inf:
            raise ConfigError(f"min_growth is a share of a building's area, 0 or more; got {self.min_growth}.")


def parse_matches(texts: list[str]) -> dict[str, str]:
    """Read ``NAME=NAME`` as new names of classes; ``NAME=`` gives a class up.

    Raises:
        ConfigError: If one is not of that form, or a name is given two new ones.
    """
    matches: dict[str, str] = {}
    for text in texts:
        name, is_written, becomes = (part.strip() for part in text.partition("="))
        if not name or not is_written:
            raise ConfigError(f"--match takes NAME=NAME, for example forest=vegetation, or NAME= for no data; got {text!r}.")
        if matches.get(name.casefold(), becomes) != becomes:
            raise ConfigError(f"--match names '{name}' twice: {matches[name.casefold()]!r} and {becomes!r}. Give it once.")
        matches[name.casefold()] = becomes
    return matches
