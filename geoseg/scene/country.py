"""Blocks that are not built up: fields, groves, and a farm here and there."""

import math
from itertools import pairwise

import numpy as np

from geoseg.scene.blocks import Block
from geoseg.scene.buildings import Building, draw_roof, raise_box
from geoseg.scene.grid import BentGrid
from geoseg.scene.parcels import CROPS, LAWNS, SOILS, TILLED, Parcel, pick
from geoseg.scene.town import Settlement

_BALK_M = 1.2


def settle_fields(rng: np.random.Generator, grid: BentGrid, block: Block) -> Settlement:
    """Divide the block into fields; every fourth block has a farm on one of them."""
    along = rng.random() < 0.5
    low, high = block.u if along else block.v
    cuts = np.linspace(low, high, int(rng.integers(2, 5) if along else rng.integers(2, 4)))
    cuts[1:-1] += rng.uniform(-6, 6, len(cuts) - 2)
    parcels = []
    for start, stop in pairwise(cuts.tolist()):
        span = start + _BALK_M, stop - _BALK_M
        u, v = (span, block.v) if along else (block.u, span)
        parcels.append(_field(rng, grid, u, v))
    farm: tuple[Building, ...] = ()
    if rng.random() < 0.28:
        u = block.u[0] + 4, block.u[0] + rng.uniform(32, 42)
        v = block.v[0], min(block.v[0] + rng.uniform(28, 36), block.v[1])
        soil, green = pick(rng, SOILS), pick(rng, LAWNS)
        parcels.append(Parcel(outline=grid.patch(u, v), soil=soil, green=green, growth=rng.uniform(-0.9, 0), trees_per_ha=130))
        farm = _farm(rng, grid, sum(u) / 2, sum(v) / 2)
    return Settlement(buildings=farm, parcels=tuple(parcels))


def settle_grove(rng: np.random.Generator, grid: BentGrid, block: Block) -> Settlement:
    """Let trees grow, dense or as an orchard."""
    dense = rng.random() < 0.5
    grove = Parcel(
        outline=grid.patch(block.u, block.v),
        soil=pick(rng, TILLED),
        green=pick(rng, LAWNS),
        growth=rng.uniform(-0.2, 0.8),
        row_angle=grid.frame(block.u[0], block.v[0]).angle,
        trees_per_ha=rng.uniform(180, 330) if dense else 8,
        orchard_gap_m=0.0 if dense else rng.uniform(5.5, 8),
    )
    return Settlement(parcels=(grove,))


def _field(rng: np.random.Generator, grid: BentGrid, u: tuple[float, float], v: tuple[float, float]) -> Parcel:
    kind = rng.choice(3, p=(0.5, 0.32, 0.18))
    rows = grid.frame(sum(u) / 2, sum(v) / 2).angle + rng.choice([0.0, math.pi / 2]) + rng.normal(0, 0.03)
    growth, depth = ((2.6, rng.uniform(0.06, 0.22)), (-2.8, rng.uniform(0.04, 0.13)), (rng.uniform(0.2, 1.3), 0.0))[int(kind)]
    return Parcel(
        outline=grid.patch(u, v),
        soil=pick(rng, TILLED),
        green=pick(rng, CROPS, 8),
        growth=growth,
        row_angle=float(rows),
        row_gap_m=rng.uniform(1.1, 2.8),
        row_depth=depth,
        roughness=0.7,
        trees_per_ha=1.5 if kind < 2 else 14,
    )


def _farm(rng: np.random.Generator, grid: BentGrid, u: float, v: float) -> tuple[Building, ...]:
    frame = grid.frame(u, v, turned=bool(rng.random() < 0.5))
    length, width = rng.uniform(10, 15), rng.uniform(7.5, 9.5)
    house = raise_box(frame, (-length / 2, length / 2), (2.0, 2.0 + width), 4.5, draw_roof(rng, (0.5, 0.4, 0.1)))
    left, back = rng.uniform(-13, -6), rng.uniform(-5, -3)
    barn = raise_box(frame, (left, left + rng.uniform(9, 18)), (back - 8, back), 4.0, draw_roof(rng, (0.1, 0.9, 0.0)))
    return house, barn
