"""Reading and writing vector files."""

from pathlib import Path

import geopandas as gpd
from pyogrio.errors import DataLayerError, DataSourceError

from geoseg.errors import MissingFileError, UsageError


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
    if table.crs is None:
        raise UsageError(f"{path} declares no CRS, so it cannot be placed. Write one into the file, for example with ogr2ogr -a_srs.")
    projected = table.to_crs(crs)
    return projected.set_geometry(projected.make_valid())
