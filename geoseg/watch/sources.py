"""What lies in a watched folder: rasters, folders of pictures, and whether they are whole."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rasterio.warp import transform_bounds
from rasterio.windows import Window

from geoseg.errors import RasterError
from geoseg.io.raster import RasterOptions, open_dataset
from geoseg.io.sources.dataset import FOREIGN
from geoseg.io.sources.gather import RASTER_SUFFIXES, list_rasters
from geoseg.io.sources.pointers import refuse_far_pointers
from geoseg.runfolder.folder import RunFolder

_UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart", ".!qb")
"""Endings that programs give to files which they are still writing."""
_BESIDE = {
    *(".xml", ".json", ".txt", ".csv", ".md", ".pdf", ".log", ".ovr", ".msk", ".prj", ".tfw", ".tifw", ".jgw", ".jpw", ".pgw", ".wld"),
    *(".aux", ".gpkg", ".geojson", ".kml", ".kmz", ".shp", ".shx", ".dbf", ".cpg", ".zip", ".gz", ".toml", ".html", ".las", ".laz"),
    *(".mp4", ".srt"),
}
"""Endings of files that lie beside rasters and are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What changes when a source does."""

    size_bytes: int
    """Of all its files."""
    changed_ns: int
    """When the newest of them was, in nanoseconds since 1970."""
    files: int
    """How many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A raster, or a folder of pictures that are one mosaic."""

    name: str
    """Its name in the folder."""
    path: Path
    """Where it lies."""
    stamp: Stamp
    """Tells whether it has changed."""
    is_growing: bool = False
    """Whether it is a folder with a file in it that says that it is being written."""


def list_sources(folder: Path, output: Path) -> list[Source]:
    """Return what may be segmented in a folder, by name, whole or not.

    Hidden files, those that say that they are being written, and those that lie beside rasters are left out; so are pipes and devices,
    run folders, and the output folder.

    Raises:
        OSError: If the folder cannot be looked at.
    """
    own = output.resolve()
    with os.scandir(folder) as entries:
        paths = sorted(Path(entry.path) for entry in entries)
    found: list[Source] = []
    for path in paths:
        # it may be gone by now
        with suppress(OSError):
            if _is_candidate(path) and path.resolve() != own and (stamp := stamp_source(path)) is not None:
                is_growing = path.is_dir() and any(_is_unfinished(file) for file in path.iterdir())
                found.append(Source(name=path.name, path=path, stamp=stamp, is_growing=is_growing))
    return found


def stamp_source(path: Path) -> Stamp | None:
    """Return what tells whether a source has changed; None if it is a folder without pictures.

    Raises:
        OSError: If it is not there.
    """
    stats = [file.stat() for file in (list_rasters(path) if path.is_dir() else [path])]
    if not stats:
        return None
    return Stamp(size_bytes=sum(s.st_size for s in stats), changed_ns=max(s.st_mtime_ns for s in stats), files=len(stats))


def check_source(source: Source) -> tuple[float, float, float, float] | None:
    """Open a source and read its last pixel.

    Returns:
        West, south, east and north in degrees; None if it does not say, or is a folder.

    Raises:
        RasterError: If a file cannot be read to its end: it is damaged, or not whole yet.
    """
    bounds = None
    for path in list_rasters(source.path) if source.path.is_dir() else [source.path]:
        if not _is_text(str(path)):
            raise RasterError(f"The name {str(path)!r} is not UTF-8, so that GDAL cannot open the file. Rename it.")
        refuse_far_pointers(path)
        try:
            with open_dataset(str(path), RasterOptions()) as dataset:
                dataset.read(dataset.count, window=Window(dataset.width - 1, dataset.height - 1, 1, 1))
                bounds = _bounds_of(dataset) if not source.path.is_dir() else None
        except (*FOREIGN, OSError) as exc:
            said = str(exc).rstrip(".")
            raise RasterError(f"{path} is damaged, or not whole yet: {said}. It is tried again when it has changed.") from exc
    return bounds


def may_be_no_raster(path: Path) -> bool:
    """Tell whether a file may be something else than a raster: its ending says nothing."""
    return path.is_file() and path.suffix.lower() not in RASTER_SUFFIXES


def _is_candidate(path: Path) -> bool:
    if path.name.startswith((".", "~")) or _is_unfinished(path):
        return False
    if path.is_dir():
        return not RunFolder(path).is_begun()
    # who opens a pipe waits for whoever writes into it, maybe for ever
    return path.is_file() and path.suffix.lower() not in _BESIDE


def _is_text(name: str) -> bool:
    """Tell whether a name can be written as UTF-8; names of files are any bytes."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _is_unfinished(path: Path) -> bool:
    return path.name.lower().endswith(_UNFINISHED)


def _bounds_of(dataset: Any) -> tuple[float, float, float, float] | None:
    if dataset.crs is None or dataset.transform.is_identity:
        return None
    try:
        west, south, east, north = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
    except FOREIGN:
        # where it lies is only said for the map
        return None
    return west, south, east, north
