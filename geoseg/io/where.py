"""Where on the ground a run works: inside an area of interest and a box, outside what is excluded."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import shapely
from odc.geo.geobox import GeoBox
from rasterio.warp import transform_bounds, transform_geom
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from geoseg.errors import AreaError, UsageError
from geoseg.io.sources.dataset import FOREIGN

_STEP_DEG = 0.01
"""Sides of a box in degrees are cut into pieces of that length, since they are no straight lines in other CRSs."""
_MOST_STEPS = 100
_GLOBE = (-180.0, -90.0, 180.0, 90.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What part of the rasters is wanted."""

    aoi: Path | None = None
    """Vector file; only inside its polygons."""
    bbox: tuple[float, float, float, float] | None = None
    """West, south, east and north in degrees; only inside."""
    exclude: Path | None = None
    """Vector file; only outside its polygons."""


def find_area(where: Where, geobox: GeoBox, raster: str) -> BaseGeometry | None:
    """Return the wanted part of a raster in its CRS; None wants all of it.

    Args:
        where: What is wanted.
        geobox: Grid of the raster.
        raster: Its name, for messages.

    Raises:
        MissingFileError: If a vector file is not there.
        AreaError: If nothing of the raster is wanted.
        UsageError: If a file holds no polygons.
    """
    area: BaseGeometry | None = None
    if where.aoi is not None:
        polygons = _read_polygons(where.aoi, geobox, "area of interest")
        area = shapely.intersection(polygons, geobox.extent.geom)
        if area.area == 0:
            raise AreaError(
                f"The area of interest {where.aoi} does not touch {raster}: it spans {_bounds(polygons.bounds)}, "
                f"the raster {_bounds(geobox.boundingbox)} in {geobox.crs}. Check its CRS."
            )
    if where.bbox is not None:
        area = shapely.intersection(_project_box(where.bbox, geobox), geobox.extent.geom if area is None else area)
        if area.area == 0:
            raise AreaError(
                f"The box {_bounds(where.bbox)} (west, south, east, north in degrees) holds nothing of {raster}, "
                f"which spans {_bounds(in_degrees(geobox))}. Check --bbox."
            )
    if where.exclude is not None:
        excluded = _read_polygons(where.exclude, geobox, "excluded area")
        area = shapely.difference(geobox.extent.geom if area is None else area, excluded)
        if area.area == 0:
            raise AreaError(f"The excluded area {where.exclude} leaves nothing of {raster}. Check --exclude.")
    return area


def check_box(box: tuple[float, float, float, float]) -> None:
    """Refuse numbers that are no box in degrees.

    Raises:
        UsageError: If a side is off the globe, or the sides are in the wrong order.
    """
    west, south, east, north = box
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise UsageError(f"--bbox takes WEST,SOUTH,EAST,NORTH in degrees, for example 85.51,27.62,85.53,27.64; got {_bounds(box)}.")


def _read_polygons(path: Path, geobox: GeoBox, what: str) -> BaseGeometry:
    # loads geopandas, which most runs never need
    from geoseg.io.polygons import read_polygons

    return shapely.union_all(read_polygons(path, geobox.crs, what).geometry.to_numpy())


def _project_box(box: tuple[float, float, float, float], geobox: GeoBox) -> BaseGeometry:
    check_box(box)
    assert geobox.crs is not None, "a run has a CRS"
    try:
        # far from the raster its CRS may have no coordinates
        near = shapely.intersection(shapely.box(*box), _around(geobox))
        if near.area == 0:
            return near
        west, south, east, north = near.bounds
        outline = shapely.segmentize(near, max(_STEP_DEG, max(east - west, north - south) / _MOST_STEPS))
        placed = transform_geom("EPSG:4326", geobox.crs.to_wkt(), mapping(outline))
    except (*FOREIGN, SystemError) as exc:  # GDAL has no message for some points
        raise UsageError(f"The box {_bounds(box)} has no place in {geobox.crs}: {exc}. Check --bbox.") from exc
    return shapely.make_valid(shape(placed))


def _around(geobox: GeoBox) -> BaseGeometry:
    """Return a box in degrees that holds a raster with room to spare; the globe where the raster is at one of its ends."""
    west, south, east, north = in_degrees(geobox)
    spare = max(_STEP_DEG, east - west, north - south)
    box = west - spare, south - spare, east + spare, north + spare
    inside = west < east and box[0] >= -180 and box[2] <= 180 and box[1] >= -90 and box[3] <= 90
    return shapely.box(*(box if inside else _GLOBE))


def in_degrees(geobox: GeoBox) -> tuple[float, float, float, float]:
    """Return west, south, east and north of a grid with a CRS, in degrees."""
    assert geobox.crs is not None, "a run has a CRS"
    west, south, east, north = transform_bounds(geobox.crs.to_wkt(), "EPSG:4326", *geobox.boundingbox)
    return west, south, east, north


def _bounds(numbers: Iterable[float]) -> str:
    return "(" + ", ".join(f"{n:.6g}" for n in numbers) + ")"
