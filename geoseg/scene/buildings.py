"""Buildings as planned: outlines in metres and what their roofs are made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from geoseg.scene.grid import Frame, Points

Rgb = tuple[int, int, int]


class Covering(StrEnum):
    """What a roof is covered with."""

    TILE = "tile"
    METAL = "metal"
    CONCRETE = "concrete"


_COLORS: dict[Covering, tuple[Rgb, ...]] = {
    Covering.TILE: ((178, 114, 84), (162, 102, 82), (146, 92, 76), (124, 98, 86), (98, 95, 95), (172, 132, 106)),
    Covering.METAL: (
        *((186, 190, 192), (160, 163, 164), (205, 208, 208), (138, 138, 136), (128, 96, 76), (142, 112, 92)),
        *((78, 120, 166), (96, 142, 178), (160, 66, 62), (104, 132, 114), (226, 228, 226)),
    ),
    Covering.CONCRETE: ((178, 172, 162), (152, 148, 142), (206, 202, 192), (132, 128, 120), (190, 178, 160), (222, 220, 214)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Roof:
    """How a roof looks."""

    covering: Covering
    """Decides texture and fittings."""
    rgb: Rgb
    """Color on level ground in the sun, 0..255."""
    slope: float
    """Inclination in radians; 0 is flat."""
    hipped: bool
    """Whether the short sides slope as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One rectangle of a building, under one ridge along its longer side."""

    x: float
    """Center on the ground in metres."""
    y: float
    """Center on the ground in metres."""
    half_length: float
    """Half of the longer side."""
    half_width: float
    """Half of the shorter side."""
    angle: float
    """Direction of the longer side in radians."""

    @property
    def corners(self) -> Points:
        """(4, 2) corners on the ground."""
        a, b = self.half_length, self.half_width
        return Frame(x=self.x, y=self.y, angle=self.angle).to_ground(np.array([(-a, -b), (a, -b), (a, b), (-a, b)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Building:
    """One building."""

    outline: shapely.Polygon
    """Footprint in metres."""
    parts: tuple[Part, ...]
    """Rectangles that make up the outline."""
    height_m: float
    """Of the eaves; decides the length of the shadow."""
    roof: Roof
    """One for all parts."""

    def shadow(self, reach: tuple[float, float]) -> BaseGeometry:
        """Return the ground in shadow, the footprint included.

        Args:
            reach: Shadow of a pole of 1 m, in metres.
        """
        tip = np.asarray(reach) * self.height_m
        return shapely.union_all([shapely.MultiPoint(np.concatenate((p.corners, p.corners + tip))).convex_hull for p in self.parts])


def box_part(frame: Frame, s: tuple[float, float], t: tuple[float, float]) -> Part:
    """Return the rectangle between two s and two t of a frame."""
    (x, y), length, width = frame.to_ground(np.array([[sum(s) / 2, sum(t) / 2]]))[0], s[1] - s[0], t[1] - t[0]
    turned = width > length
    half_length, half_width = sorted((length / 2, width / 2), reverse=True)
    return Part(x=float(x), y=float(y), half_length=half_length, half_width=half_width, angle=frame.angle + turned * math.pi / 2)


def raise_box(frame: Frame, s: tuple[float, float], t: tuple[float, float], height_m: float, roof: Roof) -> Building:
    """Return a rectangular building."""
    outline = frame.to_ground(np.array([(s[0], t[0]), (s[1], t[0]), (s[1], t[1]), (s[0], t[1])]))
    return Building(outline=shapely.Polygon(outline), parts=(box_part(frame, s, t),), height_m=height_m, roof=roof)


def raise_angle(frame: Frame, s: tuple[float, float], t: tuple[float, float, float], height_m: float, roof: Roof) -> Building:
    """Return an L-shaped building: s by t[0]..t[1], and a wing on its right side that goes on to t[2]."""
    wing = s[1] - min(0.55 * (s[1] - s[0]), t[1] - t[0])
    outline = frame.to_ground(np.array([(s[0], t[0]), (s[1], t[0]), (s[1], t[2]), (wing, t[2]), (wing, t[1]), (s[0], t[1])]))
    parts = box_part(frame, s, (t[0], t[1])), box_part(frame, (wing, s[1]), (t[0], t[2]))
    return Building(outline=shapely.Polygon(outline), parts=parts, height_m=height_m, roof=roof)


def draw_roof(rng: np.random.Generator, odds: Sequence[float], *, flat: bool = False) -> Roof:
    """Choose a roof.

    Args:
        rng: Chance of this stage.
        odds: Of tile, metal and concrete; they sum to 1.
        flat: Whether a metal roof is as level as that of a hall.
    """
    covering = tuple(Covering)[int(rng.choice(3, p=odds))]
    base = _COLORS[covering][int(rng.integers(len(_COLORS[covering])))]
    tone = rng.normal(0, 9) + rng.normal(0, 2, 3)
    red, green, blue = np.clip(np.asarray(base) + tone, 30, 240).astype(int).tolist()
    slopes = {Covering.TILE: (20, 34), Covering.METAL: (3, 7) if flat else (6, 24), Covering.CONCRETE: (0, 0)}
    slope = math.radians(rng.uniform(*slopes[covering]))
    return Roof(covering=covering, rgb=(red, green, blue), slope=slope, hipped=bool(not flat and rng.random() < 0.35))


def without_conflicts(buildings: Sequence[Building], closed: BaseGeometry) -> list[Building]:
    """Drop buildings that stand on closed ground or overlap an earlier one; shared walls are no overlap.

    Args:
        buildings: In order of precedence.
        closed: Streets and water in metres, grown by what buildings keep away from them.
    """
    shapely.prepare(closed)
    outlines = np.array([b.outline for b in buildings], dtype=object)
    standing = ~shapely.intersects(closed, outlines) if len(outlines) else np.zeros(0, bool)
    first, second = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    later = first < second
    first, second = first[later], second[later]
    overlaps = shapely.area(shapely.intersection(outlines[first], outlines[second])) > 1e-6
    for a, b in sorted(zip(first[overlaps].tolist(), second[overlaps].tolist(), strict=True), key=lambda pair: pair[1]):
        standing[b] &= not standing[a]
    return [b for b, stands in zip(buildings, standing, strict=True) if stands]
