"""The flood and what stands in it, from run folders, rasters and vector files."""

from collections.abc import Callable, Iterator
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
from rasterio.features import geometry_mask
from rasterio.windows import Window
from shapely import STRtree

from geoseg.errors import MissingFileError, UsageError
from geoseg.impact.flood import DRY, FLOODED, Flood
from geoseg.impact.options import FloodInput
from geoseg.impact.pixelflood import PixelFlood, WaterRule
from geoseg.impact.shapeflood import make_shape_flood
from geoseg.io.aligned import open_on_grid
from geoseg.io.columns import RESERVED, drop_columns, part_twins
from geoseg.io.polygons import take_polygons
from geoseg.io.raster import RasterSource, open_raster
from geoseg.io.tiffs.legend import describe_band
from geoseg.io.vector import list_layers, read_vector
from geoseg.pixels.classes import ClassKind
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.records import read_summary
from geoseg.runfolder.report import read_scheme

_VECTOR_ENDINGS = {".zip", ".gpkg", ".geojson", ".json", ".fgb", ".shp", ".kml", ".gml", ".parquet"}
_OUTSIDE = -(2**40)
"""Value of pixels of which nothing is known; no class has it."""
_POLYGONS = ["Polygon", "MultiPolygon"]
LEFT_OUT = "left_out"
"""Attribute of a table that tells how many features of its file have no shape of the kind that was asked for."""


@contextmanager
def open_flood(given: FloodInput) -> Iterator[Flood]:
    """Open a flood.

    Raises:
        MissingFileError: If there is no such file.
        RunFolderError: If it is a run that is not finished.
        UsageError: If it holds no water that could be told, or has no place on the ground.
    """
    if _is_vector(given.path):
        yield _open_shapes(given)
        return
    with ExitStack() as stack:
        source, rule = _find_pixels(given.path, given.water, given.nodata)
        before = None if given.before is None else stack.enter_context(_open_before(given, source.geobox))
        raster = stack.enter_context(source.open())
        area = None if given.area is None else _burn(_read_area(given.area, _wkt(source.geobox)), source.geobox)
        hides = rule.values is not None and given.path.is_dir()
        name = str(given.path)
        yield PixelFlood(name=name, raster=raster, geobox=source.geobox, rule=rule, before=before, area=area, hides_ground=hides)


def read_features(path: Path, layer: str, crs: str) -> gpd.GeoDataFrame:
    """Read a layer of a run folder, or of a vector file that has one of that name, or its first one, into a CRS.

    Raises:
        MissingFileError: If there is no such file.
        RunFolderError: If it is of a run that is not finished.
        UsageError: If it cannot be read.
    """
    file = find_features(path)
    if not file.exists():
        raise MissingFileError(f"There is no {file}. Give a vector file, or a run folder whose run made {layer}.")
    layers = list_layers(file)
    if path.is_dir() and layer not in layers:
        raise UsageError(f"The run in {path} made no {layer}; it has {', '.join(layers)}. Make them with --outputs {layer}.")
    table = read_vector(file, crs, layer if layer in layers else None)
    table = drop_columns(table, RESERVED)
    table = table.rename(columns=part_twins(name for name in table.columns if name != table.geometry.name))
    # heights of corners are no matter here, and layers with and without them do not mix
    return table.set_geometry(gpd.GeoSeries(shapely.force_2d(table.geometry.to_numpy()), index=table.index, crs=table.crs))


def find_features(path: Path) -> Path:
    """Return the vector file of a run folder; a file is one itself.

    Raises:
        RunFolderError: If the run is not finished.
    """
    if not path.is_dir():
        return path
    _check_run(path)
    return path / "features.gpkg"


def _check_run(path: Path) -> None:
    """Refuse a run that is not finished: what it has found by now is not all that there is."""
    folder = RunFolder(path)
    folder.check_whole()
    if folder.is_begun():
        folder.read_summary()


def read_polygons(path: Path, layer: str, crs: str) -> gpd.GeoDataFrame:
    """Read the polygons of a layer as multipolygons, and in :data:`LEFT_OUT` how many features are none; see :func:`read_features`.

    Raises:
        UsageError: If there are none.
    """
    table = read_features(path, layer, crs)
    chosen = _choose_polygons(table)
    if chosen.empty:
        raise UsageError(f"{path} holds {len(table)} features and no polygon; {layer} are polygons. Check --{layer}.")
    many = [shape if shape.geom_type == "MultiPolygon" else shapely.MultiPolygon([shape]) for shape in chosen.geometry]
    made = gpd.GeoDataFrame(chosen.drop(columns=chosen.geometry.name), geometry=many, crs=chosen.crs)
    made.attrs[LEFT_OUT] = len(table) - len(chosen)
    return made


def _is_vector(path: Path) -> bool:
    return not path.is_dir() and path.suffix.lower() in _VECTOR_ENDINGS


def _find_pixels(path: Path, water: str | None, nodata: float | None) -> tuple[RasterSource, WaterRule]:
    """Return the raster of a run folder or file, and which of its values are water."""
    if path.is_dir():
        _check_run(path)
        scheme = read_scheme(read_summary(path / "summary.json")["classes"])
        classes = {row.name: row.value for row in scheme}
        value = _find_value(str(path), water or _guess_water(str(path), classes), classes)
        standing = frozenset(row.value for row in scheme if row.kind is not ClassKind.SURFACE)
        rule = WaterRule(path=str(path), values=frozenset({value}), nodata=nodata, standing=standing)
        return open_raster(path / "classes.tif").choose((1,)), rule
    source = open_raster(path).choose((1,))
    names = {name: value for value, name in describe_band(str(path), 1).names.items()}
    values = None if water is None else frozenset({_find_value(str(path), water, names)})
    return source, WaterRule(path=str(path), values=values, nodata=nodata)


def _guess_water(path: str, classes: dict[str, int]) -> str:
    for word in ("flood", "water"):
        found = [name for name in classes if word in name.lower()]
        if len(found) == 1:
            return found[0]
    raise UsageError(f"{path} has the classes {', '.join(classes)}; none of them is plainly water. Name it with --flood-class.")


def _find_value(path: str, wanted: str, names: dict[str, int]) -> int:
    found = {name.lower(): value for name, value in names.items()}.get(wanted.lower())
    if found is not None:
        return found
    try:
        return int(wanted)
    except ValueError as exc:
        known = f"has the classes {', '.join(names)}" if names else "names no classes, so that they are told by value"
        raise UsageError(f"There is no class '{wanted}' in {path}, which {known}. Check --flood-class and --before-class.") from exc


@contextmanager
def _open_before(given: FloodInput, geobox: GeoBox) -> Iterator[Callable[[Window], NDArray[np.uint8]]]:
    """Hold the water of before open on the grid of a flood."""
    assert given.before is not None, "asked for"
    if _is_vector(given.before):
        yield _burn(_read_before(given.before, given, _wkt(geobox)), geobox)
        return
    source, rule = _find_pixels(given.before, given.before_water or given.water, given.nodata)
    with open_on_grid(Path(source.path), geobox, _OUTSIDE, takes_fractions=True) as read:
        yield lambda window: _apply(rule, read(window))


def _apply(rule: WaterRule, values: NDArray[Any]) -> NDArray[np.uint8]:
    return rule.apply(values, values != _OUTSIDE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Burned:
    """Polygons on a grid: a pixel is water if its center lies in one."""

    geobox: GeoBox
    shapes: NDArray[np.object_]
    tree: STRtree

    def __call__(self, window: Window) -> NDArray[np.uint8]:
        transform = self.geobox.transform @ Affine.translation(window.col_off, window.row_off)
        shape = (int(window.height), int(window.width))
        near = self.shapes[self.tree.query(GeoBox(shape, transform, self.geobox.crs).extent.geom)]
        if not len(near):
            return np.full(shape, DRY, np.uint8)
        return np.where(geometry_mask(near.tolist(), shape, transform, invert=True), FLOODED, DRY).astype(np.uint8)


def _open_shapes(given: FloodInput) -> Flood:
    table = _read_table(given.path, given.water, None)
    crs = str(table.crs.to_wkt())
    wet = shapely.union_all(table.geometry.to_numpy())
    before = None if given.before is None else _find_before(given, crs)
    seen = None if given.area is None else shapely.union_all(_read_area(given.area, crs).geometry.to_numpy())
    return make_shape_flood(str(given.path), crs, wet, before, seen)


def _find_before(given: FloodInput, crs: str) -> tuple[shapely.Geometry, shapely.Geometry]:
    """Return the areas that were water before, and of which that is not known."""
    assert given.before is not None, "asked for"
    if _is_vector(given.before):
        return shapely.union_all(_read_before(given.before, given, crs).geometry.to_numpy()), shapely.Polygon()
    source, rule = _find_pixels(given.before, given.before_water or given.water, given.nodata)
    with source.open() as raster:
        before = PixelFlood(name=source.path, raster=raster, geobox=source.geobox, rule=rule)
        tables = [table.to_crs(crs) for table in before.patches()]
        seen = shapely.segmentize(shapely.box(*before.bounds), max(source.geobox.shape) * abs(source.geobox.resolution.x) / 50)
    states = np.concatenate([table["state"].to_numpy() for table in tables])
    shapes = np.concatenate([table.geometry.to_numpy() for table in tables])
    water, hidden = (shapely.union_all(shapely.make_valid(shapes[states == state])) for state in ("flooded", "unknown"))
    looked_at = gpd.GeoSeries([seen], crs=before.crs).to_crs(crs)[0]
    far = shapely.difference(shapely.buffer(shapely.envelope(looked_at), 10 * looked_at.length), looked_at)
    return water, shapely.union(hidden, far)


def _burn(table: gpd.GeoDataFrame, geobox: GeoBox) -> _Burned:
    shapes = np.asarray(table.geometry.to_numpy())
    return _Burned(geobox=geobox, shapes=shapes, tree=STRtree(shapes))


def _wkt(geobox: GeoBox) -> str:
    assert geobox.crs is not None, "open_raster refuses rasters without a CRS"
    return str(geobox.crs.to_wkt())


def _read_area(path: Path, crs: str) -> gpd.GeoDataFrame:
    table = read_vector(path, crs)
    chosen = _choose_polygons(table)
    if chosen.empty:
        raise UsageError(f"{path} holds {len(table)} features and no polygon; what was looked at is polygons. Check --flood-area.")
    return chosen


def _read_before(path: Path, given: FloodInput, crs: str) -> gpd.GeoDataFrame:
    """Read polygons of water from before; the class of now counts where they have classes."""
    return _read_table(path, given.before_water, crs, given.water)


def _read_table(path: Path, water: str | None, crs: str | None, if_named: str | None = None) -> gpd.GeoDataFrame:
    """Read polygons of water.

    Args:
        path: The file.
        water: Their class; None takes ``if_named``.
        crs: Their CRS in the end; None keeps that of the file.
        if_named: Their class if the file has classes; None takes all.
    """
    table = read_vector(path, crs)
    if water is None and "class" in table.columns:
        water = if_named
    if water is not None:
        if "class" not in table.columns:
            raise UsageError(f"{path} has no column 'class' that names '{water}'. Leave --flood-class out where all polygons are water.")
        table = table[table["class"].astype(str).str.lower() == water.lower()]
    chosen = _choose_polygons(table)
    if chosen.empty:
        raise UsageError(
            f"{path} holds no polygon{' of ' + water if water else ''}; water is polygons. Check the file, --flood-class, --before-class."
        )
    return chosen


def _choose_polygons(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the features that are polygons, also those that became a collection when they were repaired."""
    drawn = table.set_geometry(table.geometry.map(take_polygons))
    return drawn[drawn.geom_type.isin(_POLYGONS) & ~drawn.geometry.is_empty].reset_index(drop=True)
