"""GDAL and PROJ: drivers, their data, and whether coordinates come out right."""

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from geoseg.doctor.finding import Finding, describe_error, failed, ok, warning

_RASTER_DRIVERS = ("GTiff", "COG", "VRT")
_MORE_RASTERS = ("JP2OpenJPEG", "PNG", "JPEG", "WEBP")
_VECTOR_DRIVERS = ("GPKG", "GeoJSON", "FlatGeobuf", "ESRI Shapefile")
_KNOWN = (85.5, 27.65), (352_032.748, 3_059_331.045)
"""Longitude and latitude, and the same in EPSG:32645 (WGS 84 / UTM 45N), in metres; by the series of Krueger to a millimetre."""
_NEAR_M = 0.5
_VARIABLES = ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH")
_UNSET = "They belong to another installation of GDAL or PROJ. Unset them: unset {}."


def look_at_gdal() -> Iterator[Finding]:
    """Tell versions and drivers; rasters and vectors are read by two copies of GDAL, each with its own."""
    import pyogrio
    import rasterio
    from rasterio.drivers import raster_driver_extensions
    from rasterio.env import Env

    with Env() as env:
        drivers = set(env.drivers())
    missing = [name for name in _RASTER_DRIVERS if name not in drivers]
    vectors = [name for name in _VECTOR_DRIVERS if "w" not in pyogrio.list_drivers().get(name, "")]
    told = f"GDAL {rasterio.__gdal_version__} for rasters ({len(drivers)} drivers, {len(raster_driver_extensions())} endings)"
    told += f", {pyogrio.__gdal_version_string__} for vectors"
    if missing or vectors:
        reinstall = "Install wheels with a GDAL of their own: pip install --force-reinstall rasterio pyogrio."
        advice = f"{_blame(('GDAL_DRIVER_PATH',))} {reinstall}".strip()
        yield failed("GDAL", f"{told} lacks {', '.join((*missing, *vectors))}", advice)
        return
    less = [name for name in _MORE_RASTERS if name not in drivers]
    yield ok("GDAL", told + (f"; not there: {', '.join(less)}" if less else ""))


def look_at_proj() -> Iterator[Finding]:
    """Transform a known point with both copies of PROJ that geoseg transforms with."""
    ways = {"pyproj": _by_pyproj, "rasterio": _by_rasterio}
    faults = [f"{name}: {fault}" for name, way in ways.items() if (fault := _try(way))]
    if faults:
        advice = _blame(("PROJ_LIB", "PROJ_DATA")) or "Install them anew: pip install --force-reinstall pyproj rasterio."
        yield failed("PROJ data", "; ".join(faults), advice)
    else:
        yield _describe_grids()


def _describe_grids() -> Finding:
    import pyproj
    import pyproj.datadir

    folders = [Path(folder) for folder in pyproj.datadir.get_data_dir().split(os.pathsep)]
    folders.append(Path.home() / ".local" / "share" / "proj")
    grids = sum(len(list(folder.glob("*.tif"))) for folder in folders if folder.is_dir())
    told = f"PROJ {pyproj.proj_version_str} transforms a known point to within {_NEAR_M} m"
    if grids:
        return ok("PROJ data", f"{told}; {grids} datum grids")
    return ok(
        "PROJ data",
        f"{told}; no datum grids: between old national datums (NAD 27, OSGB 36) it is right to some metres. pyproj sync gets them",
    )


def look_at_variables() -> Iterator[Finding]:
    """Look for variables of other installations, which make ours read their data."""
    for name in _VARIABLES:
        value = os.environ.get(name)
        if not value:
            continue
        folders = [Path(part) for part in value.split(os.pathsep) if part and part != "disable"]
        gone = [str(folder) for folder in folders if not folder.is_dir()]
        what = f"is {value}" + (f"; {', '.join(gone)} is no folder" if gone else "")
        yield warning(name, what, _UNSET.format(name))


def _try(way: Callable[[], tuple[float, float]]) -> str:
    """Say what is wrong with a way to transform the known point, if anything is."""
    try:
        x, y = way()
    except Exception as exc:
        return describe_error(exc)
    off = math.hypot(x - _KNOWN[1][0], y - _KNOWN[1][1])
    return "" if off <= _NEAR_M else f"a known point comes out {off:.1f} m off"


def _by_pyproj() -> tuple[float, float]:
    from pyproj import Transformer

    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32645", always_xy=True).transform(*_KNOWN[0])
    return x, y


def _by_rasterio() -> tuple[float, float]:
    from rasterio.crs import CRS
    from rasterio.warp import transform

    (x,), (y,) = transform(CRS.from_epsg(4326), CRS.from_epsg(32645), [_KNOWN[0][0]], [_KNOWN[0][1]])
    return x, y


def _blame(names: tuple[str, ...]) -> str:
    there = [name for name in names if os.environ.get(name)]
    return f"{' and '.join(there)} names another installation's data: unset {' '.join(there)}." if there else ""
