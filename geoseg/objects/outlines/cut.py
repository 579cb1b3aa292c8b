"""What outlines must not cover is cut off them, however many vertices it has."""

import numpy as np
import shapely
from numpy.typing import NDArray

_MOST_VERTICES = 256
_SMALLEST = 16
_MOST_STRIPS = 8


def cut_off(outlines: NDArray[np.object_], forbidden: NDArray[np.object_], shape: tuple[int, int]) -> NDArray[np.object_]:
    """Cut off outlines what lies outside the raster or on forbidden ground; of what falls apart the largest piece stays.

    Args:
        outlines: (n,) valid polygons in pixel coordinates. One that lies on forbidden ground as a whole stays.
        forbidden: Valid polygons in pixel coordinates, such as those of nodata.
        shape: Raster (H, W).

    Returns:
        (n,) polygons.
    """
    kept = outlines.copy()
    pieces = np.concatenate([subdivide(forbidden, shapely.bounds(outlines)), _surroundings(shape)])
    touching, piece = shapely.STRtree(pieces).query(outlines, predicate="intersects")
    order = np.argsort(touching, kind="stable")
    rows, starts = np.unique(touching[order], return_index=True)
    for row, here in zip(rows, np.split(piece[order], starts)[1:], strict=True):
        rest = largest_polygon(shapely.difference(outlines[row], shapely.union_all(pieces[np.sort(here)])))
        kept[row] = outlines[row] if rest is None else rest
    return kept


def largest_polygon(geometry: shapely.Geometry) -> shapely.Polygon | None:
    """Return the largest polygon among the parts of a geometry, None if it has no area."""
    polygons = [part for part in shapely.get_parts(shapely.get_parts(geometry)) if part.geom_type == "Polygon" and part.area > 0]
    return max(polygons, key=lambda polygon: polygon.area, default=None)


def subdivide(polygons: NDArray[np.object_], bounds: NDArray[np.float64]) -> NDArray[np.object_]:
    """Cut polygons into strips until each has few vertices, and leave out what lies far from all of some boxes.

    Strips meet in lines of whole coordinates, so pieces of pixels have exact vertices.

    Args:
        polygons: Valid polygons in pixel coordinates.
        bounds: (n, 4) boxes: left, top, right, bottom.

    Returns:
        Polygons of at most a few hundred vertices that cover the same ground in and around the boxes.
    """
    near = shapely.STRtree(shapely.box(*bounds.T))
    done = [np.empty(0, np.object_)]
    while len(polygons):
        polygons = polygons[np.unique(near.query(shapely.box(*shapely.bounds(polygons).T))[0])]
        left, top, right, bottom = shapely.bounds(polygons).T
        large = (shapely.get_num_coordinates(polygons) > _MOST_VERTICES) & (np.maximum(right - left, bottom - top) > _SMALLEST)
        done.append(polygons[~large])
        of, strips = _strips(polygons[large])
        wanted = np.unique(near.query(strips)[0])
        # where a polygon only touches a cut, there are points and lines as well
        parts = shapely.get_parts(shapely.intersection(polygons[large][of[wanted]], strips[wanted]))
        polygons = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
    return np.concatenate(done)


def _strips(polygons: NDArray[np.object_]) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Return boxes across the longer side of each polygon, the more vertices the more boxes, and (k,) the polygons of these."""
    # several strips at once save passes over polygons of millions of vertices
    count = np.clip(shapely.get_num_coordinates(polygons) // _MOST_VERTICES + 1, 2, _MOST_STRIPS)
    of = np.repeat(np.arange(len(polygons)), count)
    step = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
    left, top, right, bottom = shapely.bounds(polygons)[of].T
    wide = right - left > bottom - top
    low, high = np.where(wide, left, top), np.where(wide, right, bottom)
    start = np.floor(low + (high - low) * step / count[of])
    end = np.where(step + 1 < count[of], np.floor(low + (high - low) * (step + 1) / count[of]), high)
    boxes = shapely.box(np.where(wide, start, left), np.where(wide, top, start), np.where(wide, end, right), np.where(wide, bottom, end))
    return of, np.asarray(boxes)


def _surroundings(shape: tuple[int, int]) -> NDArray[np.object_]:
    """Return four boxes that surround a raster, as wide and as high as itself."""
    height, width = shape
    left, right = (-width, 0, 0, height), (width, 0, 2 * width, height)
    above, below = (-width, -height, 2 * width, 0), (-width, height, 2 * width, 2 * height)
    return np.array([shapely.box(*side) for side in (left, right, above, below)], np.object_)
