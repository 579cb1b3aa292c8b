"""What a result is judged by: labels on its grid, building polygons, road lines, and the area in which they are complete."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from geoseg.errors import LabelError, MissingFileError
from geoseg.evaluation.found import Found
from geoseg.evaluation.repair import repair_polygons
from geoseg.evaluation.sampling import Reader
from geoseg.io.aligned import open_on_grid
from geoseg.io.polygons import take_polygons
from geoseg.io.vector import read_vector
from geoseg.labels.coding import NOT_BUILDING, UNLABELLED, code_classes
from geoseg.pixels.classes import ClassKind, ClassScheme
from geoseg.tiling import partition

_BLOCK_PX = 2048
_NOTHING = -1
_RASTERS = (".tif", ".tiff", ".vrt", ".png", ".jp2", ".img")
_VALUE_COLUMN = "class_value"
_CLASS_COLUMNS = ("class", _VALUE_COLUMN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFiles:
    """Labels as files, each in its own CRS."""

    labels: Path | None = None
    """Raster of class values, or polygons with a class column."""
    buildings: Path | None = None
    """Polygons of single buildings."""
    roads: Path | None = None
    """Centrelines."""
    aoi: Path | None = None
    """Polygons inside which all of these are complete; None means everywhere."""
    class_column: str | None = None
    """Column of class names or values; None takes ``class`` or ``class_value``."""
    ignore: tuple[int, ...] = ()
    """Values of a label raster that stand for "not known"; its nodata value always does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Labels on the grid of a result."""

    read: Reader | None
    """Channel of the class scheme, NOT_BUILDING or UNLABELLED of a window (H, W) uint8; None if only roads are known."""
    buildings: NDArray[np.object_] | None = None
    """Polygons without overlap in the grid's CRS, cut at the raster's edge; None if single buildings are not known."""
    roads: NDArray[np.object_] | None = None
    """Lines in the grid's CRS, cut at the edge of the labelled area; None if they are not known."""
    area: BaseGeometry | None = None
    """The labelled area in the grid's CRS; None means the whole raster."""
    notes: tuple[str, ...] = ()
    """What was repaired or left out."""


@contextmanager
def open_reference(files: ReferenceFiles, found: Found) -> Iterator[Reference]:
    """Hold labels open on the grid of a result.

    Raises:
        MissingFileError: If a file is not there.
        LabelError: If the labels do not touch the result, or hold classes that it does not know.
    """
    for path in (files.labels, files.buildings, files.roads, files.aoi):
        if path is not None and not path.exists():
            raise MissingFileError(f"There is no label file {path}. Check the path.")
    if files.labels is None and files.buildings is None and files.roads is None:
        raise LabelError("Nothing to compare with: give --labels, --buildings or --roads.")
    area = None if files.aoi is None else _read_area(files.aoi, found.geobox)
    notes: list[str] = []
    with ExitStack() as stack:
        buildings = None
        read: Reader | None = None
        if files.buildings is not None:
            buildings, said = read_buildings(files.buildings, found.geobox)
            notes += said
            read = building_reader(buildings, found)
        if files.labels is not None:
            read = stack.enter_context(_open_labels(files, files.labels, found))
        roads = None if files.roads is None else _read_lines(files.roads, found.geobox, area)
        inside = read if area is None or read is None else _inside(read, area, found.geobox)
        yield Reference(read=inside, buildings=buildings, roads=roads, area=area, notes=tuple(notes))


def read_buildings(
    path: Path, geobox: GeoBox, layer: str | None = None, *, needed: bool = True
) -> tuple[NDArray[np.object_], tuple[str, ...]]:
    """Read building polygons, repair them and cut them at the raster's edge.

    Args:
        path: Vector file.
        geobox: The grid.
        layer: Layer of the file; None takes the first.
        needed: Refuse a file of which no polygon touches the raster.

    Returns:
        (n,) polygons in the grid's CRS, and what was repaired.

    Raises:
        LabelError: If none touches the raster, and one is needed; or what touches it is no polygon.
    """
    table = _read_here(path, geobox, layer, needed=needed)
    repaired = repair_polygons(table.geometry.to_numpy())
    if needed and repaired.others == len(table) > 0:
        kinds = ", ".join(sorted(set(table.geometry.geom_type)))
        raise LabelError(f"{path} holds {kinds}; buildings are compared as polygons. Turn closed lines into polygons first.")
    cut = shapely.intersection(repaired.shapes, _extent(geobox))
    said = [
        f"{path.name}: {count} {what}."
        for count, what in (
            (repaired.others, "features are no polygons and were left out"),
            (repaired.invalid, "polygons were invalid and are repaired"),
            (repaired.overlapping, "polygons overlapped a smaller one and gave the ground to it"),
            (repaired.dropped, "polygons were left out: nothing of their own remained"),
        )
        if count
    ]
    return cut[shapely.area(cut) > 0], tuple(said)


def building_reader(buildings: NDArray[np.object_], found: Found) -> Reader:
    """Return a reader of labels that tell buildings from everything else.

    Raises:
        LabelError: If the result knows no buildings.
    """
    channel = found.channel_of(ClassKind.BUILDING)
    if channel < 0:
        names = ", ".join(c.name for c in found.scheme)
        raise LabelError(f"The labels are buildings; the class map knows none: {names}. Compare a result that maps buildings.")
    return _burn(buildings, np.full(len(buildings), channel), found.geobox, NOT_BUILDING)


def _read_here(path: Path, geobox: GeoBox, layer: str | None = None, *, needed: bool = True) -> gpd.GeoDataFrame:
    if geobox.crs is None:
        raise LabelError(f"{path} cannot be placed: the class map has no CRS. Only label rasters on the same grid fit it.")
    table = read_vector(path, geobox.crs, layer)
    here = table[table.intersects(_extent(geobox))]
    if here.empty and needed:
        spans = tuple(round(float(v), 6) for v in table.total_bounds) if len(table) else "nothing"
        bounds = tuple(round(float(v), 6) for v in _extent(geobox).bounds)
        raise LabelError(f"{path} does not touch the result: it spans {spans}, the result {bounds} in {geobox.crs}. Check the CRS of both.")
    return here


def _extent(geobox: GeoBox) -> BaseGeometry:
    return shapely.box(*geobox.boundingbox)


def _read_area(path: Path, geobox: GeoBox) -> BaseGeometry:
    table = _read_here(path, geobox)
    table = table.set_geometry(table.geometry.map(take_polygons))
    polygons = table.geometry[table.geom_type.isin(["Polygon", "MultiPolygon"])]
    if polygons.empty:
        raise LabelError(f"The labelled area {path} holds no polygon. Give a vector file with polygons.")
    return shapely.intersection(shapely.union_all(polygons.to_numpy()), _extent(geobox))


def _read_lines(path: Path, geobox: GeoBox, area: BaseGeometry | None) -> NDArray[np.object_]:
    table = _read_here(path, geobox)
    lines = table.geometry[table.geom_type.isin(["LineString", "MultiLineString"])]
    if lines.empty:
        raise LabelError(f"{path} holds no line; roads are compared as centrelines. Give a vector file with lines.")
    return cut_lines(lines.to_numpy(), area if area is not None else _extent(geobox))


def cut_lines(lines: NDArray[np.object_], area: BaseGeometry) -> NDArray[np.object_]:
    """Return the parts of lines that lie in an area."""
    shapely.prepare(area)
    parts = shapely.get_parts(shapely.intersection(np.asarray(lines, dtype=object), area))
    single = shapely.get_parts(parts)
    return np.asarray(single[shapely.length(single) > 0])


@contextmanager
def _open_labels(files: ReferenceFiles, path: Path, found: Found) -> Iterator[Reader]:
    if path.suffix.lower() not in _RASTERS:
        yield _polygon_reader(files, path, found)
        return
    with open_on_grid(path, found.geobox, _NOTHING) as read:
        _check_values(read, found, files)
        yield _channels(read, found.scheme, files.ignore)


def _check_values(read: Reader, found: Found, files: ReferenceFiles) -> None:
    """Refuse values that are no class before anything is measured, all of them with their counts."""
    counts: Counter[int] = Counter()
    for window in partition(found.shape, _BLOCK_PX):
        values, pixels = np.unique(read(window), return_counts=True)
        counts.update(dict(zip(values.tolist(), pixels.tolist(), strict=True)))
    passed = {_NOTHING, UNLABELLED, *files.ignore}
    unknown = {value: n for value, n in sorted(counts.items()) if value not in passed and value not in found.scheme.values}
    if unknown:
        legend = ", ".join(f"{c.value} {c.name}" for c in found.scheme)
        raise LabelError(
            f"{files.labels} holds values that are no class of the result: {unknown} (value: pixels). The classes are {legend}. "
            "Leave values out with --ignore, bring the labels to these classes, or name all classes of a class raster with --classes."
        )
    if not any(value in found.scheme.values and value not in files.ignore for value in counts):
        raise LabelError(
            f"{files.labels} labels no pixel of the result: all {sum(counts.values())} of them are nodata, ignored or beyond its edge. "
            "Check the CRS of both and --ignore."
        )


def _channels(read: Reader, scheme: ClassScheme, ignore: tuple[int, ...]) -> Reader:
    table = np.full(256, UNLABELLED, np.uint8)
    table[list(scheme.values)] = np.arange(len(scheme))
    table[[v for v in ignore if 0 <= v < len(table)]] = UNLABELLED

    def channels(window: Window) -> NDArray[Any]:
        values = read(window)
        return table[np.where((values < 0) | (values >= len(table)), UNLABELLED, values)]

    return channels


def _polygon_reader(files: ReferenceFiles, path: Path, found: Found) -> Reader:
    table = _read_here(path, found.geobox)
    column = files.class_column or next((c for c in _CLASS_COLUMNS if c in table.columns), None)
    if column is None or column not in table.columns:
        have = ", ".join(c for c in table.columns if c != table.geometry.name)
        raise LabelError(
            f"{path} has no column {column or ' or '.join(_CLASS_COLUMNS)}; it has {have or 'none'}. "
            "Name the column of classes with --class-column, or give single buildings with --buildings."
        )
    names, values = ({text: i for i, text in enumerate(texts)} for texts in ([c.name for c in found.scheme], map(str, found.scheme.values)))
    # a class that is called 1 may have the value 0
    known = names | values if column == _VALUE_COLUMN else values | names
    channels, unknown = code_classes(table[column], known | {str(v): UNLABELLED for v in files.ignore})
    if unknown:
        raise LabelError(
            f"{path} holds classes that the result does not know: {unknown} (class: polygons). "
            f"It knows {', '.join(c.name for c in found.scheme)}."
        )
    # in the order of the scheme, as labels for training are; UNLABELLED is last and hides what lies below
    order = np.argsort(channels, kind="stable")
    return _burn(table.geometry.to_numpy()[order], channels[order], found.geobox, UNLABELLED)


def _burn(shapes: NDArray[np.object_], channels: NDArray[np.integer], geobox: GeoBox, fill: int) -> Reader:
    """Return a reader that draws the polygons of a window: pixels whose center lies inside, later ones over earlier ones."""
    tree = shapely.STRtree(shapes)

    def read(window: Window) -> NDArray[Any]:
        transform = geobox.transform @ Affine.translation(window.col_off, window.row_off)
        shape = (int(window.height), int(window.width))
        corner, far = transform @ (0, 0), transform @ (shape[1], shape[0])
        here = np.sort(tree.query(shapely.box(*np.minimum(corner, far), *np.maximum(corner, far))))
        if len(here) == 0:
            return np.full(shape, fill, np.uint8)
        pairs = [(shapes[i], int(channels[i])) for i in here]
        return np.asarray(rasterize(pairs, shape, fill=fill, transform=transform, dtype="uint8"))

    return read


def _inside(read: Reader, area: BaseGeometry, geobox: GeoBox) -> Reader:
    parts = shapely.get_parts(area)
    within = _burn(parts, np.zeros(len(parts), np.uint8), geobox, UNLABELLED)

    def inside(window: Window) -> NDArray[Any]:
        return np.where(within(window) == UNLABELLED, UNLABELLED, read(window)).astype(np.uint8)

    return inside
