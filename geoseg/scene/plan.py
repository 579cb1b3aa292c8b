"""The plan of a scene in metres, before anything is drawn."""

from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from geoseg.scene.blocks import Block, BlockUse, find_towns, plan_blocks
from geoseg.scene.buildings import Building, without_conflicts
from geoseg.scene.country import settle_fields, settle_grove
from geoseg.scene.grid import BentGrid, draw_grid
from geoseg.scene.options import SceneOptions, Sun, draw_sun
from geoseg.scene.parcels import Parcel
from geoseg.scene.river import River, draw_river
from geoseg.scene.streets import Streets, plan_streets
from geoseg.scene.town import Settlement, settle_halls, settle_houses, settle_park, settle_terraces, settle_waste

_CLEAR_OF_STREETS_M = 0.6
_SETTLERS = {
    BlockUse.HOUSES: settle_houses,
    BlockUse.TERRACES: settle_terraces,
    BlockUse.HALLS: settle_halls,
    BlockUse.PARK: settle_park,
    BlockUse.WASTE: settle_waste,
    BlockUse.FIELDS: settle_fields,
    BlockUse.GROVE: settle_grove,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenePlan:
    """Everything that stands and lies in a scene; metres, x right, y down, origin in the upper left corner."""

    domain: shapely.Polygon
    """The ground that has data."""
    sun: Sun
    """Direction of all shadows."""
    river: River
    """Under the bridge of the main road."""
    streets: Streets
    """All streets."""
    buildings: tuple[Building, ...]
    """None of them overlap; some share walls."""
    parcels: tuple[Parcel, ...]
    """Later ones lie over earlier ones."""


def plan_scene(options: SceneOptions) -> ScenePlan:
    """Lay out a scene."""
    rng = options.chance(0)
    grid = draw_grid(rng, options.size_m)
    river = draw_river(rng, grid, options.size_m)
    urban = find_towns(rng, grid, river, options.size_m)
    streets = plan_streets(rng, grid, urban, river)
    frame = shapely.box(0, 0, *options.size_m)
    settled = [_settle(options.chance(2, n), grid, block, frame) for n, block in enumerate(plan_blocks(rng, grid, urban))]
    closed = shapely.union_all([streets.surface.buffer(_CLEAR_OF_STREETS_M), river.keep_off])
    return ScenePlan(
        domain=_cut_corner(rng, options, grid, river) if options.nodata_corner else frame,
        sun=draw_sun(rng),
        river=river,
        streets=streets,
        buildings=tuple(without_conflicts([b for s in settled for b in s.buildings], closed)),
        parcels=tuple(p for s in settled for p in s.parcels),
    )


def _settle(rng: np.random.Generator, grid: BentGrid, block: Block, frame: BaseGeometry) -> Settlement:
    outside = not grid.patch(block.u, block.v).buffer(30).intersects(frame)
    return Settlement() if outside else _SETTLERS[block.use](rng, grid, block)


def _cut_corner(rng: np.random.Generator, options: SceneOptions, grid: BentGrid, river: River) -> shapely.Polygon:
    """Cut off the corner that lies farthest from the river, so that small scenes keep their water."""
    width, height = options.size_m
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)])
    bank = grid.to_ground(np.array([[river.u, 0.0]]))[0]
    x, y = corners[np.hypot(*(corners - bank).T).argmax()]
    inward = np.array([1 if x == 0 else -1, 1 if y == 0 else -1])
    legs = rng.uniform((0.2, 0.2), (0.34, 0.34)) * (width, height) * inward
    triangle = shapely.Polygon([(x, y), (x + legs[0], y), (x, y + legs[1])])
    return shapely.Polygon(shapely.box(0, 0, width, height).difference(triangle))
