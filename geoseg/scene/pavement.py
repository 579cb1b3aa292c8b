"""Painting streets: asphalt, sidewalks, markings, cars."""

import math

import numpy as np
import shapely

from geoseg.scene.canvas import Canvas, Land
from geoseg.scene.grid import Frame
from geoseg.scene.options import Sun
from geoseg.scene.streets import Street, Streets

_DUST = (172.0, 161.0, 146.0)
_SIDEWALK = (182.0, 177.0, 169.0)
_MARKING = (206.0, 204.0, 196.0)
_CAR_COLORS = np.array(
    [(225, 225, 222), (198, 200, 202), (52, 52, 56), (120, 122, 126), (150, 52, 48), (60, 84, 132), (232, 232, 228), (88, 88, 84)],
    np.float32,
)
_LANE_M = 3.1
_CAR_HEIGHT_M = 1.5


def paint_streets(canvas: Canvas, streets: Streets) -> None:
    """Paint asphalt with dusty edges, sidewalks and lane markings."""
    noise = canvas.texture
    edge = canvas.distance_m([streets.surface], 0.9)
    walk = np.clip((2.2 - edge) / 0.6, 0, 1) * np.clip(0.8 + 0.6 * noise.broad + 0.25 * noise.patch, 0, 0.85)
    walk[canvas.classes == Land.WATER] = 0
    canvas.classes[walk > 0.5] = Land.LAND
    canvas.blend(walk, np.asarray(_SIDEWALK, np.float32) * (1 + 0.03 * noise.fine + 0.03 * noise.grain)[..., None])
    surface = canvas.burn([streets.surface]) > 0
    tones = _tones(canvas, streets)
    tones *= (1 + 0.05 * noise.broad + 0.035 * noise.patch + 0.02 * noise.fine + 0.03 * noise.grain)[..., None]
    canvas.rgb[surface] = tones[surface]
    dust = surface * np.clip(0.4 + 0.25 * noise.patch + 0.45 * (edge + 0.6), 0, 0.5)
    canvas.blend(dust.astype(np.float32), _DUST)
    canvas.classes[surface] = Land.ROAD
    # Paint lines are narrower than a pixel: what they lack in width they lack in contrast.
    strength = min(0.75, 0.2 / canvas.options.resolution_m)
    marked = canvas.burn([m for street in streets.streets for m in _markings(street, streets)]) > 0
    canvas.blend((marked & surface) * np.clip(strength * (1 + 0.35 * noise.patch), 0, 1).astype(np.float32), _MARKING)


def paint_cars(canvas: Canvas, streets: Streets, sun: Sun) -> None:
    """Put cars on the lanes and along the curbs; they count as road."""
    rng = canvas.options.chance(3)
    frames = [f for street in streets.streets for f in _car_frames(rng, street)]
    if not frames:
        return
    lengths = rng.uniform(1.9, 2.6, len(frames))
    bodies = [_box(f, (-a, a), (-0.95, 0.95)) for f, a in zip(frames, lengths, strict=True)]
    reach = np.asarray(sun.shadow_per_m) * _CAR_HEIGHT_M
    shadows = np.asarray(shapely.transform(np.array(bodies, dtype=object), lambda p: p + reach))
    is_road = canvas.classes == Land.ROAD
    canvas.rgb[(canvas.burn(list(shadows)) > 0) & is_road] *= 0.55
    ids = canvas.burn(bodies, list(range(1, len(bodies) + 1)))
    on_road = (ids > 0) & is_road
    colors = _CAR_COLORS[rng.integers(len(_CAR_COLORS), size=len(frames))]
    canvas.rgb[on_road] = colors[ids[on_road] - 1]
    windows = [_box(f, (a * 0.25, a * 0.6), (-0.75, 0.75)) for f, a in zip(frames, lengths, strict=True)]
    canvas.rgb[(canvas.burn(windows) > 0) & on_road] *= 0.45


def _tones(canvas: Canvas, streets: Streets) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    rng = canvas.options.chance(4)
    gray = np.array([84 if s.is_main else rng.uniform(80, 112) for s in streets.streets] + [92.0])
    tones = (gray[:, None] + rng.normal((3, 0, -3), 1.5, (len(gray), 3))).astype(np.float32)
    # The main road comes first in the list and has to lie on top.
    order = list(range(len(streets.streets)))[::-1]
    ids = canvas.burn([streets.streets[n].line.buffer(streets.streets[n].width_m / 2 + 0.5) for n in order], [n + 1 for n in order])
    return tones[ids - 1]


def _markings(street: Street, streets: Streets) -> list[shapely.LineString]:
    free = street.line.difference(streets.crossings)
    pieces = [p for p in shapely.get_parts(free) if p.length > 4]
    if not street.is_main:
        return [d for p in pieces for d in _dashes(p)] if street.width_m > 6.5 else []
    edge = street.width_m / 2 - 0.5
    solid = [p.offset_curve(d) for p in pieces for d in (-edge, -0.15, 0.15, edge)]
    return solid + [d for p in pieces for side in (-_LANE_M, _LANE_M) for d in _dashes(p.offset_curve(side))]


def _dashes(line: shapely.LineString) -> list[shapely.LineString]:
    starts = np.arange(1.0, max(line.length - 4, 1.0), 8.0)
    ends = [shapely.get_coordinates(shapely.line_interpolate_point(line, at)) for at in (starts, starts + 3)]
    return list(shapely.linestrings(np.stack(ends, axis=1))) if len(starts) else []


def _car_frames(rng: np.random.Generator, street: Street) -> list[Frame]:
    gap = 16.0 if street.is_main else 30.0
    at = np.cumsum(6 + rng.exponential(gap, int(street.line.length / gap) + 2))
    at = at[at < street.line.length - 3]
    here, ahead = (shapely.get_coordinates(shapely.line_interpolate_point(street.line, x)) for x in (at, at + 1))
    parked = street.width_m / 2 - 1.2
    lanes = (
        np.array([-4.6, -1.6, 1.6, 4.6]) if street.is_main else np.array([-parked, parked, parked, -street.width_m / 5, street.width_m / 5])
    )
    frames = []
    for (x, y), (dx, dy), lane in zip(here, ahead - here, rng.choice(lanes, len(at)), strict=True):
        angle = math.atan2(dy, dx)
        left, top = Frame(x=x, y=y, angle=angle).to_ground(np.array([[0, lane]]))[0]
        frames.append(Frame(x=float(left), y=float(top), angle=angle + math.pi * bool(lane < 0)))
    return frames


def _box(frame: Frame, s: tuple[float, float], t: tuple[float, float]) -> shapely.Polygon:
    return shapely.Polygon(frame.to_ground(np.array([(s[0], t[0]), (s[1], t[0]), (s[1], t[1]), (s[0], t[1])])))
