"""What a writer is given: the products of a run that is about to be finished, or was finished before."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from odc.geo.geobox import GeoBox

from geoseg.io.raster import RasterSource
from geoseg.pixels.classes import ClassScheme

GEOMETRY_TYPES = {"landcover": "Polygon", "buildings": "Polygon", "roads": "LineString", "road_nodes": "Point"}
"""Layers of features, in the order in which they are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProducts:
    """The products of a run."""

    name: str
    """Name of the run."""
    places: tuple[Path, ...]
    """Folders in which products lie; what is in an earlier one replaces what is in a later one."""
    geobox: GeoBox
    """The run's grid."""
    scheme: ClassScheme
    """Its classes."""
    imagery: RasterSource | None = None
    """What was segmented, on the run's grid; None where it cannot be read any more."""

    def find(self, name: str) -> Path | None:
        """Return where a product lies; None if the run has none."""
        return next((place / name for place in self.places if (place / name).exists()), None)

    def layers(self) -> dict[str, int]:
        """Return the layers with shapes of ``features.gpkg`` and their number of features; empty if there is no such file."""
        # loads geopandas, which a run for classes alone never needs
        from geoseg.io.vector import list_layers

        path = self.find("features.gpkg")
        there = list_layers(path) if path is not None else {}
        return {name: there[name] for name in GEOMETRY_TYPES if name in there}

    @property
    def features(self) -> Path:
        """``features.gpkg``; ask for :meth:`layers` first."""
        path = self.find("features.gpkg")
        assert path is not None, "a run without features"
        return path


Writer = Callable[[RunProducts, Path], None]
"""Writes files of any name into an empty folder, which become products of the run. Memory must not grow with the run."""
