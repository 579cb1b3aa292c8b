"""Corners: drawings of walls can be mixed, and circles have the area of what they replace."""

import numpy as np
import pytest
import shapely

from geoseg.objects.outlines.corners import as_chains, build, equal_circles, mix, original_chains
from geoseg.objects.outlines.walls import find_walls

HOUSES = np.array([shapely.box(0, 0, 9, 9), shapely.box(20, 0, 29, 5), shapely.box(29, 0, 36, 5)])


def test_circles_have_the_area_and_the_center_of_the_outlines() -> None:
    circles = equal_circles(HOUSES)
    assert shapely.area(circles) == pytest.approx(shapely.area(HOUSES))
    assert shapely.distance(shapely.centroid(circles), shapely.centroid(HOUSES)) == pytest.approx(0, abs=1e-9)


def test_chosen_walls_come_from_the_other_drawing() -> None:
    walls = find_walls(HOUSES)
    circles = equal_circles(HOUSES)
    mixed = mix(original_chains(walls), as_chains(circles, walls), walls, walls.owners[:, 0] == 0)
    built, whole = build(walls, mixed, mixed, np.zeros(len(walls.owners), np.bool_))
    assert whole.all()
    assert shapely.normalize(built[0]).equals_exact(shapely.normalize(circles[0]), 1e-12)
    assert shapely.equals(built[1:], HOUSES[1:]).all()


def test_nodes_move_with_the_chosen_walls() -> None:
    walls = find_walls(HOUSES)
    chains = original_chains(walls)
    moved = chains._replace(xy=chains.xy + 100, node_xy=chains.node_xy + 100)
    group = np.isin(walls.owners[:, 0], [1, 2])
    mixed = mix(chains, moved, walls, group)
    built, _ = build(walls, mixed, mixed, np.zeros(len(walls.owners), np.bool_))
    assert built[0].equals(HOUSES[0])
    assert shapely.equals(built[1:], shapely.transform(HOUSES[1:], lambda p: p + 100)).all()
