"""One GeoPackage that takes the layers of many runs, each row with the name of its source."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import geopandas as gpd
from pyogrio import read_dataframe, write_dataframe
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError
from pyproj.exceptions import ProjError

from geoseg.errors import WriteError
from geoseg.io.files import move_whole
from geoseg.io.vector import GEOMETRY_TYPES, list_layers

SOURCE = "source"
"""Column with the name of the source."""
_BATCH = 20_000
_CRS = "EPSG:4326"
"""Runs lie in many zones."""
_PATIENCE_S = 30.0
"""Programs that look at the file lock it for moments."""


def gather_layers(features: Path, source: str, path: Path) -> int:
    """Put the layers of a run into a GeoPackage, in place of what it has of the same source; done twice, it is there once.

    A process that is killed meanwhile leaves a file that is whole, in which some rows of this source may be missing.

    Args:
        features: ``features.gpkg`` of the run.
        source: Name of the source.
        path: The GeoPackage; made if it is not there. Its layers are in degrees.

    Returns:
        How many rows were added.

    Raises:
        UsageError: If the run's layers cannot be read.
        WriteError: If the disk does not take it, or another program holds the file.
    """
    made = path if path.exists() else path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        if made == path:
            _remove_rows(path, source)
        else:
            made.unlink(missing_ok=True)
        count = 0
        for layer in (name for name in list_layers(features) if name in GEOMETRY_TYPES):
            for table in _read_batches(features, layer):
                table.insert(0, SOURCE, source)
                write_dataframe(
                    table.to_crs(_CRS), made, layer=layer, driver="GPKG", append=made.exists(), geometry_type=GEOMETRY_TYPES[layer]
                )
                count += len(table)
    except (DataSourceError, DataLayerError, FeatureError, ProjError, OSError, sqlite3.Error) as exc:
        raise WriteError(f"{path} could not take {source}: {exc}. Close programs that edit it, or make room; it is tried again.") from exc
    if made != path and made.exists():
        move_whole(made, path)
    return count


def _read_batches(features: Path, layer: str) -> Iterator[gpd.GeoDataFrame]:
    """Yield a layer some rows at a time; an empty one as one table without rows."""
    begin = 0
    while True:
        table = read_dataframe(features, layer=layer, skip_features=begin, max_features=_BATCH)
        if begin == 0 or len(table):
            yield table
        begin += len(table)
        if len(table) < _BATCH:
            return


def _remove_rows(path: Path, source: str) -> None:
    """Remove the rows of a source; GDAL's own triggers keep its indices and counts."""
    with closing(sqlite3.connect(path, timeout=_PATIENCE_S)) as database, database:
        tables = {name for (name,) in database.execute("SELECT table_name FROM gpkg_contents")}
        for layer in sorted(tables & GEOMETRY_TYPES.keys()):
            database.execute(f'CREATE INDEX IF NOT EXISTS "{layer}_{SOURCE}" ON "{layer}" ({SOURCE})')
            database.execute(f'DELETE FROM "{layer}" WHERE {SOURCE} = ?', (source,))
