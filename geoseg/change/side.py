"""One of the two dates: a finished run, as far as changes are told from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
from odc.geo.geobox import GeoBox

from geoseg.config import make_config
from geoseg.errors import MissingFileError, RunFolderError
from geoseg.io.raster import RasterSource
from geoseg.io.tiffs.layers import read_band_names
from geoseg.io.vector import read_layer
from geoseg.pixels.classes import ClassScheme
from geoseg.products.exports import find_products
from geoseg.runfolder.folder import RunFolder

_EVIDENCE = ("building", "building_interior")
"""Layers that tell how probable a building is, the better one first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What is known of one date."""

    name: str
    """Before or after, and where it comes from; for messages."""
    classes: Path
    """Class values, uint8, NODATA_CLASS where there is no data."""
    geobox: GeoBox
    """Their grid, with a CRS."""
    scheme: ClassScheme
    """What they mean."""
    buildings: gpd.GeoDataFrame | None = None
    """Polygons in any CRS; None if none were looked for."""
    roads: gpd.GeoDataFrame | None = None
    """Lines with ``width_m`` in any CRS; None if none were looked for."""
    imagery: RasterSource | None = None
    """What was segmented; None where it cannot be read any more."""
    evidence: tuple[Path, int] | None = None
    """The probability of building in 1/255 on the grid of the classes, and its band; None where the run kept none."""
    run_id: str = ""
    """Id of the run."""
    identity: str = ""
    """What tells the run from others, and from itself when it lacked chunks; by it a comparison is known again."""


def open_side(path: Path, name: str) -> Side:
    """Describe a finished run.

    Args:
        path: The run folder.
        name: ``before`` or ``after``.

    Raises:
        MissingFileError: If there is no such folder.
        RunFolderError: If it holds no finished run, or the run made no class map.
    """
    folder = RunFolder(path)
    if not path.exists():
        raise MissingFileError(f"There is nothing at {path}. Expected a run folder, or a raster and a model.")
    if not folder.is_begun():
        raise RunFolderError(f"{path} holds no run of geoseg: there is no {folder.record.name}. Make one with geoseg segment.")
    folder.check_whole()
    summary = folder.read_summary()
    products = find_products(folder, path, make_config({}, folder.record))
    classes = products.find("classes.tif")
    if classes is None:
        raise RunFolderError(f"The run in {path} has no classes.tif, in which changes are told. Add classes to its --outputs.")
    return Side(
        name=f"{name} ({path})",
        classes=classes,
        geobox=products.geobox,
        scheme=products.scheme,
        buildings=read_layer(products.features, "buildings") if "buildings" in summary["counts"] else None,
        roads=read_layer(products.features, "roads") if "roads" in summary["counts"] else None,
        imagery=products.imagery,
        evidence=_find_evidence(products.find("evidence.tif")),
        run_id=str(summary.get("run_id", "")),
        identity=_identify(folder, summary),
    )


def _identify(folder: RunFolder, summary: dict[str, Any]) -> str:
    """Return the id of a run, which stays when chunks that it lacked are made, and the checksums of what is compared, which do not."""
    assets = folder.read_item()["assets"] if folder.item.exists() else {}
    sums = (str(assets.get(name, {}).get("file:checksum", "")) for name in ("classes", "evidence"))
    return " ".join((str(summary.get("run_id", "")), *sums))


def _find_evidence(path: Path | None) -> tuple[Path, int] | None:
    names = read_band_names(path) if path is not None else ()
    return next(((path, names.index(name) + 1) for name in _EVIDENCE if path is not None and name in names), None)
