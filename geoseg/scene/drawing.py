"""The scene, from plan to pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from shapely.geometry.base import BaseGeometry

from geoseg.pixels.classes import NODATA_CLASS
from geoseg.scene.buildings import Building
from geoseg.scene.canvas import Canvas, Land
from geoseg.scene.ground import paint_parcels, paint_river, paint_walls
from geoseg.scene.options import SceneOptions
from geoseg.scene.parcels import Parcel, tabulate
from geoseg.scene.pavement import paint_cars, paint_streets
from geoseg.scene.plan import ScenePlan, plan_scene
from geoseg.scene.roofs import paint_roofs
from geoseg.scene.texture import draw_texture
from geoseg.scene.trees import grow_crowns, paint_trees, plant_trees, shade_trees

_ORIGIN_M = 337_200.0, 3_058_800.0
_SHADE = np.array((0.40, 0.43, 0.50), np.float32)
_BETWEEN = Parcel(outline=shapely.Polygon(), soil=(174, 160, 142), green=(104, 110, 80), growth=-0.5, trees_per_ha=40)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A drawn orthophoto with exact truth."""

    pixels: NDArray[np.uint8]
    """(3, H, W) red, green, blue; 1..255 where valid, 0 elsewhere."""
    valid: NDArray[np.bool_]
    """(H, W), True = data."""
    classes: NDArray[np.uint8]
    """(H, W): 0 land, 1 water, 2 vegetation, 3 road, 4 building, 255 no data."""
    instances: NDArray[np.uint32]
    """(H, W) building ids 1..n in the order of their first pixels; 0 where there is no building."""
    buildings: tuple[shapely.Polygon, ...]
    """One for each id, in their order; pixel coordinates (x = column, y = row), cut at the edge of the data."""
    road_lines: tuple[shapely.LineString, ...]
    """Centrelines of the streets in pixel coordinates, cut at the edge of the data."""
    transform: Affine
    """From pixel coordinates to the CRS, north up."""
    crs: str = "EPSG:32645"
    """UTM zone 45 north."""


def draw_scene(options: SceneOptions) -> Scene:
    """Draw a scene; the same options give the same arrays.

    Needs about 100 bytes for each pixel.
    """
    return draw_plan(options, plan_scene(options))


def draw_plan(options: SceneOptions, plan: ScenePlan) -> Scene:
    """Draw what was laid out, or what was made of it: the same place at another time."""
    rgb, classes = np.zeros((*options.shape, 3), np.float32), np.zeros(options.shape, np.uint8)
    canvas = Canvas(options=options, texture=draw_texture(options), rgb=rgb, classes=classes)
    valid = canvas.burn([plan.domain]) > 0
    buildings, footprints, instances = _number(canvas, plan, valid)
    _paint(canvas, plan, buildings, instances)
    classes[~valid] = NODATA_CLASS
    to_pixels = 1 / options.resolution_m
    lines = shapely.get_parts(shapely.intersection([s.line for s in plan.streets.streets], plan.domain))
    return Scene(
        pixels=_expose(canvas, valid),
        valid=valid,
        classes=classes,
        instances=instances,
        buildings=tuple(shapely.transform(np.array(footprints, dtype=object), lambda p: p * to_pixels)),
        road_lines=tuple(shapely.transform([line for line in lines if line.length > 0], lambda p: p * to_pixels)),
        transform=Affine(options.resolution_m, 0, _ORIGIN_M[0], 0, -options.resolution_m, _ORIGIN_M[1]),
    )


def _number(canvas: Canvas, plan: ScenePlan, valid: NDArray[np.bool_]) -> tuple[list[Building], list[BaseGeometry], NDArray[np.uint32]]:
    """Give ids to the buildings that have valid pixels; return them, their footprints with data, and the ids (H, W)."""
    cut = shapely.intersection(np.array([b.outline for b in plan.buildings], dtype=object), plan.domain)
    whole = [(b, c) for b, c in zip(plan.buildings, cut, strict=True) if isinstance(c, shapely.Polygon) and not c.is_empty]
    drafts = canvas.burn([c for _, c in whole], list(range(1, len(whole) + 1))) * valid
    seen, first = np.unique(drafts, return_index=True)
    order = [n for n in seen[np.argsort(first)].tolist() if n > 0]
    ids = np.zeros(len(whole) + 1, np.uint32)
    ids[order] = np.arange(1, len(order) + 1)
    return [whole[n - 1][0] for n in order], [whole[n - 1][1] for n in order], ids[drafts]


def _paint(canvas: Canvas, plan: ScenePlan, buildings: Sequence[Building], instances: NDArray[np.uint32]) -> None:
    """Paint from the ground up."""
    table = tabulate(list(plan.parcels), _BETWEEN)
    parcels = canvas.burn([p.outline for p in plan.parcels], list(range(1, len(plan.parcels) + 1)))
    paint_parcels(canvas, parcels, table)
    paint_walls(canvas, plan.parcels)
    bank = paint_river(canvas, plan.river)
    paint_streets(canvas, plan.streets)
    paint_cars(canvas, plan.streets, plan.sun)
    outlines = [b.outline for b in plan.buildings]
    clear = np.minimum(canvas.distance_m([plan.streets.surface, *outlines], 0.9), bank)
    trees = plant_trees(canvas, parcels, table, clear, bank)
    canvas.classes[instances > 0] = Land.BUILDING
    shadow = canvas.burn([b.shadow(plan.sun.shadow_per_m) for b in plan.buildings]) > 0
    crowns = grow_crowns(canvas, trees, plan.sun)
    shade_trees(canvas, trees, crowns, plan.sun, shadow)
    _darken(canvas, shadow, instances > 0)
    paint_trees(canvas, trees, crowns)
    paint_roofs(canvas, buildings, instances, plan.sun)


def _darken(canvas: Canvas, shadow: NDArray[np.bool_], built: NDArray[np.bool_]) -> None:
    step = canvas.options.resolution_m
    soft = gaussian_filter(shadow.astype(np.float32), 0.2 / step)
    canvas.rgb[...] *= 1 - soft[..., None] * (1 - _SHADE)
    near = gaussian_filter(built.astype(np.float32), 0.9 / step, truncate=2.5)
    canvas.rgb[...] *= (1 - 0.3 * near)[..., None]


def _expose(canvas: Canvas, valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Blur, haze and sensor noise; (3, H, W)."""
    rng = canvas.options.chance(9)
    pixels = np.empty((3, *canvas.options.shape), np.uint8)
    light = 1 + 0.03 * canvas.texture.broad
    shared = 2.0 * rng.standard_normal(canvas.options.shape, dtype=np.float32)
    for band in range(3):
        sharp = gaussian_filter(canvas.rgb[..., band] * light, 0.55)
        noise = shared + 1.6 * rng.standard_normal(canvas.options.shape, dtype=np.float32)
        pixels[band] = np.where(valid, np.clip(sharp + noise, 1, 255), 0)
    return pixels
