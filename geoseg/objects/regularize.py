"""Building outlines with right angles, where they fit what was seen."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class RegularizeOptions:
    """When an outline becomes a rectangle.

    Raises:
        ConfigError: If the share is outside 0..1.
    """

    min_iou: float = 0.85
    """Intersection over union with the outline from which its rectangle replaces it."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_iou <= 1:
            raise ConfigError(f"min_iou is a share in 0..1; got {self.min_iou}.")


def regularize(outlines: NDArray[np.object_], options: RegularizeOptions) -> NDArray[np.object_]:
    """Replace outlines by rectangles of equal area where these fit, and never let one reach into a neighbor.

    The rectangle is the smallest rotated one around the outline, scaled about its center to the outline's area.
    It is taken when it agrees well enough and overlaps no other outline more than the outline itself did;
    otherwise the outline stays.

    Args:
        outlines: (n,) valid polygons in coordinates where angles are true (metres or square pixels).
        options: When it fits.

    Returns:
        (n,) valid polygons.
    """
    if len(outlines) == 0:
        return outlines
    rectangles = _equal_area_rectangles(outlines)
    union = shapely.area(shapely.union(outlines, rectangles))
    iou = np.divide(shapely.area(shapely.intersection(outlines, rectangles)), union, out=np.zeros(len(outlines)), where=union > 0)
    chosen = np.where((iou >= options.min_iou) & shapely.is_valid(rectangles), rectangles, outlines)
    return _without_new_overlaps(outlines, chosen)


def _equal_area_rectangles(outlines: NDArray[np.object_]) -> NDArray[np.object_]:
    boxes = shapely.minimum_rotated_rectangle(outlines)
    area = shapely.area(boxes)
    factor = np.sqrt(np.divide(shapely.area(outlines), area, out=np.ones(len(outlines)), where=area > 0))
    centers = shapely.get_coordinates(shapely.centroid(boxes))
    coordinates, owner = shapely.get_coordinates(boxes, return_index=True)
    scaled = centers[owner] + (coordinates - centers[owner]) * factor[owner, None]
    return np.asarray(shapely.set_coordinates(boxes.copy(), scaled))


def _without_new_overlaps(outlines: NDArray[np.object_], chosen: NDArray[np.object_]) -> NDArray[np.object_]:
    """Take back rectangles that overlap a neighbor; what remains of rectangles is free of overlaps with all."""
    settled = chosen.copy()
    while True:
        one, other = shapely.STRtree(settled).query(settled, predicate="intersects")
        pairs = one < other
        one, other = one[pairs], other[pairs]
        overlap = shapely.area(shapely.intersection(settled[one], settled[other])) > 1e-6
        changed = settled != outlines
        back = np.unique(np.concatenate([one[overlap], other[overlap]]))
        back = back[changed[back]]
        if len(back) == 0:
            return settled
        settled[back] = outlines[back]
