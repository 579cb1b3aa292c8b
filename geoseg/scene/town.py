"""Blocks that are built up: lots along the streets, and the buildings on them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from geoseg.scene.blocks import Block
from geoseg.scene.buildings import Building, draw_roof, raise_angle, raise_box
from geoseg.scene.grid import BentGrid, Frame
from geoseg.scene.parcels import LAWNS, PAVINGS, SOILS, Parcel, pick


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What stands and lies on a block."""

    buildings: tuple[Building, ...] = ()
    """In order of precedence."""
    parcels: tuple[Parcel, ...] = ()
    """Later ones lie over earlier ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lot:
    """A piece of a block along one street."""

    frame: Frame
    """Origin at the middle of the street side, t into the lot."""
    width: float
    """Along the street in metres."""
    depth: float
    """Away from it in metres."""
    u: tuple[float, float]
    """Bounds in grid coordinates."""
    v: tuple[float, float]
    """Bounds in grid coordinates."""


def settle_houses(rng: np.random.Generator, grid: BentGrid, block: Block) -> Settlement:
    """Put detached houses on their lots, some with a shed behind."""
    buildings: list[Building] = []
    parcels = []
    odds = rng.dirichlet((1.2, 1.5, 1.0)).tolist()
    for lot in _lots(rng, grid, block, (11, 19)):
        parcels.append(_garden(rng, grid, lot))
        if rng.random() < 0.06:
            continue
        frame = replace(lot.frame, angle=lot.frame.angle + rng.normal(0, 0.02))
        gaps, front = rng.uniform(0.6, 2.2, 2), rng.uniform(1.5, 5.0)
        s = -lot.width / 2 + gaps[0], lot.width / 2 - gaps[1]
        back = min(front + rng.uniform(7.5, 12.5), lot.depth - 1.5)
        roof, height = draw_roof(rng, odds), rng.uniform(2.8, 7.5)
        if lot.depth - back > 5 and rng.random() < 0.4:
            wing = min(back + rng.uniform(2.5, 6), lot.depth - 1)
            house = raise_angle(frame, s, (front, back, wing), height, roof)
            back = wing
        else:
            house = raise_box(frame, s, (front, back), height, roof)
        buildings.append(house)
        if lot.depth - back > 6 and rng.random() < 0.45:
            buildings.append(_shed(rng, lot, back))
    return Settlement(buildings=tuple(buildings), parcels=tuple(parcels))


def settle_terraces(rng: np.random.Generator, grid: BentGrid, block: Block) -> Settlement:
    """Put rows of houses that share their walls along both streets."""
    buildings: list[Building] = []
    parcels = []
    odds = rng.dirichlet((1.5, 1.0, 1.6)).tolist()
    for lot in _lots(rng, grid, block, (24, 48)):
        parcels.append(_garden(rng, grid, lot, paved=0.5))
        walls = -lot.width / 2 + 1 + np.concatenate(([0.0], rng.uniform(5.2, 8.2, 9).cumsum()))
        walls = walls[walls < lot.width / 2 - 0.5]
        front, depth = rng.uniform(0.3, 2.5), rng.uniform(8.5, 12.5)
        height = rng.uniform(5, 9)
        for s in pairwise(walls.tolist()):
            back = min(front + depth + rng.choice([0, 0, 0, 1.2, 2.6]), lot.depth - 1)
            buildings.append(raise_box(lot.frame, s, (front, back), height + rng.uniform(-0.7, 0.7), draw_roof(rng, odds)))
            if lot.depth - back > 5 and rng.random() < 0.3:
                reach = back + rng.uniform(2.5, 4)
                buildings.append(raise_box(lot.frame, (s[0], sum(s) / 2), (back, reach), 2.6, draw_roof(rng, (0.1, 0.7, 0.2))))
        buildings += [_shed(rng, lot, front + depth + 3) for _ in range(2) if lot.depth > front + depth + 9]
    return Settlement(buildings=tuple(buildings), parcels=tuple(parcels))


def settle_halls(rng: np.random.Generator, grid: BentGrid, block: Block) -> Settlement:
    """Put large halls on paved ground, some of them wall to wall."""
    ground = _yard(rng, grid, block, growth=-1.6)
    buildings: list[Building] = []
    u = block.u[0] + rng.uniform(2, 6)
    while u + 20 < block.u[1]:
        width = min(rng.uniform(24, 48), block.u[1] - u - 2)
        frame = grid.frame(u + width / 2, block.middle_v)
        reach = block.depth * rng.uniform(0.55, 0.85)
        shift = rng.uniform(-1, 1) * (block.depth - reach - 1.5)
        wall = rng.uniform(-0.15, 0.15) * width if rng.random() < 0.4 else width / 2
        for s in ((-width / 2, wall), (wall, width / 2)):
            if s[1] - s[0] > 5:
                roof = draw_roof(rng, (0.0, 0.7, 0.3), flat=True)
                buildings.append(raise_box(frame, s, (shift - reach, shift + reach), rng.uniform(5, 9), roof))
        u += width + rng.uniform(6, 14)
    return Settlement(buildings=tuple(buildings), parcels=(ground,))


def settle_park(rng: np.random.Generator, grid: BentGrid, block: Block) -> Settlement:
    """Lay out a lawn with trees."""
    lawn = Parcel(
        outline=grid.patch(block.u, block.v), soil=pick(rng, SOILS), green=pick(rng, LAWNS), growth=rng.uniform(0.6, 2), trees_per_ha=90
    )
    return Settlement(parcels=(lawn,))


def settle_waste(rng: np.random.Generator, grid: BentGrid, block: Block) -> Settlement:
    """Leave the ground bare, with tufts."""
    return Settlement(parcels=(_yard(rng, grid, block, growth=rng.uniform(-2.2, -0.6)),))


def _lots(rng: np.random.Generator, grid: BentGrid, block: Block, widths: tuple[float, float]) -> Iterator[_Lot]:
    for v, turned in ((block.v[0], False), (block.v[1], True)):
        u = block.u[0]
        while block.u[1] - u > widths[0]:
            width = float(rng.uniform(*widths))
            if block.u[1] - u - width < widths[0]:
                width = min(block.u[1] - u, widths[1])
            frame = grid.frame(u + width / 2, v, turned=turned)
            near = (block.middle_v, v) if turned else (v, block.middle_v)
            yield _Lot(frame=frame, width=width, depth=block.depth, u=(u, u + width), v=near)
            u += width


def _garden(rng: np.random.Generator, grid: BentGrid, lot: _Lot, paved: float = 0.25) -> Parcel:
    is_paved = rng.random() < paved
    return Parcel(
        outline=grid.patch(lot.u, lot.v),
        soil=pick(rng, PAVINGS if is_paved else SOILS, 9),
        green=pick(rng, LAWNS, 8),
        growth=-1.8 if is_paved else rng.uniform(-1.3, 0.9),
        trees_per_ha=35 if is_paved else rng.uniform(60, 240),
        is_walled=bool(rng.random() < 0.7),
    )


def _yard(rng: np.random.Generator, grid: BentGrid, block: Block, growth: float) -> Parcel:
    soil, green = pick(rng, SOILS, 9), pick(rng, LAWNS)
    return Parcel(outline=grid.patch(block.u, block.v), soil=soil, green=green, growth=growth, roughness=1.3, trees_per_ha=12)


def _shed(rng: np.random.Generator, lot: _Lot, back: float) -> Building:
    length, width = rng.uniform(2.5, 6), rng.uniform(2.5, 4.5)
    s = float(rng.uniform(-lot.width / 2 + 0.5, max(lot.width / 2 - 0.5 - length, -lot.width / 2 + 0.6)))
    t = float(rng.uniform(back + 1, max(lot.depth - width - 0.5, back + 1.1)))
    return raise_box(lot.frame, (s, s + length), (t, t + width), 2.4, draw_roof(rng, (0.05, 0.8, 0.15)))
