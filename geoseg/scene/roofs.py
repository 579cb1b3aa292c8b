"""Painting roofs: planes in sun and shade, sheets, tiles, parapets, what stands on flat ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.scene.buildings import Building, Covering, Part
from geoseg.scene.canvas import Canvas
from geoseg.scene.options import Sun

_RUST = np.array((112, 80, 60), np.float32)
_TANKS = np.array([(40, 42, 46), (220, 220, 216), (70, 110, 160), (90, 150, 120)], np.float32)
Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pixels:
    """The pixels of one building, in the axes of one of its parts."""

    part: Part
    s: Values
    """(n,) along the ridge in metres from the middle."""
    t: Values
    """(n,) across the ridge."""

    @property
    def edge_m(self) -> Values:
        """Distance from the nearest eave, (n,)."""
        return np.minimum(self.part.half_length - np.abs(self.s), self.part.half_width - np.abs(self.t))


def paint_roofs(canvas: Canvas, buildings: Sequence[Building], instances: NDArray[np.uint32], sun: Sun) -> None:
    """Paint the roof of every building.

    Args:
        canvas: Picture; its truth is left alone.
        buildings: Building ``n`` has the id ``n + 1``.
        instances: (H, W) ids.
        sun: Decides which side of a ridge is bright.
    """
    step = canvas.options.resolution_m
    for number, building in enumerate(buildings):
        left, top, right, bottom = (edge / step for edge in building.outline.bounds)
        window = slice(max(0, int(top)), math.ceil(bottom) + 1), slice(max(0, int(left)), math.ceil(right) + 1)
        rows, cols = np.nonzero(instances[window] == number + 1)
        rows, cols = rows + window[0].start, cols + window[1].start
        rng = canvas.options.chance(5, number)
        x, y = ((at + 0.5).astype(np.float32) * np.float32(step) for at in (cols, rows))
        gain = _planes(building, x, y, sun)
        noise = canvas.texture
        gain *= 1 + 0.025 * noise.grain[rows, cols] + 0.02 * noise.fine[rows, cols] + 0.04 * noise.patch[rows, cols]
        rgb = np.asarray(building.roof.rgb, np.float32) * gain[:, None]
        main = _in_part(building.parts[0], x, y)
        if building.roof.covering is Covering.METAL:
            _rust(rng, rgb, noise.patch[rows, cols] + 0.5 * noise.fine[rows, cols])
        elif building.roof.covering is Covering.CONCRETE:
            _stain(rng, rgb, noise.patch[rows, cols])
            _furnish(rng, rgb, main, sun)
        canvas.rgb[rows, cols] = rgb


def _in_part(part: Part, x: Values, y: Values) -> _Pixels:
    cos, sin = math.cos(part.angle), math.sin(part.angle)
    dx, dy = x - np.float32(part.x), y - np.float32(part.y)
    return _Pixels(part=part, s=dx * np.float32(cos) + dy * np.float32(sin), t=dy * np.float32(cos) - dx * np.float32(sin))


def _planes(building: Building, x: Values, y: Values, sun: Sun) -> Values:
    """Return the brightness of each pixel relative to level ground, (n,); later parts lie over earlier ones."""
    gain = np.ones(len(x), np.float32)
    for number, part in enumerate(building.parts):
        pixels = _in_part(part, x, y)
        here = (pixels.edge_m >= 0) if number else np.ones(len(x), bool)
        shade = _level(pixels, sun) if building.roof.slope == 0 else _sloped(pixels, building, sun)
        gain[here] = shade[here]
    return gain


def _sloped(pixels: _Pixels, building: Building, sun: Sun) -> Values:
    roof, part = building.roof, pixels.part
    cos, sin = math.cos(part.angle), math.sin(part.angle)
    shade = np.where(pixels.t > 0, sun.shade(roof.slope, -sin, cos), sun.shade(roof.slope, sin, -cos)).astype(np.float32)
    if roof.hipped:
        ends = part.half_length - np.abs(pixels.s) < part.half_width - np.abs(pixels.t)
        hip = np.where(pixels.s > 0, sun.shade(roof.slope, cos, sin), sun.shade(roof.slope, -cos, -sin))
        shade = np.where(ends, hip, shade).astype(np.float32)
    if roof.covering is Covering.METAL:
        sheets = np.random.default_rng(int(part.x * 8) % 9973).normal(1, 0.045, 61).astype(np.float32)
        laid = (np.floor(pixels.s / 1.7) * 7 + np.floor(pixels.t / 3.1) * 13).astype(int) % 61
        shade *= sheets[laid] * (1 + 0.04 * np.sin(pixels.s * np.float32(2 * math.pi / 1.05)))
    shade[np.abs(pixels.t) < 0.2] *= 1.08
    shade[pixels.edge_m < 0.25] *= 0.88
    return shade


def _level(pixels: _Pixels, sun: Sun) -> Values:
    """Shade a flat roof: a bright parapet that throws a narrow shadow away from the sun."""
    shade = np.ones(len(pixels.s), np.float32)
    part = pixels.part
    cos, sin = math.cos(part.angle), math.sin(part.angle)
    toward_s, toward_t = sun.x * cos + sun.y * sin, -sun.x * sin + sun.y * cos
    sunny = np.minimum(part.half_length - pixels.s * np.sign(toward_s), part.half_width - pixels.t * np.sign(toward_t))
    shade[sunny < 1.1] = 0.72
    shade[pixels.edge_m < 0.35] = 1.12
    return shade


def _rust(rng: np.random.Generator, rgb: Values, where: Values) -> None:
    age = rng.beta(0.7, 1.6)
    share = np.clip((where - 1.6 + 1.8 * age) * 0.5, 0, 0.75 * age)
    rgb += share[:, None] * (_RUST - rgb)


def _stain(rng: np.random.Generator, rgb: Values, where: Values) -> None:
    rgb *= (1 - np.clip(where * rng.uniform(0.05, 0.2), -0.06, 0.3))[:, None]


def _furnish(rng: np.random.Generator, rgb: Values, pixels: _Pixels, sun: Sun) -> None:
    """Put stair heads and water tanks on a flat roof."""
    part = pixels.part
    cos, sin = math.cos(part.angle), math.sin(part.angle)
    reach_x, reach_y = sun.shadow_per_m
    reach_s, reach_t = reach_x * cos + reach_y * sin, -reach_x * sin + reach_y * cos
    room = part.half_length - 1.5, part.half_width - 1.5
    if min(room) < 1:
        return
    for _ in range(int(rng.integers(1, 3 + min(8, int(part.half_length * part.half_width / 30))))):
        s, t = rng.uniform(-1, 1) * room[0], rng.uniform(-1, 1) * room[1]
        is_tank = rng.random() < 0.5
        half_s, half_t = (0.65, 0.65) if is_tank else rng.uniform(0.8, 1.8, 2)
        height = 1.2 if is_tank else 2.2
        shaded = (np.abs(pixels.s - s - reach_s * height / 2) < half_s + abs(reach_s) * height / 2) & (
            np.abs(pixels.t - t - reach_t * height / 2) < half_t + abs(reach_t) * height / 2
        )
        rgb[shaded] *= 0.55
        on_top = (np.abs(pixels.s - s) < half_s) & (np.abs(pixels.t - t) < half_t)
        rgb[on_top] = _TANKS[int(rng.integers(len(_TANKS)))] if is_tank else np.asarray(rng.normal(175, 22), np.float32)
