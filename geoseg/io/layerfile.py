"""A vector file of one layer that tables are added to."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from sys import maxsize

import geopandas as gpd
from pyogrio import read_info, write_dataframe

from geoseg.io.arrow import open_features, write_features
from geoseg.io.columns import part_twins
from geoseg.io.parts import remove_parts

SHAPEFILE = "ESRI Shapefile"
REWRITTEN = {"GeoJSON", "FlatGeobuf"}
"""Formats whose files GDAL writes anew whenever something is added; several tables go through a GeoPackage."""
# a tenth of a millimetre: pixels of drones are a few millimetres wide
_LAYER_OPTIONS = {"GeoJSON": {"COORDINATE_PRECISION": "9"}}
_NAME_LENGTHS = {"GPKG": maxsize, SHAPEFILE: 10}
"""Characters that a column name may have in formats that do not tell capitals apart."""


@dataclass(slots=True, kw_only=True)
class LayerFile:
    """A file of one layer that tables are added to."""

    path: Path
    """Its name while it is written."""
    driver: str
    """Its format."""
    layer: str
    """Its layer."""
    geometry_type: str | None
    """Of the layer; None takes that of the first table."""
    is_indexed: bool = True
    """Whether a GeoPackage gets an index of places; one that is only read through needs none."""
    crs: str | None = None
    """Of its tables."""
    count: int = 0
    """Features that it has."""

    def add(self, table: gpd.GeoDataFrame) -> None:
        """Add a table."""
        if self.count == 0:
            # GeoJSON without features has no columns, so that none could be added
            remove_parts(self.path)
            self.crs = None if table.crs is None else table.crs.to_wkt()
        if self.driver in _NAME_LENGTHS:
            table = rename_twins(table, _NAME_LENGTHS[self.driver])
        with _without_crs():
            write_dataframe(
                table,
                self.path,
                # a Shapefile of another name than its layer is taken for a folder, and the next batch becomes a file of its own
                layer=self.path.stem if self.driver == SHAPEFILE else self.layer,
                driver=self.driver,
                append=self.count > 0,
                geometry_type=self.geometry_type,
                promote_to_multi=None if self.geometry_type is None else self.geometry_type.startswith("Multi"),
                layer_options=self._options(table),
            )
        self.count += len(table)

    def _options(self, table: gpd.GeoDataFrame) -> dict[str, str]:
        if self.driver != "GPKG":
            return _LAYER_OPTIONS.get(self.driver, {})
        return _free_names(table) | ({} if self.is_indexed else {"SPATIAL_INDEX": "NO"})

    def take_over(self, other: "LayerFile") -> None:
        """Take all features of another file, once."""
        kind = self.geometry_type or str(read_info(other.path, layer=other.layer)["geometry_type"])
        with _without_crs(), open_features(other.path, self.layer, for_gdal=True) as stream:
            # a GeoPackage makes one up where there is none
            placed = replace(stream, crs=other.crs)
            write_features(placed, self.layer, self.path, self.driver, kind, layer_options=_LAYER_OPTIONS.get(self.driver, {}))


def rename_twins(table: gpd.GeoDataFrame, longest: int = maxsize) -> gpd.GeoDataFrame:
    """Return a table, with or without geometry, whose columns a format can hold that does not tell capitals apart."""
    shape = table.geometry.name if isinstance(table, gpd.GeoDataFrame) else None
    return table.rename(columns=part_twins((name for name in table.columns if name != shape), longest))


def _free_names(table: gpd.GeoDataFrame) -> dict[str, str]:
    """Return other names for the columns that a GeoPackage adds, where users have columns of these names."""
    taken = {str(name).casefold() for name in table.columns if name != table.geometry.name}
    clashes = {option: name for option, name in (("FID", "fid"), ("GEOMETRY_NAME", "geom")) if name in taken}
    return {option: next(f"{name}_{n}" for n in range(1, len(taken) + 2) if f"{name}_{n}" not in taken) for option, name in clashes.items()}


@contextmanager
def _without_crs() -> Iterator[None]:
    with warnings.catch_warnings():
        # that a raster has no CRS was seen before
        warnings.filterwarnings("ignore", message="'crs' was not provided")
        yield
