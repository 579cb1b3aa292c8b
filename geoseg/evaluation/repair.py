"""Reference polygons as people draw them, made fit for matching: valid and without overlap."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

_SLIVER = 1e-3
"""Overlaps below this share of the smaller polygon are left alone: neighbors that share a wall drawn twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairedPolygons:
    """Polygons without overlap, and what it took."""

    shapes: NDArray[np.object_]
    """(n,) valid polygons."""
    others: int
    """Geometries that were no polygons, such as lines and points."""
    invalid: int
    """Polygons that were invalid."""
    overlapping: int
    """Polygons that gave ground to a smaller one."""
    dropped: int
    """Polygons of which nothing was left, such as those drawn twice."""


def repair_polygons(shapes: NDArray[np.object_]) -> RepairedPolygons:
    """Make polygons valid and free of overlap: of two that overlap, the smaller one keeps the ground.

    Args:
        shapes: (n,) geometries; what is no polygon is left out.
    """
    shapes = np.asarray(shapes, dtype=object)
    areas = np.isin(shapely.get_type_id(shapes), (3, 6, 7))
    others, shapes = int((~areas).sum()), shapes[areas]
    invalid = ~shapely.is_valid(shapes)
    valid = np.array([_polygonal(g) for g in shapely.make_valid(shapes)], dtype=object)
    there = shapely.area(valid) > 0
    kept, overlapping = _separate(valid[there])
    left = np.array([not g.is_empty for g in kept], bool)
    return RepairedPolygons(
        shapes=kept[left],
        others=others,
        invalid=int(invalid.sum()),
        overlapping=overlapping,
        dropped=int((~there).sum() + (~left).sum()),
    )


def _separate(shapes: NDArray[np.object_]) -> tuple[NDArray[np.object_], int]:
    area = shapely.area(shapes)
    rank = np.lexsort((np.arange(len(shapes)), area)).argsort()
    one, other = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    # each pair once, the larger one first
    one, other = one[rank[one] > rank[other]], other[rank[one] > rank[other]]
    real = shapely.area(shapely.intersection(shapes[one], shapes[other])) > _SLIVER * area[other]
    one, other = one[real], other[real]
    kept = shapes.copy()
    for index in np.unique(one):
        kept[index] = _polygonal(shapely.difference(shapes[index], shapely.union_all(shapes[other[one == index]])))
    return kept, len(np.unique(one))


def _polygonal(shape: shapely.Geometry) -> shapely.Geometry:
    """Return the polygons among the parts of a geometry as one; lines and points that a repair leaves have no area."""
    if shape.geom_type == "Polygon":
        return shape
    parts = shapely.get_parts(shapely.get_parts(shape))
    polygons = [part for part in parts if part.geom_type == "Polygon" and part.area > 0]
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
