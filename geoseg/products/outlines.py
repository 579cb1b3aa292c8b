"""Building outlines of any vector file, straightened."""

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import UsageError
from geoseg.io.columns import replace_columns
from geoseg.io.ground import measure_polygons
from geoseg.io.vector import check_output, open_vector, read_vector
from geoseg.objects.options import RegularizeOptions
from geoseg.objects.regularize import RegularizeStatus, regularize
from geoseg.products.features import mend
from geoseg.products.zonal import take_polygons

_WORST_FIRST = (RegularizeStatus.UNCHANGED, RegularizeStatus.SIMPLIFIED, RegularizeStatus.CIRCLE, RegularizeStatus.REGULARIZED)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlineOptions:
    """How a vector file of buildings is straightened."""

    drawing: RegularizeOptions = field(default_factory=RegularizeOptions)
    """What outlines become, and how far they may move."""
    layer: str | None = None
    """Layer to read; None takes the first."""
    overwrite: bool = False
    """Replace an existing file."""


def regularize_file(path: Path, output: Path, options: OutlineOptions) -> dict[str, int]:
    """Straighten the polygons of a vector file and write them in its CRS, all columns kept.

    Polygons are straightened in the UTM zone of the layer's middle, a conformal map: right angles there are right angles on the ground,
    and lengths are true within 1 % up to 8 degrees from its meridian. All are held in memory, since neighbors share walls.

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
    table = read_vector(path, None, layer)
    table = table.set_geometry(table.geometry.map(take_polygons))
    found = table[table.geometry.notna() & ~table.geometry.is_empty]
    others = int((~found.geom_type.isin(["Polygon", "MultiPolygon"])).sum())
    if found.empty or others:
        raise UsageError(
            f"{path} holds {len(found) - others} polygons and {others} other shapes; outlines of buildings are polygons. "
            "Leave out what is none."
        )
    return found


def _regularize(table: gpd.GeoDataFrame, path: Path, options: RegularizeOptions) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Return (n,) geometries in the CRS of a table and what became of each."""
    shapes = np.asarray(table.geometry.array, dtype=object)
    parts, owner = shapely.get_parts(shapes, return_index=True)
    try:
        zone = table.estimate_utm_crs()
    except RuntimeError as exc:
        raise UsageError(f"{path} lies in no UTM zone, as its middle is near a pole: {exc}.") from exc
    done = regularize(_project(parts, table.crs, zone), options)
    # what stays keeps its very coordinates
    placed, _ = mend(np.where(done.status == RegularizeStatus.UNCHANGED, parts, _project(done.outlines, zone, table.crs)))
    drawn, status = shapes.copy(), np.empty(len(shapes), np.object_)
    starts = np.searchsorted(owner, np.arange(len(shapes) + 1))
    for row, (start, stop) in enumerate(pairwise(starts)):
        kept = set(done.status[start:stop])
        status[row] = next(name for name in _WORST_FIRST if name in kept)
        drawn[row] = placed[start] if shapes[row].geom_type == "Polygon" else shapely.multipolygons(placed[start:stop])
    return drawn, status


def _project(shapes: NDArray[np.object_], crs: Any, to: Any) -> NDArray[np.object_]:
    return np.asarray(gpd.GeoSeries(shapes, crs=crs).to_crs(to).array, dtype=object)
