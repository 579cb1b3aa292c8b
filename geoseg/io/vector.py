"""Reading and writing vector files."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyogrio import get_gdal_config_option, read_dataframe, read_info, set_gdal_config_options, write_dataframe
from pyogrio import list_layers as find_layers
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError
from pyproj.exceptions import CRSError, ProjError
from shapely.errors import GEOSException

from geoseg.errors import GeosegError, MissingFileError, UsageError, WriteError
from geoseg.io.files import is_there, move_whole
from geoseg.io.layerfile import REWRITTEN, SHAPEFILE, LayerFile, rename_twins
from geoseg.io.parts import move_parts, remove_parts
from geoseg.io.sources.pointers import refuse_far_pointers

VECTOR_DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".fgb": "FlatGeobuf"}
"""Formats of one file that vector data is written in, by ending."""
STREAMED_DRIVERS = {**VECTOR_DRIVERS, ".shp": SHAPEFILE}
"""Formats that are written batch by batch, by ending."""
_EARTH_M = 6_378_137
_EDGE_M = 1000.0
"""An edge of that length is straight in every CRS, to a few centimetres."""
_MOST_CORNERS = 1_000_000
"""Corners that all features of a file get in addition, at most."""
FIXED_DATE = "2000-01-01T00:00:00.000Z"
"""Stands in GeoPackages as the time of the last change."""
GEOMETRY_TYPES = {"landcover": "Polygon", "buildings": "Polygon", "roads": "LineString", "road_nodes": "Point"}
"""Layers of a run."""


def read_vector(path: Path, crs: object, layer: str | None = None, *, follow_edges: bool = False) -> gpd.GeoDataFrame:
    """Read a layer of a vector file into a CRS, with invalid geometries repaired.

    Args:
        path: The file.
        crs: A CRS; None keeps that of the file.
        layer: None reads the first.
        follow_edges: Give long edges more corners, so that they stay where they are drawn in the CRS of the file; else only their ends do.

    Raises:
        MissingFileError: If there is no such file.
        UsageError: If it holds no such layer or declares no CRS.
    """
    table = read_as_drawn(path, None, layer)
    projected = table if crs is None else _to_crs(path, table, crs)
    if follow_edges and crs is not None and not table.crs.equals(crs, ignore_axis_order=True):
        followed = _to_crs(path, _cut_edges(table), crs).geometry
        # where a corner of an edge has no place, its ends have to do
        projected = projected.set_geometry(followed.where(~followed.isna(), projected.geometry))
    lost = int((shapely.is_missing(projected.geometry.to_numpy()) & ~shapely.is_missing(table.geometry.to_numpy())).sum())
    if lost:
        raise UsageError(f"{path} holds {lost} features that have no place in {crs}: they lie too far off. Check its CRS, or cut them.")
    try:
        return projected.set_geometry(projected.make_valid())
    except GEOSException as exc:
        raise UsageError(f"{path} holds shapes that cannot be repaired: {exc}. Correct them, or leave them out.") from exc


def read_as_drawn(path: Path, crs: object, layer: str | None = None) -> gpd.GeoDataFrame:
    """Read a vector file into a CRS (None keeps its own), with invalid and missing geometries left as they are.

    What has no place in the CRS, because it lies too far off, becomes a missing geometry.

    Raises:
        MissingFileError: If there is no such file.
        UsageError: If it holds no such layer, declares no CRS, or has coordinates that are no numbers.
    """
    if not is_there(path):
        raise MissingFileError(f"There is no vector file {path}. Check the path.")
    refuse_far_pointers(path)
    try:
        table = gpd.read_file(path, **({} if layer is None else {"layer": layer}))
    except (DataSourceError, DataLayerError, FeatureError, GEOSException, CRSError, ValueError) as exc:
        raise UsageError(f"{path} could not be read as vector data: {exc}. Expected GeoPackage, GeoJSON or another OGR format.") from exc
    if not isinstance(table, gpd.GeoDataFrame):
        raise UsageError(f"{path} is a table without geometry. Expected GeoPackage, GeoJSON or another OGR format with shapes.")
    if table.crs is None:
        raise UsageError(f"{path} declares no CRS, so it cannot be placed. Write one into the file, for example with ogr2ogr -a_srs.")
    endless = int((_is_drawn(table) & ~_is_finite(table)).sum())
    if endless:
        raise UsageError(f"{path} holds {endless} features with coordinates that are no numbers. Correct them, or leave them out.")
    return table if crs is None else _to_crs(path, table, crs)


def _to_crs(path: Path, table: gpd.GeoDataFrame, crs: object) -> gpd.GeoDataFrame:
    """Project a table; geometries that have no place there become missing."""
    try:
        placed = table.to_crs(crs)
    except (ProjError, GEOSException) as exc:
        raise UsageError(f"{path} could not be brought from {table.crs} to {crs}: {exc}. Check its CRS.") from exc
    return placed.set_geometry(placed.geometry.where(~_is_drawn(placed) | _is_finite(placed)))


def _cut_edges(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Cut long edges, all alike, so that neighbors share their borders still."""
    unit = table.crs.axis_info[0].unit_conversion_factor
    longest = (_EDGE_M / _EARTH_M if table.crs.is_geographic else _EDGE_M) / unit
    length = float(np.nansum(shapely.length(table.geometry.to_numpy())))
    return table.set_geometry(table.segmentize(max(longest, length / _MOST_CORNERS)))


def _is_drawn(table: gpd.GeoDataFrame) -> NDArray[np.bool_]:
    shapes = table.geometry.to_numpy()
    return np.asarray(~shapely.is_missing(shapes) & ~shapely.is_empty(shapes))


def _is_finite(table: gpd.GeoDataFrame) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(table.geometry.bounds.to_numpy(float)).all(axis=1))


def write_vector(table: gpd.GeoDataFrame, path: Path) -> None:
    """Write a table as a vector file of one layer, whole or not at all.

    Args:
        table: Features with a CRS.
        path: Final name; its ending chooses GeoPackage, GeoJSON or FlatGeobuf.

    Raises:
        UsageError: If the ending is another one.
        WriteError: If the disk does not take it.
    """
    _driver_of(path, VECTOR_DRIVERS)
    with open_vector(path, path.stem) as add:
        add(table)


def _driver_of(path: Path, drivers: Mapping[str, str]) -> str:
    """Return the format that a file's ending chooses."""
    driver = drivers.get(path.suffix.lower())
    if driver is None:
        raise UsageError(f"{path} ends in {path.suffix or 'nothing'}; expected {', '.join(drivers)}.")
    return driver


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse a name under which :func:`open_vector` could not write, or must not.

    Raises:
        UsageError: If its ending is unknown, its folder is missing, it is a folder, or a file stands there and is not to be replaced.
    """
    _driver_of(path, STREAMED_DRIVERS)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; expected the name of a file. Name another one.")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists. Name another file, or replace it with --overwrite.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent}. Make it first, or name another one.")


@contextmanager
def open_vector(path: Path, layer: str, geometry_type: str | None = None) -> Iterator[Callable[[gpd.GeoDataFrame], None]]:
    """Write a vector file of one layer batch by batch, whole or not at all.

    Args:
        path: Final name; its ending chooses the format, one of STREAMED_DRIVERS.
        layer: Name of the layer where the format has layers; that of a Shapefile is always the file's.
        geometry_type: Of the layer, ``Polygon`` or ``MultiPolygon``; None takes that of the first table.

    Yields:
        A function that adds a table. All tables have the same columns; the first one may be empty.

    Raises:
        UsageError: If the ending is another one.
        WriteError: If the disk does not take it.
    """
    driver = _driver_of(path, STREAMED_DRIVERS)
    made = path.with_name(f".{path.stem}.part{path.suffix.lower()}")
    final = LayerFile(path=made, driver=driver, layer=layer, geometry_type=geometry_type)
    through = replace(final, path=made.with_name(f"{made.name}.gpkg"), driver="GPKG", is_indexed=False) if driver in REWRITTEN else final
    first: gpd.GeoDataFrame | None = None

    def add(table: gpd.GeoDataFrame) -> None:
        nonlocal first
        placed = table.to_crs("EPSG:4326") if driver == "GeoJSON" and table.crs is not None else table
        if through is not final and through.count == 0 and (first is None or first.empty):
            first = placed
            return
        if first is not None:
            through.add(first)
            first = None
        through.add(placed)

    remove_parts(made)
    remove_parts(through.path)
    try:
        yield add
        if first is not None:
            final.add(first)
        elif through is not final:
            final.take_over(through)
    except (DataSourceError, DataLayerError, FeatureError, OSError) as exc:
        remove_parts(made)
        if isinstance(exc, GeosegError):
            raise
        raise WriteError(f"{path} could not be written: {exc}. Check the folder and the free space.") from exc
    except BaseException:
        remove_parts(made)
        raise
    finally:
        if through is not final:
            remove_parts(through.path)
    move_parts(made, path)


@contextmanager
def _without_clock() -> Iterator[None]:
    """Keep the time of day out of GeoPackages, so that equal runs make equal files; when a run was made stands in its summary."""
    before = get_gdal_config_option("OGR_CURRENT_DATE")
    set_gdal_config_options({"OGR_CURRENT_DATE": FIXED_DATE})
    try:
        yield
    finally:
        set_gdal_config_options({"OGR_CURRENT_DATE": before})


class AddLayer(Protocol):
    """Adds a table, with or without geometry, to a layer; all tables of a layer have the same columns."""

    def __call__(self, layer: str, table: gpd.GeoDataFrame | pd.DataFrame) -> None:
        """Add rows; the first table of a layer may be empty, it makes the layer."""


@contextmanager
def open_layers(path: Path, geometry_types: Mapping[str, str] = MappingProxyType(GEOMETRY_TYPES)) -> Iterator[AddLayer]:
    """Write a GeoPackage of several layers batch by batch, whole or not at all; equal tables make equal bytes.

    Args:
        path: Final name.
        geometry_types: Of each layer; by default those of a run's layers.

    Yields:
        A function that adds a table to a layer.

    Raises:
        WriteError: If the disk does not take it.
    """
    made = path.with_name(f".{path.stem}.part.gpkg")
    remove_parts(made)

    def add(layer: str, table: gpd.GeoDataFrame | pd.DataFrame) -> None:
        has_shape = isinstance(table, gpd.GeoDataFrame)
        shape = {"geometry_type": geometry_types.get(layer)} if has_shape else {}
        write_dataframe(rename_twins(table), made, layer=layer, driver="GPKG", append=made.exists(), **shape)

    try:
        with _without_clock():
            yield add
    except BaseException as exc:
        remove_parts(made)
        # errors of other files that are written meanwhile say which
        if isinstance(exc, (DataSourceError, DataLayerError, FeatureError, OSError)) and not isinstance(exc, GeosegError):
            raise WriteError(f"{path} could not be written: {exc}. Check the free space; the same command again goes on.") from exc
        raise
    if made.exists():
        move_whole(made, path)


def append_layer(path: Path, layer: str, table: gpd.GeoDataFrame) -> None:
    """Write a layer into a GeoPackage that nobody else sees yet, in place of one of that name; makes the file if there is none.

    Raises:
        WriteError: If the disk does not take it.
    """
    try:
        with _without_clock():
            write_dataframe(rename_twins(table), path, layer=layer, driver="GPKG", append=False, promote_to_multi=True)
    except (DataSourceError, DataLayerError, FeatureError, OSError) as exc:
        raise WriteError(f"{path} could not be written: {exc}. Check the free space; the same command again goes on.") from exc


def list_drawn(path: Path) -> list[str]:
    """Return the layers of a vector file that hold shapes.

    Raises:
        UsageError: If it cannot be read.
        RasterError: If it makes GDAL open files elsewhere.
    """
    refuse_far_pointers(path)
    try:
        return [str(name) for name, kind in find_layers(path) if kind]
    except (DataSourceError, DataLayerError, ValueError) as exc:
        raise UsageError(f"{path} could not be read as vector data: {exc}.") from exc


def list_layers(path: Path) -> dict[str, int]:
    """Return the layers of a vector file and the number of their features.

    Raises:
        UsageError: If it cannot be read.
        RasterError: If it makes GDAL open files elsewhere.
    """
    refuse_far_pointers(path)
    try:
        return {str(name): int(read_info(path, layer=name, force_feature_count=True)["features"]) for name, _ in find_layers(path)}
    except (DataSourceError, DataLayerError, ValueError) as exc:
        raise UsageError(f"{path} could not be read as vector data: {exc}.") from exc


def read_layer(path: Path, layer: str) -> gpd.GeoDataFrame:
    """Read a layer of a GeoPackage that geoseg wrote.

    Raises:
        UsageError: If there is no such layer, or it is damaged.
    """
    try:
        return gpd.read_file(path, layer=layer)
    except (DataSourceError, DataLayerError, FeatureError, GEOSException, ValueError) as exc:
        raise UsageError(f"{path} holds no layer '{layer}' that can be read: {exc}.") from exc


def read_column(path: Path, layer: str, column: str) -> NDArray[np.float64]:
    """Read one column of numbers of a layer, without the shapes.

    Raises:
        UsageError: If there is no such layer or column, or it is damaged.
    """
    try:
        table = read_dataframe(path, layer=layer, columns=[column], read_geometry=False)
        return np.asarray(table[column], np.float64)
    except (DataSourceError, DataLayerError, FeatureError, KeyError, ValueError) as exc:
        raise UsageError(f"{path} holds no column '{column}' of numbers in a layer '{layer}': {exc}.") from exc


def read_within(path: Path, layer: str, bounds: tuple[float, float, float, float]) -> gpd.GeoDataFrame:
    """Read the features of a layer whose bounding boxes touch bounds (left, bottom, right, top) in its CRS.

    Raises:
        UsageError: If there is no such layer, or it is damaged.
    """
    try:
        return gpd.read_file(path, layer=layer, bbox=bounds)
    except (DataSourceError, DataLayerError, FeatureError, GEOSException, ValueError) as exc:
        raise UsageError(f"{path} holds no layer '{layer}' that can be read: {exc}.") from exc
