"""How several rasters become one."""

from dataclasses import dataclass
from typing import Literal

Rule = Literal["first", "last", "best", "median"]
"""Which raster is seen where several have data: the first or last one given, the one of the finest pixels, or the median of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """How several rasters become one."""

    rule: Rule = "first"
    """Which one is seen where several have data."""
    feather_px: int = 0
    """Pixels from the edges of rasters over which they fade into those below; 0 cuts."""
    stack: bool = False
    """Take them for the bands of one input instead."""
