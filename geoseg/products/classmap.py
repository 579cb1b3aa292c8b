"""Polygons of any class raster, streamed into a vector file."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError
from rasterio.windows import Window

from geoseg.errors import ConfigError, RasterError
from geoseg.io.grid import ground_pixel_m
from geoseg.io.ground import measure_areas, pixel_step_m, row_areas_m2
from geoseg.io.raster import OpenRaster, RasterSource, open_raster
from geoseg.io.tiffs.legend import describe_band
from geoseg.io.vector import check_output, open_vector
from geoseg.objects.vectorize import Patches, VectorizeOptions, gather_patches, stream_polygons
from geoseg.products.features import area_decimals, mend, to_ground

_DEFAULT_TOLERANCE_PX = 1.5
_WORKING_TYPES: dict[int, np.dtype[Any]] = {1: np.dtype(np.int16), 2: np.dtype(np.int32), 4: np.dtype(np.int64), 8: np.dtype(np.int64)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMapOptions:
    """How a class raster becomes a vector file."""

    drawing: VectorizeOptions = field(default_factory=VectorizeOptions)
    """Simplification, smoothing, connectivity and minimum area; its background is not used. Without a CRS a pixel counts as 1 m."""
    default_tolerance: bool = False
    """Take 1.5 pixels as the tolerance instead of that of ``drawing``: the least that takes all stairs out of slanted borders."""
    band: int = 1
    """Band of class values, from 1."""
    nodata: int | None = None
    """Value that gets no polygons, beside the raster's own nodata."""
    names: dict[int, str] = field(default_factory=dict)
    """Names of values; the others take the raster's names, or else ``class 7``."""
    layer: str | None = None
    """Layer name; None takes the name of the file."""
    overwrite: bool = False
    """Replace an existing file."""


def vectorize_class_map(path: str, output: Path, options: ClassMapOptions) -> int:
    """Draw polygons around the patches of a class raster and write them as they are finished.

    Args:
        path: Raster of whole numbers in any CRS or none; nodata gets no polygons and is never covered.
        output: GeoPackage, FlatGeobuf, GeoJSON or Shapefile, with the columns ``class_value, class, area_m2``; ``area_px`` in
            place of the last one where the raster has no CRS.
        options: Drawing, band, names.

    Returns:
        Number of polygons.

    Raises:
        MissingFileError: If there is no such raster.
        RasterError: If it holds fractions or the smallest number of int64, lies on no map of the earth, or has no such band.
        UsageError: If the output exists or is a folder, or its ending is unknown.
        WriteError: If the disk does not take it.
    """
    check_output(output, options.overwrite)
    source = open_raster(path, needs_georeference=False)
    band = describe_band(path, options.band)
    if np.dtype(band.dtype).kind not in "iu" or band.dtype == "uint64":
        raise RasterError(
            f"{path} is of type {band.dtype}; classes are whole numbers of up to 64 bits, signed. Convert with gdal_translate -ot."
        )
    task = _Task(source=replace(source.choose((options.band,)), dtype=band.dtype), nodata=_nodata_values(band.nodata, options.nodata))
    drawing = replace(options.drawing, background=task.background, cover_background=False)
    try:
        if source.geobox.crs is not None:
            ground_pixel_m(str(path), source.geobox)
        pixel_m, row_areas = _measure_grid(source.geobox)
    except ProjError as exc:
        raise RasterError(f"{path} does not lie on the earth, so it has no metres on the ground: {exc}.") from exc
    if options.default_tolerance:
        step = pixel_m(source.shape[0] / 2)
        drawing = replace(drawing, simplify_m=_DEFAULT_TOLERANCE_PX * float(np.sqrt(step[0] * step[1])))
    names = band.names | options.names
    dtype = np.dtype(np.int64 if np.dtype(band.dtype).itemsize == 8 or band.dtype == "uint32" else np.int32)
    count = 0
    shape = "MultiPolygon" if drawing.connectivity == 8 else "Polygon"
    with task.source.open() as raster, open_vector(output, options.layer or output.stem, shape) as add:
        read = partial(task.read, raster)
        for patches in gather_patches(stream_polygons(read, source.shape, pixel_m, drawing, row_areas_m2=row_areas)):
            add(_make_table(patches, names, source.geobox, dtype))
            count += len(patches)
    return count


def parse_names(texts: list[str]) -> dict[int, str]:
    """Read ``NAME=VALUE`` as names of values.

    Raises:
        ConfigError: If one is not of that form, or a value is named twice.
    """
    names: dict[int, str] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        value = _whole_number(number)
        if not name or value is None:
            raise ConfigError(f"Classes are named as NAME=VALUE, for example water=1; got {text!r}.")
        if value in names:
            raise ConfigError(f"Value {value} is named twice: {names[value]!r} and {name!r}.")
        names[value] = name
    return names


def _whole_number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """A band whose pixels without data have a value of their own."""

    source: RasterSource
    nodata: tuple[int, ...]
    """Values that count as nodata beside the raster's mask."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """A type with room for one more value."""
        return _WORKING_TYPES[np.dtype(self.source.dtype).itemsize]

    @property
    def background(self) -> int:
        return int(np.iinfo(self.dtype).min)

    def read(self, raster: OpenRaster, window: Window) -> NDArray[Any]:
        pixels, valid = raster.read(window)
        values: NDArray[Any] = pixels[0].astype(self.dtype)
        for value in self.nodata:
            valid &= values != value
        if self.source.dtype == "int64" and (values[valid] == self.background).any():
            raise RasterError(
                f"{self.source.path} holds the class {self.background}, the smallest number of 64 bits, which stands for nodata here. "
                f"Give it up with --nodata={self.background}, or change it to another number, for example with gdal_calc.py."
            )
        values[~valid] = self.background
        return values


def _nodata_values(of_band: float | None, given: int | None) -> tuple[int, ...]:
    own = (int(of_band),) if of_band is not None and float(of_band).is_integer() else ()
    return own if given is None else (*own, given)


def _measure_grid(geobox: GeoBox) -> tuple[Callable[[float], tuple[float, float]], NDArray[np.float64]]:
    """Return the size of a pixel in a given row, and the area of the pixels of each row; without a CRS a pixel is 1 x 1."""
    if geobox.crs is None:
        return (lambda _row: (1.0, 1.0)), np.ones(geobox.shape[0])
    return (lambda row: pixel_step_m(geobox, row)), row_areas_m2(geobox)


def _make_table(patches: Patches, names: dict[int, str], geobox: GeoBox, dtype: np.dtype[Any]) -> gpd.GeoDataFrame:
    polygons, _ = mend(to_ground(patches.polygons, geobox))
    columns: dict[str, Any] = {
        "class_value": patches.values.astype(dtype),
        "class": np.array([names.get(int(value), f"class {value}") for value in patches.values], dtype=object),
    }
    if geobox.crs is None:
        return gpd.GeoDataFrame(columns | {"area_px": shapely.area(patches.polygons).round(2)}, geometry=polygons)
    columns["area_m2"] = measure_areas(polygons, geobox.crs).round(area_decimals(geobox))
    return gpd.GeoDataFrame(columns, geometry=polygons, crs=geobox.crs.to_wkt())
