"""The tables and polygons of a run: valid, complete, without gaps and overlaps, and as many as the summary says."""

from collections.abc import Iterator

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from geoseg.config import make_config
from geoseg.io.ground import pixel_step_m
from geoseg.io.raster import open_raster
from geoseg.io.vector import list_layers, read_layer
from geoseg.objects.coverage import find_misfits
from geoseg.pixels.classes import NODATA_CLASS
from geoseg.runfolder.verification.run import CheckedRun

_TYPES = {"landcover": "Polygon", "buildings": "Polygon", "roads": "LineString", "road_nodes": "Point"}
_COUNTED = {"landcover": "landcover", "buildings": "buildings", "panoptic": "segments", "roads": "roads"}
"""Layers, and the name of their count in the summary."""
_ROUNDING = 1e-6
_NARROWEST = 0.1
"""Least size of a pixel that counts, as a share of the middle one: at a pole it has none."""
"""Share of an area that coordinates on the ground, stored as doubles, may lose or win."""


def read_table(run: CheckedRun, layer: str) -> gpd.GeoDataFrame | pd.DataFrame:
    """Read a layer of ``features.gpkg``.

    Raises:
        UsageError: If it is not there or cannot be read.
        LookupError: If there is no such file.
    """
    path = run.product("features.gpkg")
    if path is None:
        raise LookupError("there is no features.gpkg")
    return read_layer(path, layer)


def look_at_counts(run: CheckedRun) -> Iterator[str]:
    """Compare the number of features in each layer with the summary."""
    path = run.product("features.gpkg")
    if path is None:
        raise LookupError("there is no features.gpkg")
    layers = list_layers(path)
    wanted = run.record.get("run", {}).get("outputs", ())
    for layer, key in _COUNTED.items():
        if key in run.counts and layer in wanted and layers.get(layer) != run.counts[key]:
            found = "is missing" if layer not in layers else f"holds {layers[layer]} features"
            yield f"layer {layer} {found}, the summary counts {run.counts[key]}"


def look_at_geometry(run: CheckedRun) -> Iterator[str]:
    """Look whether all shapes are there, valid, of the layer's type and inside the raster."""
    path = run.product("features.gpkg")
    if path is None:
        raise LookupError("there is no features.gpkg")
    source = run.summary["source"]
    a, _, c, _, e, f = source["transform"]
    height, width = run.shape
    left, right = sorted((c, c + a * width))
    bottom, top = sorted((f, f + e * height))
    frame = shapely.box(left, bottom, right, top).buffer(1e-6 * max(right - left, top - bottom), join_style="mitre")
    for layer in list_layers(path):
        if layer not in _TYPES:
            continue
        table = read_table(run, layer)
        shapes = table.geometry.to_numpy()
        absent = shapely.is_missing(shapes) | shapely.is_empty(shapes)
        faults = {
            "have no shape": absent,
            f"are no {_TYPES[layer]}": (table.geometry.geom_type != _TYPES[layer]).to_numpy() & ~absent,
            "are not valid": ~shapely.is_valid(shapes) & ~absent,
            "reach out of the raster": ~shapely.covers(frame, shapes) & ~absent,
        }
        for what, where in faults.items():
            if where.any():
                yield f"{int(where.sum())} features of {layer} {what}, first feature {int(np.flatnonzero(where)[0]) + 1}"


def look_at_coverage(run: CheckedRun) -> Iterator[str]:
    """Look whether land cover is a coverage, and covers what the pixels of its classes do.

    A border may have moved by the tolerance that it was simplified with: the area of a class may differ by that, times the length
    of its borders. Nothing grows over nodata: all classes together cover no more than the pixels with data.
    """
    if "landcover" not in run.counts or "landcover" not in run.record.get("run", {}).get("outputs", ()):
        raise LookupError("there is no land cover")
    table = read_table(run, "landcover")
    shapes = np.array(table.geometry, dtype=np.object_)
    # coordinates that are no numbers are told of as not valid
    shapes[~np.isfinite(shapely.area(shapes))] = None
    misfits = find_misfits(shapes)
    if len(misfits):
        yield f"{len(misfits)} polygons of landcover overlap a neighbor, or do not share its border, first feature {misfits[0] + 1}"
    if run.product("classes.tif") is not None:
        yield from _compare_areas(run, table)


def _compare_areas(run: CheckedRun, table: gpd.GeoDataFrame) -> Iterator[str]:
    """Compare in pixels, which are exact in every CRS."""
    settings = make_config({}, run.folder.record).objects.landcover
    geobox = open_raster(run.folder.path / "classes.tif").geobox
    step = pixel_step_m(geobox)
    # a corner that is cut off lies within the two edges between which it lay
    # where pixels are smallest on the ground, metres are most pixels
    steps = np.array([step, *(pixel_step_m(geobox, row) for row in (0.5, geobox.shape[0] - 0.5))])
    smallest = max(float(np.nanmin(steps)), _NARROWEST * min(step))
    reach_px = settings.vectorize_options(step).simplify_m / smallest + (2.0 if settings.smooth_rounds else 0.0)
    shapes = shapely.transform(table.geometry.to_numpy(), lambda points: np.column_stack(~geobox.transform @ (points[:, 0], points[:, 1])))
    area, border, values = shapely.area(shapes), shapely.length(shapes), table["class_value"].to_numpy()
    rows = [row for row in run.summary["classes"] if row["value"] != NODATA_CLASS]
    for row in rows if not settings.min_area_m2 else ():
        drawn, pixels, free = _totals(area, border, values == row["value"], row["pixels"], reach_px)
        if abs(drawn - pixels) > free:
            yield f"landcover draws {drawn:.1f} px of {row['name']}, {pixels} px have it; borders may take {free:.1f} px"
    drawn, pixels, free = _totals(area, border, values >= 0, sum(row["pixels"] for row in rows), reach_px)
    if drawn > pixels * (1 + _ROUNDING) or pixels - drawn > free:
        yield f"landcover draws {drawn:.1f} px in all, {pixels} px have data"


def _totals(
    area: NDArray[np.float64], border: NDArray[np.float64], here: NDArray[np.bool_], pixels: int, reach_px: float
) -> tuple[float, int, float]:
    """Return what is drawn, what there is, and by how much they may differ, in pixels."""
    return float(area[here].sum()), pixels, reach_px * float(border[here].sum()) + _ROUNDING * pixels + 0.01


def look_at_roads(run: CheckedRun) -> Iterator[str]:
    """Look whether every road begins and ends at a node that is there."""
    if "roads" not in run.counts or run.product("features.gpkg") is None:
        raise LookupError("there are no roads")
    roads, nodes = read_table(run, "roads"), read_table(run, "road_nodes")
    known = nodes["node_id"]
    for end in ("from_node", "to_node"):
        lost = int((~roads[end].isin(known)).sum())
        if lost:
            yield f"{lost} roads have a {end} that is not among the nodes"
