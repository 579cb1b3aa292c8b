"""Objects in pixel coordinates to tables on the ground, with the columns of the run folder."""

import math
from collections.abc import Iterable
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.io.ground import measure_areas, measure_lines, measure_polygons, pixel_size_m, pixel_step_m, pixel_steps_m
from geoseg.objects.instances import InstanceTable
from geoseg.objects.options import RegularizeOptions
from geoseg.objects.outlines.cut import cut_off, largest_polygon
from geoseg.objects.panoptic import Segments
from geoseg.objects.regularize import Regularized, RegularizeStatus, regularize
from geoseg.objects.roads import RoadNetwork
from geoseg.objects.vectorize import Patches
from geoseg.pixels.classes import ClassScheme
from geoseg.products.frame import GroundFrame


def landcover_features(patches: Patches, scheme: ClassScheme, geobox: GeoBox) -> gpd.GeoDataFrame:
    """Return class polygons with ``class_value, class, area_m2``."""
    names = {c.value: c.name for c in scheme}
    polygons, _ = mend(to_ground(patches.polygons, geobox))
    area = measure_areas(polygons, geobox.crs).round(area_decimals(geobox))
    columns = {"class_value": patches.values.astype(np.int32), "class": [names[int(v)] for v in patches.values], "area_m2": area}
    return gpd.GeoDataFrame(columns, geometry=polygons, crs=_crs(geobox))


def building_features(
    patches: Patches,
    table: InstanceTable,
    names: NDArray[np.object_],
    nodata: Iterable[Patches],
    geobox: GeoBox,
    options: RegularizeOptions,
) -> gpd.GeoDataFrame:
    """Return the polygons of buildings, regularized, without what reaches into nodata or out of the raster, with what is known of them.

    Args:
        patches: Their outlines in pixels, one for each instance.
        table: What is known of each instance.
        names: (n,) class of each instance.
        nodata: Polygons without data, in batches; only those near outlines are held.
        geobox: The grid.
        options: How outlines are straightened.

    Returns:
        A row for each building: ``instance_id, class, score, area_m2, perimeter_m, touches_edge, touches_nodata, status``.
    """
    order = np.argsort(patches.values, kind="stable")
    ids = patches.values[order]
    done = _regularize_on_ground(patches.polygons[order], geobox, options)
    outlines = cut_off(done.outlines, _take_near(nodata, done.outlines), (int(geobox.shape[0]), int(geobox.shape[1])))
    polygons, mended = mend(to_ground(outlines, geobox))
    status = done.status.copy()
    status[mended] = RegularizeStatus.SIMPLIFIED
    area, perimeter = measure_polygons(polygons, geobox.crs)
    columns = {
        "instance_id": ids,
        "class": names[ids - 1],
        "score": table.score[ids - 1].round(4),
        "area_m2": area.round(2),
        "perimeter_m": perimeter.round(2),
        "touches_edge": table.touches_edge[ids - 1],
        "touches_nodata": table.touches_nodata[ids - 1],
        "status": status.astype(str),
    }
    return gpd.GeoDataFrame(columns, geometry=polygons, crs=_crs(geobox))


def _take_near(batches: Iterable[Patches], outlines: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return the polygons whose bounds meet those of an outline."""
    around = shapely.STRtree(shapely.box(*shapely.bounds(outlines).T))
    near = [np.empty(0, np.object_)]
    for batch in batches:
        found, _ = around.query(shapely.box(*shapely.bounds(batch.polygons).T))
        near.append(batch.polygons[np.unique(found)])
    return np.concatenate(near)


def segment_table(segments: Segments, table: InstanceTable, scheme: ClassScheme, geobox: GeoBox) -> pd.DataFrame:
    """Return the legend of ``panoptic.tif``: ``segment_id, class_value, class, instance_id, is_thing, pixels, area_m2, score``.

    The score of an instance is the one of its building, that of a surface its mean confidence.
    """
    names = {c.value: c.name for c in scheme}
    is_thing = segments.instance_id > 0
    score = segments.score.copy()
    score[is_thing] = table.score[segments.instance_id[is_thing] - 1]
    return pd.DataFrame(
        {
            "segment_id": np.arange(1, len(segments) + 1),
            "class_value": segments.class_value.astype(np.int32),
            "class": [names.get(int(value), "building") for value in segments.class_value],
            "instance_id": segments.instance_id,
            "is_thing": is_thing,
            "pixels": segments.pixels,
            "area_m2": segments.area_m2.round(area_decimals(geobox)),
            "score": score.round(4),
        }
    )


def road_features(network: RoadNetwork, geobox: GeoBox) -> gpd.GeoDataFrame:
    """Return centrelines with ``edge_id, from_node, to_node, length_m, width_m, score, bridged_m``."""
    lines = to_ground(network.lines, geobox)
    scale = _scale_of_rows(network.lines, geobox)
    columns = {
        "edge_id": np.arange(1, len(lines) + 1),
        "from_node": network.from_node + 1,
        "to_node": network.to_node + 1,
        "length_m": measure_lines(lines, geobox.crs).round(2),
        "width_m": (network.width_m * scale).round(2),
        "score": network.score.round(4),
        "bridged_m": (network.bridged_m * scale).round(2),
    }
    return gpd.GeoDataFrame(columns, geometry=lines, crs=_crs(geobox))


def _scale_of_rows(lines: NDArray[np.object_], geobox: GeoBox) -> NDArray[np.float64]:
    """Return (n,) how much larger pixels are where a line lies than in the middle row, in which roads are measured."""
    if geobox.crs is None or len(lines) == 0:
        return np.ones(len(lines))
    bounds = shapely.bounds(lines)
    width, height = pixel_steps_m(geobox, (bounds[:, 1] + bounds[:, 3]) / 2)
    return np.sqrt(width * height / np.prod(pixel_step_m(geobox)))


def road_node_features(network: RoadNetwork, geobox: GeoBox) -> gpd.GeoDataFrame:
    """Return crossings and ends of roads with ``node_id, degree``."""
    points = to_ground(shapely.points(network.node_xy), geobox)
    degree = np.bincount(np.concatenate([network.from_node, network.to_node]).astype(np.int64), minlength=len(points))
    return gpd.GeoDataFrame({"node_id": np.arange(1, len(points) + 1), "degree": degree}, geometry=points, crs=_crs(geobox))


def area_decimals(geobox: GeoBox) -> int:
    """Return the decimals of an area in m2 that tell a pixel to a tenth, at least two, so that small patches add up."""
    return max(2, 1 + math.ceil(-2 * math.log10(pixel_size_m(geobox))))


def to_ground(geometries: NDArray[np.object_], geobox: GeoBox) -> NDArray[np.object_]:
    """Move geometries from pixel coordinates into the CRS of a grid."""
    a, b, c, d, e, f = tuple(geobox.transform)[:6]

    def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points[:, 0], points[:, 1]
        return np.column_stack([a * x + b * y + c, d * x + e * y + f])

    return np.asarray(shapely.transform(np.asarray(geometries, dtype=object), place))


def mend(polygons: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Repair polygons that the rounding of coordinates on the ground made cross themselves, by less than a square millimetre.

    Returns:
        (n,) valid polygons, and the rows that were repaired.
    """
    mended = polygons.copy()
    rows = np.flatnonzero(~shapely.is_valid(polygons))
    for row in rows:
        sound = shapely.make_valid(polygons[row], method="structure", keep_collapsed=False)
        if polygons[row].geom_type == "Polygon":
            sound = largest_polygon(sound)
        if sound is not None:
            mended[row] = sound
    return mended, rows


def _regularize_on_ground(polygons: NDArray[np.object_], geobox: GeoBox, options: RegularizeOptions) -> Regularized:
    """Regularize in metres, where right angles are right; return pixels."""
    frame = GroundFrame.of(geobox)
    done = regularize(frame.to_metres(polygons), options)
    return replace(done, outlines=frame.to_pixels(done.outlines))


def _crs(geobox: GeoBox) -> str | None:
    return None if geobox.crs is None else geobox.crs.to_wkt()
