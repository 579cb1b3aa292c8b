"""People in buildings, from a raster of people: those of a pixel live in its buildings, by their area."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window
from shapely import STRtree
from shapely.geometry import mapping

from geoseg.impact.metric import move
from geoseg.impact.options import PopulationUnit
from geoseg.io.ground import row_areas_m2
from geoseg.io.raster import RasterSource
from geoseg.products.zonal import bounds_on_pixels, clip_around, place_on_pixels
from geoseg.tiling import partition

_BLOCK_PX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Where people live."""

    in_buildings: NDArray[np.float64]
    """(n,) people of each building."""
    is_beyond: NDArray[np.bool_]
    """(n,) whether it lies on no pixel of the raster."""
    without_building: float
    """People of pixels, below the buildings' bounds, in which no building stands; they are placed nowhere."""


def place_people(buildings: NDArray[np.object_], crs: str, population: RasterSource, unit: PopulationUnit) -> People:
    """Share the people of each pixel out among the buildings in it.

    A building takes part by the share of the pixel that it covers.

    Args:
        buildings: (n,) polygons.
        crs: Their CRS.
        population: People in its first band; negative values are none.
        unit: People in the pixel, or people per square kilometre of ground.
    """
    found, elsewhere, is_beyond = np.zeros(len(buildings)), 0.0, np.ones(len(buildings), bool)
    for block in _cover_blocks(buildings, crs, population, unit):
        total = np.bincount(block.cell, block.covered, minlength=block.people.size)
        is_beyond[block.owner] = False
        share = np.divide(block.covered, total[block.cell], out=np.zeros_like(block.covered), where=total[block.cell] > 0)
        found += np.bincount(block.owner, share * block.people[block.cell], minlength=len(buildings))
        elsewhere += float(block.people[(total == 0) & block.is_near].sum())
    return People(in_buildings=found, is_beyond=is_beyond, without_building=elsewhere)


def count_people(zones: NDArray[np.object_], crs: str, population: RasterSource, unit: PopulationUnit) -> NDArray[np.float64]:
    """Return the people of zones, (n,); those of a pixel on a border count by the part of it that lies inside."""
    found = np.zeros(len(zones))
    for block in _cover_blocks(zones, crs, population, unit):
        found += np.bincount(block.owner, block.covered * block.people[block.cell], minlength=len(zones))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """What polygons cover of a block of pixels."""

    people: NDArray[np.float64]
    """(pixels,) people, row by row."""
    is_near: NDArray[np.bool_]
    """(pixels,) whether the pixel touches the bounds of all polygons."""
    owner: NDArray[np.int64]
    """(m,) a polygon,"""
    cell: NDArray[np.int64]
    """(m,) a pixel that it touches,"""
    covered: NDArray[np.float64]
    """(m,) and the share of that pixel which it covers."""


def _cover_blocks(polygons: NDArray[np.object_], crs: str, population: RasterSource, unit: PopulationUnit) -> Iterator[_Block]:
    geobox = population.geobox
    assert geobox.crs is not None, "open_raster refuses rasters without a CRS"
    placed = shapely.transform(move(polygons, crs, geobox.crs.to_wkt()), partial(place_on_pixels, ~geobox.transform))
    tree, areas, bounds = STRtree(placed), row_areas_m2(geobox), shapely.total_bounds(placed)
    with population.open() as raster:
        for window in partition(population.shape, _BLOCK_PX):
            box = shapely.box(*bounds_on_pixels(window))
            if not shapely.intersects(shapely.box(*bounds), box):
                continue
            pixels, valid = raster.read(window)
            people = np.where(valid & (pixels[0] > 0), pixels[0], 0).astype(np.float64)
            if unit == "density":
                people *= areas[window.row_off : window.row_off + window.height, None] / 1e6
            inside = tree.query(box, predicate="intersects")
            owner, cell, covered = _cover(people, placed[inside], window)
            near = _is_near(bounds, window)
            yield _Block(people=people.ravel(), is_near=near.ravel(), owner=inside[owner], cell=cell, covered=covered)


def _cover(
    people: NDArray[np.float64], polygons: NDArray[np.object_], window: Window
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return which polygons cover which pixels, and how much of them (exactextract)."""
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    if not len(polygons):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    left, bottom, right, top = bounds_on_pixels(window)
    source = NumPyRasterSource(people, xmin=left, ymin=bottom, xmax=right, ymax=top)
    shapes = [{"type": "Feature", "geometry": mapping(polygon), "properties": {}} for polygon in clip_around(polygons, window)]
    rows = [row["properties"] for row in exact_extract(source, shapes, ["cell_id", "coverage"])]
    owner = np.repeat(np.arange(len(rows)), [len(row["cell_id"]) for row in rows])
    cell = np.concatenate([row["cell_id"] for row in rows]).astype(np.int64)
    return owner, cell, np.concatenate([row["coverage"] for row in rows])


def _is_near(bounds: NDArray[np.float64], window: Window) -> NDArray[np.bool_]:
    """Tell which pixels (H, W) of a window touch bounds."""
    left, bottom, right, top = bounds
    cols, rows = np.arange(window.width) + window.col_off, np.arange(window.height) + window.row_off
    return np.asarray(np.logical_and.outer((rows < -bottom) & (rows + 1 > -top), (cols < right) & (cols + 1 > left)))
