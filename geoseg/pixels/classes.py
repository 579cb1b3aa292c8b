"""The class scheme: which value means what, and how it is drawn."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from geoseg.errors import ConfigError

NODATA_CLASS = 255
"""Class map value of pixels without data; never a class."""


class ClassKind(StrEnum):
    """What becomes of the pixels of a class after segmentation."""

    SURFACE = "surface"
    BUILDING = "building"
    ROAD = "road"


@dataclass(frozen=True, slots=True, kw_only=True)
class LandClass:
    """One row of a class scheme.

    Raises:
        ConfigError: If the value is outside 0..254 or the color is not ``#rrggbb``.
    """

    value: int
    """Value in the class map, 0..254."""
    name: str
    """Name shown in legends and attribute tables."""
    color: str
    """``#rrggbb``."""
    kind: ClassKind = ClassKind.SURFACE
    """Surfaces become land cover only; buildings and roads become objects as well."""

    def __post_init__(self) -> None:
        if not 0 <= self.value < NODATA_CLASS:
            raise ConfigError(f"Class '{self.name}' has value {self.value}; class values run from 0 to 254.")
        if re.fullmatch("#[0-9a-fA-F]{6}", self.color) is None:
            raise ConfigError(f"Class '{self.name}' has color {self.color!r}; write it as #rrggbb.")

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, each 0..255."""
        digits = self.color.removeprefix("#")
        return int(digits[0:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScheme:
    """Classes in channel order: channel ``i`` of a semantic head scores ``classes[i]``.

    Raises:
        ConfigError: If it is empty, or two classes share a value or a name.
    """

    classes: tuple[LandClass, ...]
    """Rows in channel order."""

    def __post_init__(self) -> None:
        if not self.classes:
            raise ConfigError("A class scheme needs at least one class; none was given.")
        for what, seen in (("value", [str(c.value) for c in self]), ("name", [c.name for c in self])):
            twice = sorted({s for s in seen if seen.count(s) > 1})
            if twice:
                raise ConfigError(f"Class scheme uses the same {what} twice: {', '.join(twice)}.")

    def __iter__(self) -> Iterator[LandClass]:
        return iter(self.classes)

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def values(self) -> tuple[int, ...]:
        """Class values in channel order."""
        return tuple(c.value for c in self.classes)

    def of_kind(self, kind: ClassKind) -> tuple[LandClass, ...]:
        """Return the classes of one kind, in channel order."""
        return tuple(c for c in self.classes if c.kind is kind)
