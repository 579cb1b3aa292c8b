"""Reading and writing vector files."""

from pathlib import Path

import geopandas as gpd
from pyogrio import write_dataframe
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

from geoseg.errors import MissingFileError, UsageError, WriteError
from geoseg.io.files import move_whole

_GEOMETRY_TYPES = {"landcover": "Polygon", "buildings": "Polygon", "roads": "LineString", "road_nodes": "Point"}


def read_vector(path: Path, crs: object) -> gpd.GeoDataFrame:
    """Read a vector file into a CRS, with invalid geometries repaired.

    Raises:
        MissingFileError: If there is no such file.
        UsageError: If it holds no readable layer or declares no CRS.
    """
    if not path.exists():
        raise MissingFileError(f"There is no vector file {path}. Check the path.")
    try:
        table = gpd.read_file(path)
    except (DataSourceError, DataLayerError) as exc:
        raise UsageError(f"{path} could not be read as vector data: {exc}. Expected GeoPackage, GeoJSON or another OGR format.") from exc
    if not isinstance(table, gpd.GeoDataFrame):
        raise UsageError(f"{path} is a table without geometry. Expected GeoPackage, GeoJSON or another OGR format with shapes.")
    if table.crs is None:
        raise UsageError(f"{path} declares no CRS, so it cannot be placed. Write one into the file, for example with ogr2ogr -a_srs.")
    projected = table.to_crs(crs)
    return projected.set_geometry(projected.make_valid())


def write_layers(layers: dict[str, gpd.GeoDataFrame], made: Path, path: Path) -> None:
    """Write tables as the layers of one GeoPackage, whole or not at all.

    Args:
        layers: Table by layer name.
        made: Where it is made, on the same disk.
        path: Final name.

    Raises:
        WriteError: If the disk does not take it.
    """
    made.unlink(missing_ok=True)
    try:
        for name, table in layers.items():
            write_dataframe(table, made, layer=name, driver="GPKG", append=made.exists(), geometry_type=_GEOMETRY_TYPES.get(name))
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
