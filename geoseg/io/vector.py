"""Reading and writing vector files."""

from collections.abc import Mapping
from pathlib import Path

import geopandas as gpd
import pandas as pd
from pyogrio import write_dataframe
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

from geoseg.errors import MissingFileError, UsageError, WriteError
from geoseg.io.files import move_whole

VECTOR_DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".fgb": "FlatGeobuf"}
"""Formats of one file that vector data is written in, by ending."""
_GEOMETRY_TYPES = {"landcover": "Polygon", "buildings": "Polygon", "roads": "LineString", "road_nodes": "Point"}


def read_vector(path: Path, crs: object, layer: str | None = None) -> gpd.GeoDataFrame:
    """Read a layer of a vector file, None the first, into a CRS, with invalid geometries repaired.

    Raises:
        MissingFileError: If there is no such file.
        UsageError: If it holds no such layer or declares no CRS.
    """
    projected = read_as_drawn(path, crs, layer)
    return projected.set_geometry(projected.make_valid())


def read_as_drawn(path: Path, crs: object, layer: str | None = None) -> gpd.GeoDataFrame:
    """Read a vector file into a CRS (None keeps its own), with invalid and missing geometries left as they are.

    Raises:
        MissingFileError: If there is no such file.
        UsageError: If it holds no such layer or declares no CRS.
    """
    if not path.exists():
        raise MissingFileError(f"There is no vector file {path}. Check the path.")
    try:
        table = gpd.read_file(path, **({} if layer is None else {"layer": layer}))
    except (DataSourceError, DataLayerError) as exc:
        raise UsageError(f"{path} could not be read as vector data: {exc}. Expected GeoPackage, GeoJSON or another OGR format.") from exc
    if not isinstance(table, gpd.GeoDataFrame):
        raise UsageError(f"{path} is a table without geometry. Expected GeoPackage, GeoJSON or another OGR format with shapes.")
    if table.crs is None:
        raise UsageError(f"{path} declares no CRS, so it cannot be placed. Write one into the file, for example with ogr2ogr -a_srs.")
    return table if crs is None else table.to_crs(crs)


def write_vector(table: gpd.GeoDataFrame, path: Path) -> None:
    """Write a table as a vector file of one layer, whole or not at all.

    Args:
        table: Features with a CRS.
        path: Final name; its ending chooses GeoPackage, GeoJSON or FlatGeobuf.

    Raises:
        UsageError: If the ending is another one.
        WriteError: If the disk does not take it.
    """
    driver = VECTOR_DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise UsageError(f"{path} ends in {path.suffix or 'nothing'}; vector files are written as {', '.join(VECTOR_DRIVERS)}.")
    made = path.with_name(f".{path.stem}.part{path.suffix}")
    made.unlink(missing_ok=True)
    # GeoJSON is in degrees by its standard
    placed = table.to_crs("EPSG:4326") if driver == "GeoJSON" else table
    try:
        write_dataframe(placed, made, layer=path.stem, driver=driver)
    except (DataSourceError, DataLayerError, FeatureError, OSError) as exc:
        made.unlink(missing_ok=True)
        raise WriteError(f"{path} could not be written: {exc}. Check the folder and the free space.") from exc
    move_whole(made, path)


def write_layers(layers: Mapping[str, gpd.GeoDataFrame | pd.DataFrame], made: Path, path: Path) -> None:
    """Write tables as the layers of one GeoPackage, whole or not at all.

    Args:
        layers: Table by layer name, with or without geometry.
        made: Where it is made, on the same disk.
        path: Final name.

    Raises:
        WriteError: If the disk does not take it.
    """
    made.unlink(missing_ok=True)
    try:
        for name, table in layers.items():
            shape = {"geometry_type": _GEOMETRY_TYPES.get(name)} if isinstance(table, gpd.GeoDataFrame) else {}
            write_dataframe(table, made, layer=name, driver="GPKG", append=made.exists(), **shape)
    except (DataSourceError, DataLayerError, FeatureError, OSError) as exc:
        raise WriteError(f"{path} could not be written: {exc}. Check the free space; the same command again goes on.") from exc
    move_whole(made, path)


def read_layer(path: Path, layer: str) -> gpd.GeoDataFrame:
    """Read a layer of a GeoPackage that geoseg wrote.

    Raises:
        UsageError: If there is no such layer.
    """
    try:
        return gpd.read_file(path, layer=layer)
    except (DataSourceError, DataLayerError) as exc:
        raise UsageError(f"{path} holds no layer '{layer}': {exc}.") from exc
