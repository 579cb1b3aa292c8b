"""What is judged: the class map of a run folder, of a file or of an array, with the objects that belong to it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.config import make_config
from geoseg.errors import GeosegError, MissingFileError, RasterError, RunFolderError, UsageError
from geoseg.evaluation.sampling import Reader, count_values
from geoseg.inference.opening import describe_imagery
from geoseg.io.raster import OpenRaster, RasterSource, open_raster, place_source
from geoseg.io.sources.bands import find_bands
from geoseg.io.tiffs.layers import open_layer
from geoseg.io.vector import read_layer
from geoseg.pixels.classes import NODATA_CLASS, ClassKind, ClassScheme, LandClass
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.report import read_scheme

_COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A class map and its objects."""

    geobox: GeoBox
    """Its grid; without CRS where the raster has none."""
    scheme: ClassScheme
    """Its classes."""
    classes: Reader
    """Class values of a window, NODATA_CLASS where there is no data."""
    confidence: Reader | None = None
    """Percents of a window; above 100 where there is no data."""
    buildings: gpd.GeoDataFrame | None = None
    """Polygons with ``score``, in the grid's CRS; None if none were looked for."""
    roads: gpd.GeoDataFrame | None = None
    """Lines, in the grid's CRS; None if none were looked for."""
    image: RasterSource | None = None
    """The imagery on the same grid, for pictures."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.geobox.shape[0]), int(self.geobox.shape[1])

    def channel_of(self, kind: ClassKind) -> int:
        """Return the position of the first class of a kind, or -1."""
        return next((i for i, c in enumerate(self.scheme) if c.kind is kind), -1)


def is_run(path: Path) -> bool:
    """Tell whether a path is a run folder."""
    return path.is_dir() and (path / "run.toml").exists()


@contextmanager
def open_found(path: Path, scheme: ClassScheme | None = None) -> Iterator[Found]:
    """Hold a run folder or a class raster open.

    Args:
        path: The run folder or raster.
        scheme: Classes of a raster, also those that it nowhere shows; None takes the values that it shows.

    Raises:
        UsageError: If a scheme is given for a run, which knows its own, or the raster shows other values.
        MissingFileError: If there is nothing.
        RunFolderError: If the run is not finished, or has no class map.
    """
    if not path.exists():
        raise MissingFileError(f"There is nothing at {path}. Expected a run folder, a class raster or a training configuration.")
    if path.is_dir() and scheme is not None:
        raise UsageError(f"{path} is a run and knows its classes; give classes of a class raster only.")
    with _open_run(path) if path.is_dir() else _open_file(path, scheme) as found:
        yield found


@contextmanager
def _open_run(folder: Path) -> Iterator[Found]:
    run = RunFolder(folder)
    run.check_whole()
    told = run.read_summary()
    if not (folder / "classes.tif").exists():
        raise RunFolderError(f"{folder} holds no classes.tif; run geoseg segment with 'classes' among its --outputs.")
    geobox = open_raster(folder / "classes.tif", needs_georeference=False).geobox
    with ExitStack() as stack:
        yield Found(
            geobox=geobox,
            scheme=read_scheme(told["classes"]),
            classes=stack.enter_context(open_layer(folder / "classes.tif")),
            confidence=stack.enter_context(open_layer(folder / "confidence.tif")) if (folder / "confidence.tif").exists() else None,
            buildings=_layer(folder, "buildings", "buildings" in told["counts"]),
            roads=_layer(folder, "roads", "roads" in told["counts"]),
            image=_image_of(folder, told, geobox),
        )


@contextmanager
def _open_file(path: Path, scheme: ClassScheme | None) -> Iterator[Found]:
    source = open_raster(path, needs_georeference=False)
    if len(source.bands) != 1 or source.dtype != "uint8":
        raise RasterError(f"{path} has {len(source.bands)} bands of {source.dtype}; a class map has one band of uint8.")
    with source.open() as raster:
        there = partial(_read_classes, raster)
        values = np.flatnonzero(count_values(there, source.shape)[:NODATA_CLASS])
        if len(values) == 0:
            raise RasterError(f"{path} holds no class: every pixel is nodata.")
        if scheme is not None:
            _check_shown(values.tolist(), scheme, path)
        yield Found(geobox=source.geobox, scheme=scheme or _name_values(values.tolist()), classes=there)


def _name_values(values: list[int]) -> ClassScheme:
    rows = (LandClass(value=v, name=f"class {v}", color=_COLORS[i % len(_COLORS)]) for i, v in enumerate(values))
    return ClassScheme(classes=tuple(rows))


def _check_shown(values: list[int], scheme: ClassScheme, path: Path) -> None:
    strange = [v for v in values if v not in scheme.values]
    if strange:
        legend = ", ".join(f"{c.value} {c.name}" for c in scheme)
        raise UsageError(f"{path} shows {', '.join(map(str, strange))}, which is none of the classes that are given: {legend}.")


def found_in_memory(source: RasterSource, scheme: ClassScheme, classes: NDArray[np.uint8], confidence: NDArray[np.uint8]) -> Found:
    """Present arrays (H, W) on the grid of their raster as a class map; for imagery without a place on the ground."""
    return Found(geobox=source.geobox, scheme=scheme, classes=read_array(classes), confidence=read_array(confidence), image=source)


def read_array(pixels: NDArray[Any]) -> Callable[[Window], NDArray[Any]]:
    """Return a reader of windows of an array (H, W)."""
    return lambda window: pixels[window.row_off : window.row_off + window.height, window.col_off : window.col_off + window.width]


def _read_classes(raster: OpenRaster, window: Window) -> NDArray[Any]:
    """Return class values (H, W), NODATA_CLASS where nodata or a mask says that there is no data."""
    pixels, valid = raster.read(window)
    return np.where(valid, pixels[0], NODATA_CLASS)


def _layer(folder: Path, name: str, made: bool) -> gpd.GeoDataFrame | None:
    return read_layer(folder / "features.gpkg", name) if made else None


def _image_of(folder: Path, told: dict[str, Any], geobox: GeoBox) -> RasterSource | None:
    """Return the run's imagery on its grid, or None where it lies there no longer; it only serves pictures."""
    try:
        config = make_config({}, folder / "run.toml")
        source = place_source(describe_imagery(config, ("red", "green", "blue")), None)
        bands = find_bands(config.bands, source.imagery.bands, source.path) or source.bands
        return replace(source.choose(bands[:3]), geobox=geobox, decimation=told["source"]["averaged_by"])
    except (GeosegError, KeyError):
        return None
