"""Building outlines of any vector file, straightened."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.errors import UsageError
from geoseg.io.columns import replace_columns
from geoseg.io.ground import measure_polygons
from geoseg.io.polygons import take_polygons
from geoseg.io.vector import check_output, list_drawn, open_vector, read_as_drawn, read_vector
from geoseg.objects.options import RegularizeOptions
from geoseg.objects.regularize import RegularizeStatus, regularize
from geoseg.products.features import mend

_AREAS = ["Polygon", "MultiPolygon", "GeometryCollection"]
_FARTHEST_DEG = 8.0
"""From the meridian of a UTM zone, up to which lengths are true within 1 %."""
_WORST_FIRST = (RegularizeStatus.UNCHANGED, RegularizeStatus.SIMPLIFIED, RegularizeStatus.CIRCLE, RegularizeStatus.REGULARIZED)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlineOptions:
    """How a vector file of buildings is straightened."""

    drawing: RegularizeOptions = field(default_factory=RegularizeOptions)
    """What outlines become, and how far they may move."""
    layer: str | None = None
    """Layer to read; None takes the only one."""
    overwrite: bool = False
    """Replace an existing file."""


def regularize_file(path: Path, output: Path, options: OutlineOptions) -> dict[str, int]:
    """Straighten the polygons of a vector file and write them in its CRS, all columns kept.

    Polygons are straightened in the UTM zone of the layer's middle, a conformal map: right angles there are right angles on the ground,
    and lengths are true within 1 % up to 8 degrees from its meridian. What lies farther off is straightened in the zone that it lies in,
    neighbors together. All are held in memory, since neighbors share walls.

    Args:
        path: Polygons in any CRS; parts of multipolygons are straightened each, features without a shape are left out.
        output: GeoPackage, FlatGeobuf, GeoJSON or Shapefile, with the columns ``area_m2``, ``perimeter_m`` and ``status`` set anew. The
            status of a multipolygon is that of its part that kept most.
        options: How.

    Returns:
        Number of features of each status.

    Raises:
        MissingFileError: If there is no such file.
        UsageError: If it holds no polygon or no CRS, or the output exists or has an unknown ending.
        WriteError: If the disk does not take it.
    """
    check_output(output, options.overwrite)
    table = _read_polygons(path, options.layer)
    drawn, status = _regularize(table, path, options.drawing)
    area, perimeter = measure_polygons(drawn, table.crs)
    columns = {"area_m2": area.round(2), "perimeter_m": perimeter.round(2), "status": status.astype(str)}
    shape = "MultiPolygon" if (table.geom_type == "MultiPolygon").any() else "Polygon"
    with open_vector(output, output.stem, shape) as add:
        add(replace_columns(table.set_geometry(gpd.GeoSeries(drawn, index=table.index, crs=table.crs)), columns))
    return {str(name): int((status == name).sum()) for name in RegularizeStatus}


def _read_polygons(path: Path, layer: str | None) -> gpd.GeoDataFrame:
    names = list_drawn(path) if layer is None and path.exists() else []
    if len(names) > 1:
        raise UsageError(f"{path} holds the layers {', '.join(names)}. Say which of them are buildings with --layer.")
    layer = next(iter(names), layer)
    drawn = read_as_drawn(path, None, layer)
    known = drawn.geometry.notna() & ~drawn.geometry.is_empty
    strange = drawn[known & ~drawn.geom_type.isin(_AREAS)]
    if len(strange):
        row = drawn.index.get_loc(strange.index[0]) + 1
        raise UsageError(
            f"{path} holds {len(strange)} shapes that are no polygons, the first a {strange.geom_type.iloc[0]} in row {row}; "
            "outlines of buildings are polygons. Leave them out."
        )
    # a polygon without any area becomes a line or a point by its repair
    table = read_vector(path, None, layer)
    table = table.set_geometry(table.geometry.map(take_polygons))
    found = table[table.geometry.notna() & table.geom_type.isin(_AREAS[:2]) & (shapely.area(table.geometry.to_numpy()) > 0)]
    if found.empty:
        raise UsageError(
            f"{path} holds no polygon with an area among its {len(drawn)} features. Name another layer with --layer, or another file."
        )
    return found


def _regularize(table: gpd.GeoDataFrame, path: Path, options: RegularizeOptions) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Return (n,) geometries in the CRS of a table and what became of each."""
    shapes = np.asarray(table.geometry.array, dtype=object)
    parts, owner = shapely.get_parts(shapes, return_index=True)
    placed, became = parts.copy(), np.empty(len(parts), np.object_)
    for zone, rows in _split_by_zone(parts, table, path):
        done = regularize(_project(parts[rows], table.crs, zone), options)
        # what stays keeps its very coordinates
        placed[rows] = np.where(done.status == RegularizeStatus.UNCHANGED, parts[rows], _project(done.outlines, zone, table.crs))
        became[rows] = done.status
    placed, _ = mend(placed)
    drawn, status = shapes.copy(), np.empty(len(shapes), np.object_)
    starts = np.searchsorted(owner, np.arange(len(shapes) + 1))
    for row, (start, stop) in enumerate(pairwise(starts)):
        kept = set(became[start:stop])
        status[row] = next(name for name in _WORST_FIRST if name in kept)
        drawn[row] = placed[start] if shapes[row].geom_type == "Polygon" else shapely.multipolygons(placed[start:stop])
    return drawn, status


def _split_by_zone(parts: NDArray[np.object_], table: gpd.GeoDataFrame, path: Path) -> Iterator[tuple[Any, NDArray[np.intp]]]:
    """Yield UTM zones and the rows to straighten there: all in that of the middle, but for what lies far from it."""
    try:
        middle = table.estimate_utm_crs()
    except RuntimeError as exc:
        raise UsageError(f"{path} lies in no UTM zone, as its middle is near a pole: {exc}.") from exc
    points = gpd.GeoSeries(shapely.point_on_surface(parts), crs=table.crs).to_crs("EPSG:4326")
    lon, lat = points.x.to_numpy(), points.y.to_numpy()
    off = (lon - _meridian(middle.utm_zone) + 180) % 360 - 180
    if (np.abs(off) <= _FARTHEST_DEG).all():
        yield middle, np.arange(len(parts))
        return
    one, other = shapely.STRtree(parts).query(parts, predicate="intersects")
    graph = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(len(parts), len(parts)))
    _, block = connected_components(graph, directed=False)
    # all of a block lie in the zone of its first part
    first = np.unique(block, return_index=True)[1][block]
    far = np.abs(off[first]) > _FARTHEST_DEG
    if not far.all():
        yield middle, np.flatnonzero(~far)
    number = np.floor((lon[first] + 180) / 6).astype(np.int64) % 60 + 1
    for zone, south in sorted(set(zip(number[far].tolist(), (lat[first][far] < 0).tolist(), strict=True))):
        yield CRS.from_epsg((32700 if south else 32600) + zone), np.flatnonzero(far & (number == zone) & ((lat[first] < 0) == south))


def _meridian(zone: str) -> float:
    return 6.0 * int(zone[:-1]) - 183


def _project(shapes: NDArray[np.object_], crs: Any, to: Any) -> NDArray[np.object_]:
    return np.asarray(gpd.GeoSeries(shapes, crs=crs).to_crs(to).array, dtype=object)
