"""Polygons and lines with classes, from vector files onto the grid of a raster."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize

from geoseg.errors import LabelError, UsageError
from geoseg.io.ground import pixel_step_m
from geoseg.io.vector import read_as_drawn
from geoseg.labels.coding import UNLABELLED, code_classes
from geoseg.labels.site import Site
from geoseg.pixels.classes import ClassScheme

_LINES = ("LineString", "MultiLineString", "LinearRing")
_POINTS = ("Point", "MultiPoint")


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Valid geometries that touch a raster, in its CRS."""

    table: gpd.GeoDataFrame
    """Geometries and columns; none is missing, empty or invalid."""
    notes: tuple[str, ...]
    """What was repaired or left out, with numbers."""


def read_features(path: Path, geobox: GeoBox, layer: str | None = None) -> Features:
    """Read the features of a file that touch a raster, and count what was repaired or left out.

    Raises:
        MissingFileError: If there is no such file.
        LabelError: If it is no vector file, or declares no CRS.
    """
    try:
        table = read_as_drawn(path, geobox.crs, layer)
    except UsageError as exc:
        raise LabelError(str(exc)) from exc
    there = ~(table.geometry.isna() | table.geometry.is_empty)
    drawn = table[there]
    broken = ~drawn.geometry.is_valid
    valid = drawn.set_geometry(drawn.geometry.make_valid())
    here = valid.geometry.intersects(shapely.box(*geobox.boundingbox))
    counts = (
        (int((~there).sum()), "features have no geometry and were left out"),
        (int(broken.sum()), "invalid geometries were repaired"),
        (int((~here).sum()), f"of {len(table)} features lie outside the raster"),
    )
    notes = tuple(f"{path.name}: {count} {what}" for count, what in counts if count)
    return Features(table=valid[here], notes=notes)


def only_polygons(found: Features, path: Path, *, needed: bool) -> Features:
    """Leave out what has no area, and count it.

    Raises:
        LabelError: If nothing is left of what was there, and some is needed.
    """
    flat = shapely.area(found.table.geometry.to_numpy()) == 0
    if not flat.any():
        return found
    if flat.all() and needed:
        kinds = ", ".join(sorted(set(found.table.geometry.geom_type)))
        raise LabelError(
            f"{path} holds {kinds}; outlines of buildings are polygons. Turn closed lines into polygons first, and points into outlines."
        )
    note = f"{path.name}: {int(flat.sum())} features are no polygons and were left out"
    return Features(table=found.table[~flat], notes=(*found.notes, note))


def read_classes(site: Site, paths: Mapping[str, Path], geobox: GeoBox, scheme: ClassScheme) -> Features:
    """Read the labels of a site of kind ``vectors`` with a column ``channel``, in the order in which they are drawn.

    Args:
        site: Column, values, widths.
        paths: Label file by class name; the empty name stands for a file with a class column.
        geobox: Grid of the raster.
        scheme: The classes.

    Raises:
        LabelError: If there are unknown classes, or lines without a width.
    """
    tables, notes = [], []
    for name, path in paths.items():
        found = read_features(path, geobox, site.layer)
        channel = np.full(len(found.table), channel_of(name, scheme)) if name else _column_channels(found.table, path, site, scheme)
        shapes, more = _as_areas(found.table.assign(channel=channel), path, site, scheme, geobox)
        tables.append(shapes if name else shapes.sort_values("channel", kind="stable"))
        notes += [*found.notes, *more]
    merged = pd.concat([table[["channel", "geometry"]] for table in tables], ignore_index=True)
    # what is to be ignored hides whatever lies below it
    last = (merged["channel"] == UNLABELLED).to_numpy()
    return Features(table=pd.concat([merged[~last], merged[last]], ignore_index=True), notes=tuple(notes))


def burn(table: gpd.GeoDataFrame, geobox: GeoBox, fill: int) -> NDArray[np.uint8]:
    """Draw the features of a table with a column ``channel`` in their order; pixels count whose centers are covered."""
    pairs = list(zip(table.geometry, table["channel"].astype(int), strict=True))
    shape = (int(geobox.shape[0]), int(geobox.shape[1]))
    if not pairs:
        return np.full(shape, fill, np.uint8)
    drawn: NDArray[np.uint8] = rasterize(pairs, shape, fill=fill, transform=geobox.transform, dtype="uint8")
    return drawn


def outline(geometries: Any, geobox: GeoBox) -> NDArray[np.bool_]:
    """Return the pixels (H, W) that the boundaries of polygons touch."""
    shape = (int(geobox.shape[0]), int(geobox.shape[1]))
    lines = [line for line in geometries.boundary if line is not None and not line.is_empty]
    if not lines:
        return np.zeros(shape, bool)
    drawn: NDArray[np.bool_] = rasterize(lines, shape, transform=geobox.transform, all_touched=True) == 1
    return drawn


def channel_of(name: str, scheme: ClassScheme) -> int:
    """Return the channel of a class name.

    Raises:
        LabelError: If no class has that name.
    """
    names = [c.name for c in scheme]
    if name not in names:
        raise LabelError(f"There is no class '{name}'. The classes are {', '.join(names)}.")
    return names.index(name)


def class_channels(values: pd.Series, site: Site, scheme: ClassScheme) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Return the channel of each value of a class column, and the values that are no class with their counts."""
    # a class that is called 1 may have the value 0
    names = {str(c.value): i for i, c in enumerate(scheme)} | {c.name: i for i, c in enumerate(scheme)}
    known = {text: channel_of(name, scheme) for text, name in site.values.items()} if site.values else names
    known |= {str(value): UNLABELLED for value in site.ignore}
    return code_classes(values, known)


def _column_channels(table: gpd.GeoDataFrame, path: Path, site: Site, scheme: ClassScheme) -> NDArray[np.int64]:
    columns = [name for name in table.columns if name != table.geometry.name]
    if site.column not in columns:
        raise LabelError(f"{path} has no column '{site.column}'. It has {', '.join(columns) or 'none'}; choose one with column.")
    channels, unknown = class_channels(table[site.column], site, scheme)
    if unknown:
        raise LabelError(
            f"{path} column '{site.column}' holds values that are no class: {unknown} (value: features). "
            "Name their class with values, or list them in ignore."
        )
    return channels


def _as_areas(
    table: gpd.GeoDataFrame, path: Path, site: Site, scheme: ClassScheme, geobox: GeoBox
) -> tuple[gpd.GeoDataFrame, tuple[str, ...]]:
    """Buffer lines to their widths and leave out points."""
    kinds = table.geometry.geom_type
    points, lines = kinds.isin(_POINTS).to_numpy(), kinds.isin(_LINES).to_numpy()
    shapes = table.geometry.to_numpy().copy()
    if lines.any():
        shapes[lines] = _buffer(shapes[lines], _widths(table[lines], path, site, scheme), geobox)
    notes = (f"{path.name}: {int(points.sum())} points were left out",) if points.any() else ()
    return table.set_geometry(gpd.GeoSeries(shapes, index=table.index, crs=table.crs))[~points], notes


def _widths(table: gpd.GeoDataFrame, path: Path, site: Site, scheme: ClassScheme) -> NDArray[np.float64]:
    """Return the width of each line in metres."""
    per_class = site.width_m if isinstance(site.width_m, dict) else {c.name: site.width_m for c in scheme}
    by_channel = {channel_of(name, scheme): width for name, width in per_class.items()}
    fallback = table["channel"].map(by_channel).astype(float).to_numpy()
    given = np.full(len(table), np.nan)
    if site.width_column is not None:
        if site.width_column not in table.columns:
            raise LabelError(f"{path} has no column '{site.width_column}' for the widths of its lines.")
        given = pd.to_numeric(table[site.width_column], errors="coerce").to_numpy(float)
    widths = np.where(given > 0, given, fallback)
    # lines that are to be ignored are as wide as the widest
    widths[(table["channel"] == UNLABELLED) & np.isnan(widths)] = np.nanmax(widths, initial=0.0) or np.nan
    missing = int((~(widths > 0)).sum())
    if missing:
        raise LabelError(f"{path} holds {missing} lines without a width. Give width_m or width_column, in metres.")
    return widths


def _buffer(lines: NDArray[np.object_], width_m: NDArray[np.float64], geobox: GeoBox) -> NDArray[np.object_]:
    """Buffer on the ground, whatever the CRS: in pixels that are scaled to metres."""
    to_metres = Affine.scale(*pixel_step_m(geobox)) @ ~geobox.transform
    flat = shapely.transform(lines, lambda points: _apply(to_metres, points))
    areas = shapely.buffer(flat, width_m / 2)
    return np.asarray(shapely.transform(areas, lambda points: _apply(~to_metres, points)))


def _apply(transform: Affine, points: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c, d, e, f = tuple(transform)[:6]
    x, y = points[:, 0], points[:, 1]
    return np.column_stack([a * x + b * y + c, d * x + e * y + f])
