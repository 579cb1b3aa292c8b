"""How deep water stands at walls: the surface of the water is as high as the ground where the water ends.

The idea is that of FwDET (Cohen et al. 2018, "Estimating Floodwater Depths from Flood Inundation Maps and Topography", JAWRA 54(4), and
Cohen et al. 2019, NHESS 19, 2053-2065): heights at the edge of the flood are carried inwards. There every cell takes the nearest edge
cell; here a wall takes the mean of several edge places, nearer ones counting more, so that water that falls along a valley and a single
wrong height at the edge do less harm.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from scipy.spatial import cKDTree

from geoseg.impact.flood import Flood
from geoseg.impact.heights import sample_heights
from geoseg.impact.metric import move, move_points
from geoseg.io.ground import measure_areas, pixel_size_m
from geoseg.io.raster import RasterSource

_NEAREST = 8
"""Edge places that a wall looks at."""
_CELL_PX = 4
"""Side of the squares, in pixels of the elevation model, in which edge places are taken together by the median."""
_WALL_POINTS = 64
"""Points of a wall at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """Heights of the water's edge."""

    places: NDArray[np.float64]
    """(n, 2) in metres."""
    heights: NDArray[np.float64]
    """(n,) metres."""

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the height of the water at points (m, 2) in metres; NaN if no edge is known.

        The mean of the nearest edge places, weighted by the inverse square of their distance.
        """
        if not len(self.heights):
            return np.full(len(points), np.nan)
        count = min(_NEAREST, len(self.heights))
        away, which = cKDTree(self.places).query(points, k=np.arange(1, count + 1))
        weight = 1 / np.maximum(away, 1e-3) ** 2
        return np.asarray((self.heights[which] * weight).sum(axis=1) / weight.sum(axis=1))


def find_surface(flood: Flood, dem: RasterSource, metric: CRS) -> Surface:
    """Measure the height of the ground where the water ends.

    Memory grows with the length of that edge, not with the area.
    """
    pixel_m = pixel_size_m(dem.geobox)
    cell_m = _CELL_PX * pixel_m
    rows = [np.zeros((0, 3))]
    with dem.open() as raster:
        for points in flood.shores(_units_of(pixel_m, flood)):
            heights = sample_heights(raster, dem.geobox, points, flood.crs)
            places = move_points(points, flood.crs, metric)
            # a map in metres does not reach around the globe
            known = np.isfinite(heights) & np.isfinite(places).all(axis=1)
            rows.append(_gather(places[known], heights[known], cell_m))
    table = np.concatenate(rows)
    # squares that several blocks share
    merged = _gather(table[:, :2], table[:, 2], cell_m)
    return Surface(places=merged[:, :2], heights=merged[:, 2])


def measure_depths(
    outlines: NDArray[np.object_], crs: str, surface: Surface, dem: RasterSource, metric: CRS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the largest and the mean depth along the walls of buildings, metres, each (n,); NaN where the ground has no height.

    Dry parts of a wall count as 0 in the mean.
    """
    step = pixel_size_m(dem.geobox)
    walls = [_walk_wall(wall, step) for wall in shapely.boundary(move(outlines, crs, metric))]
    owner = np.repeat(np.arange(len(walls)), [len(wall) for wall in walls])
    points = np.concatenate([np.zeros((0, 2)), *walls])
    with dem.open() as raster:
        ground = sample_heights(raster, dem.geobox, points, metric)
    depth = np.maximum(surface.at(points) - ground, 0.0)
    known = np.isfinite(depth)
    grouped = pd.Series(depth[known]).groupby(owner[known])
    every = np.arange(len(outlines))
    return grouped.max().reindex(every).to_numpy(float), grouped.mean().reindex(every).to_numpy(float)


def _walk_wall(wall: shapely.Geometry, step_m: float) -> NDArray[np.float64]:
    count = int(np.clip(np.ceil(wall.length / max(step_m, 0.25)), 8, _WALL_POINTS))
    parts = shapely.get_parts(wall)
    shares = [max(4, round(count * part.length / wall.length)) for part in parts]
    points = [shapely.line_interpolate_point(part, np.arange(n) / n, normalized=True) for part, n in zip(parts, shares, strict=True)]
    return np.asarray(shapely.get_coordinates(np.concatenate(points)))


def _gather(places: NDArray[np.float64], heights: NDArray[np.float64], cell_m: float) -> NDArray[np.float64]:
    """Return the mean place and the median height of each square, (n, 3)."""
    square = np.floor(places / cell_m).astype(np.int64)
    table = pd.DataFrame({"i": square[:, 0], "j": square[:, 1], "x": places[:, 0], "y": places[:, 1], "z": heights})
    grouped = table.groupby(["i", "j"])
    return np.asarray(grouped[["x", "y"]].mean().assign(z=grouped["z"].median()).to_numpy(float).reshape(-1, 3))


def _units_of(length_m: float, flood: Flood) -> float:
    """Return about how many units of the flood's CRS a length is."""
    box = shapely.box(*flood.bounds)
    (area_m2,) = measure_areas(np.array([box], dtype=object), flood.crs)
    return float(length_m * np.sqrt(box.area / area_m2))
