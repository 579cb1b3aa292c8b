"""Sites as arrays: pixels and targets on one grid."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy import ndimage
from shapely.geometry import box

from geoseg.errors import LabelError, UsageError
from geoseg.io.raster import RasterSource, open_raster, place_source, read_whole
from geoseg.io.sources.bands import list_lacking, match_bands, mean_colors
from geoseg.io.vector import read_vector
from geoseg.labels.blocks import kept_pixels, onto_averages
from geoseg.labels.coding import NOT_BUILDING, UNLABELLED, building_channel
from geoseg.labels.features import Features, burn, channel_of, only_polygons, outline, read_classes, read_features
from geoseg.labels.runs import read_sure
from geoseg.labels.site import Blocks, Site
from geoseg.labels.values import read_class_raster
from geoseg.model.spec import ModelSpec
from geoseg.pixels.classes import ClassKind, ClassScheme
from geoseg.scene import Land, SceneOptions, draw_scene

_SCENE_PX = 1024
_MOST_CLIPPED = 0.01
_FRACTION = 2.0
"""Values up to it are no bytes, if they are no whole numbers."""
_SCENE_KINDS = {Land.ROAD: ClassKind.ROAD, Land.BUILDING: ClassKind.BUILDING}
_GEOREFERENCED = ("building_polygons", "vectors")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRaster:
    """One raster with its targets, all on the same grid."""

    name: str
    """File name, for reports."""
    source: RasterSource | None
    """Where the pixels came from; None if they were drawn."""
    pixels: NDArray[np.uint8]
    """(C, H, W); other values than those of bytes are clipped to them."""
    targets: NDArray[np.uint8]
    """(3, H, W): semantic channel or NOT_BUILDING or UNLABELLED; building interior; building boundary (0, 1, UNLABELLED)."""
    valid: NDArray[np.bool_] | None = None
    """(H, W), True = imagery; None if there is imagery everywhere."""
    notes: tuple[str, ...] = ()
    """What was repaired, left out or missing, with numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a model asks of labelled rasters."""

    scheme: ClassScheme
    """Classes in channel order."""
    resolution_m: float | None = None
    """Pixel size on the ground that finer rasters are averaged to; None takes rasters as they are."""
    bands: int | None = None
    """Bands of the model; None takes all."""
    band_names: tuple[str, ...] = ()
    """What the model calls them; rasters that do so are read in its order."""
    any_values: bool = False
    """Whether values outside 0..255 are fine, as for models that learn from the raster's own values."""

    @classmethod
    def of(cls, spec: ModelSpec) -> Self:
        """Return what a model asks."""
        any_values = spec.network.library == "sklearn"
        return cls(scheme=spec.scheme, resolution_m=spec.resolution_m, bands=len(spec.bands), band_names=spec.bands, any_values=any_values)


def load_site(site: Site, spec: ModelSpec, data_dir: Path) -> list[LabelledRaster]:
    """Read all rasters of a site; see :func:`stream_site`."""
    return list(stream_site(site, spec, data_dir))


def stream_site(site: Site, spec: ModelSpec, data_dir: Path, *, any_values: bool = False) -> Iterator[LabelledRaster]:
    """Read the rasters of a site with their labels, at the model's resolution, one after the other.

    Args:
        site: Rasters and labels.
        spec: The model.
        data_dir: Folder that the site's paths start from.
        any_values: Whether values outside 0..255 are fine, because nobody looks at the pixels.

    Raises:
        LabelError: If the globs find nothing, or the labels hold unknown values or lie elsewhere; after the last raster, if no pixel
            of any is labelled.
    """
    names, labelled = [], False
    for raster in iterate_site(site, spec, data_dir, any_values=any_values):
        names.append(raster.name)
        labelled |= bool((raster.targets[0] != UNLABELLED).any())
        yield raster
    if not labelled:
        raise LabelError(
            f"Site '{site.name}': no pixel of its {len(names)} rasters is labelled. "
            f"Check labels, ignore, labelled area and blocks, with geoseg labels check; first {names[0]}."
        )


def iterate_site(site: Site, spec: ModelSpec, data_dir: Path, *, any_values: bool = False) -> Iterator[LabelledRaster]:
    """Read the rasters of a site one after the other, whether or not anything in them is labelled; see :func:`stream_site`."""
    if site.kind == "drawn_scenes":
        yield from (_draw(seed, site, spec) for seed in site.seeds)
        return
    reading = Reading.of(spec)
    for path in raster_paths(site, data_dir):
        yield load_raster(path, site, replace(reading, any_values=any_values or reading.any_values), data_dir)


def open_sources(site: Site, spec: ModelSpec, data_dir: Path) -> list[RasterSource]:
    """Open the rasters of a site at the model's resolution, without reading pixels or labels; a drawn site has none.

    Raises:
        LabelError: If the globs find nothing, or a raster does not have the model's bands.
    """
    if site.kind == "drawn_scenes":
        return []
    return [_open(path, site, Reading.of(spec)) for path in raster_paths(site, data_dir)]


def raster_paths(site: Site, data_dir: Path) -> list[Path]:
    """Return the raster files of a site, sorted.

    Raises:
        LabelError: If a glob, of ``rasters`` or ``exclude``, finds nothing or is absolute.
    """
    absolute = next((pattern for pattern in (*site.globs, *site.exclude) if Path(pattern).is_absolute()), None)
    if absolute is not None:
        raise LabelError(f"Site '{site.name}': {absolute} is absolute; rasters are named below the folder of --data, {data_dir}.")
    found = {pattern: set(data_dir.glob(pattern)) for pattern in (*site.globs, *site.exclude) if pattern}
    idle = next((pattern for pattern, paths in found.items() if not paths), None)
    if idle is not None or not any(site.globs):
        raise LabelError(f"Site '{site.name}': no raster matches {idle or 'its empty rasters'} below {data_dir}. Check --data.")
    left = set().union(*(found[p] for p in site.globs)) - set().union(*(found[p] for p in site.exclude))
    if not left:
        raise LabelError(f"Site '{site.name}': exclude leaves out all of its rasters. Check both globs.")
    return sorted(left)


def load_raster(path: Path, site: Site, reading: Reading, data_dir: Path) -> LabelledRaster:
    """Read one raster of a site with its labels.

    Raises:
        LabelError: If the labels do not fit the raster or the classes.
    """
    source = _open(path, site, reading)
    pixels, valid = read_whole(source)
    targets, notes = _read_targets(path, source, site, reading.scheme, data_dir)
    targets[:, ~valid] = UNLABELLED
    if site.blocks is not None:
        targets[:, ~_kept_part(site.blocks, source, reading)] = UNLABELLED
    if (targets[0] == UNLABELLED).all():
        notes = (*notes, f"no pixel of {path.name} is labelled")
    if np.issubdtype(pixels.dtype, np.floating) and not reading.any_values:
        _refuse_fractions(pixels[:, valid], path)
    rounded = np.clip(np.rint(np.nan_to_num(pixels)), 0, 255)
    clipped = float((np.abs(pixels - rounded)[:, valid] > 1).mean()) if valid.any() and not reading.any_values else 0.0
    if clipped > _MOST_CLIPPED:
        raise LabelError(
            f"{clipped:.1%} of the values of {path} ({source.dtype}) lie outside 0..255; networks are trained on 8-bit imagery. "
            "Scale it to 8 bits first, for example with gdal_translate -ot Byte -scale, and scale what the model is run on alike."
        )
    if clipped:
        notes = (*notes, f"{clipped:.1%} of the values of {path.name} ({source.dtype}) lie outside 0..255 and were clipped")
    name = str(path.relative_to(data_dir))
    return LabelledRaster(name=name, source=source, pixels=rounded.astype(np.uint8), targets=targets, valid=valid, notes=notes)


def _kept_part(blocks: Blocks, source: RasterSource, reading: Reading) -> NDArray[np.bool_]:
    """Return what blocks keep (H, W), drawn on the grid of the tests, which is the model's whatever the site is read at."""
    tested = place_source(source.imagery, reading.resolution_m, needs_georeference=False)
    kept = kept_pixels(blocks, tested.geobox)
    return kept if tested.decimation == source.decimation else onto_averages(kept, tested.decimation, source.shape, source.decimation)


def _refuse_fractions(values: NDArray[Any], path: Path) -> None:
    """Refuse reflectances and the like, of which rounding to bytes would leave nothing."""
    if values.size and float(values.max()) <= _FRACTION and bool((values != np.rint(values)).any()):
        raise LabelError(
            f"The values of {path} ({values.dtype}) lie within {values.min():.3g}..{values.max():.3g}; networks are trained on 8-bit "
            "imagery. Scale it to 8 bits first, for example with gdal_translate -ot Byte -scale, and scale what the model is run on alike."
        )


def _open(path: Path, site: Site, reading: Reading) -> RasterSource:
    resolution = None if site.native_resolution else site.resolution_m or reading.resolution_m
    in_colors = mean_colors(reading.band_names)
    source = open_raster(path, resolution_m=resolution, needs_georeference=site.kind in _GEOREFERENCED, in_colors=in_colors)
    wanted = site.bands or _choose_bands(source, reading)
    if len(wanted) != (reading.bands or len(wanted)) or not set(wanted) <= set(source.bands):
        raise LabelError(
            f"Site '{site.name}': {path} has {len(source.bands)} bands, {len(source.imagery.opacity)} of them opacity; "
            f"the model needs {reading.bands}, bands asks for {list(site.bands) or 'all'}."
        )
    return source.choose(wanted)


def _choose_bands(source: RasterSource, reading: Reading) -> tuple[int, ...]:
    """Return the bands that a run would take: those called as the model calls its own, else the first ones."""
    named = match_bands(reading.band_names, source.imagery.bands) if reading.band_names else None
    lacking = () if named else list_lacking(reading.band_names, source.imagery.bands)
    if lacking:
        raise LabelError(f"{source.path} names its bands, and {', '.join(lacking)} is not among them. Say which to take with bands.")
    colors = tuple(band for band in source.bands if band not in source.imagery.opacity)
    return named or colors[: reading.bands]


def _draw(seed: int, site: Site, spec: ModelSpec) -> LabelledRaster:
    resolution = site.resolution_m or spec.resolution_m or 0.3
    options = SceneOptions(height_px=_SCENE_PX, width_px=_SCENE_PX, seed=seed, resolution_m=resolution)
    scene = draw_scene(options)
    channel = _scene_channels(site, spec.scheme)
    outlines = rasterize([b.boundary for b in scene.buildings], scene.classes.shape, all_touched=True) == 1
    interior = (scene.instances > 0) & ~outlines
    targets = _with_unknown(channel[scene.classes], interior, outlines, ~scene.valid)
    return LabelledRaster(name=f"drawn scene {seed}", source=None, pixels=scene.pixels, targets=targets, valid=scene.valid)


def _scene_channels(site: Site, scheme: ClassScheme) -> NDArray[np.uint8]:
    """Return the channel (256,) of each class value of a scene: by ``values``, else by name, buildings and roads also by kind."""
    channel = np.full(256, UNLABELLED, np.uint8)
    known = {str(int(land)): land for land in Land}
    if strange := sorted(set(site.values) - set(known)):
        legend = ", ".join(f"{value} {land.name.lower()}" for value, land in known.items())
        raise LabelError(f"Site '{site.name}': drawn scenes have no value {strange[0]}. They have {legend}.")
    for text, name in site.values.items():
        channel[known[text]] = channel_of(name, scheme)
    if site.values:
        return channel
    names = [row.name for row in scheme]
    for land in Land:
        called = land.name.lower()
        alike = [row for row in scheme if row.kind is _SCENE_KINDS.get(land)]
        if called in names:
            channel[land] = names.index(called)
        elif len(alike) == 1:
            channel[land] = names.index(alike[0].name)
    if (channel == UNLABELLED).all():
        drawn = ", ".join(land.name.lower() for land in Land)
        raise LabelError(
            f"Site '{site.name}': none of {drawn}, which drawn scenes have, is a class of the model "
            f'({", ".join(names)}). Say with values which stand for each other: values = {{ 0 = "{names[0]}" }}.'
        )
    return channel


def _read_targets(
    path: Path, source: RasterSource, site: Site, scheme: ClassScheme, data_dir: Path
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return targets (3, H, W) and notes."""
    known = _labelled_area(path, source, site, data_dir)
    if site.kind == "class_raster":
        found = read_class_raster(label_path(site.labels, path, site, data_dir), source, site, scheme)
        semantic = np.where(known, found.semantic, UNLABELLED).astype(np.uint8)
        building = semantic == building_channel(scheme)
        unknown = semantic == UNLABELLED
        # what lies beyond the known is no edge of a building
        interior = building & ndimage.binary_erosion(building | unknown, border_value=1)
        return _with_unknown(semantic, interior, building & ~interior, unknown), found.notes
    if site.kind == "run":
        sure = read_sure(label_path(site.labels, path, site, data_dir), source, site, scheme)
        semantic = np.where(known, sure.semantic, UNLABELLED).astype(np.uint8)
        nothing = np.full_like(semantic, UNLABELLED)
        return np.stack([semantic, nothing, nothing]), sure.notes
    if site.kind == "building_polygons":
        return _building_targets(source, label_path(site.labels, path, site, data_dir), site, scheme, known)
    return _vector_targets(path, source, site, scheme, known, data_dir)


def _building_targets(
    source: RasterSource, path: Path, site: Site, scheme: ClassScheme, known: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    channel = building_channel(scheme)
    if channel < 0:
        raise LabelError(f"Site '{site.name}' labels buildings, and no class of the scheme is of kind 'building'.")
    needed = site.labelled_area is None and site.labelled_lonlat is None
    found = only_polygons(read_features(path, source.geobox, site.layer), path, needed=needed)
    notes = _none_here(found, path, source, site)
    building = burn(found.table.assign(channel=1), source.geobox, 0) == 1
    edges = outline(found.table.geometry, source.geobox)
    semantic = np.where(building, channel, NOT_BUILDING).astype(np.uint8)
    semantic[~known] = UNLABELLED
    return _with_unknown(semantic, building & ~edges, edges, ~known), (*found.notes, *notes)


def _vector_targets(
    path: Path, source: RasterSource, site: Site, scheme: ClassScheme, known: NDArray[np.bool_], data_dir: Path
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    patterns = site.class_labels or {"": site.labels}
    paths = {name: label_path(pattern, path, site, data_dir) for name, pattern in patterns.items()}
    found = read_classes(site, paths, source.geobox, scheme)
    notes = _none_here(found, next(iter(paths.values())), source, site)
    fill = UNLABELLED if site.background is None else channel_of(site.background, scheme)
    semantic = burn(found.table, source.geobox, fill)
    semantic[~known] = UNLABELLED
    channel = building_channel(scheme)
    building = semantic == channel
    edges = outline(found.table.geometry[found.table["channel"] == channel], source.geobox) & (semantic != UNLABELLED)
    return _with_unknown(semantic, building & ~edges, edges, semantic == UNLABELLED), (*found.notes, *notes)


def _none_here(found: Features, path: Path, source: RasterSource, site: Site) -> tuple[str, ...]:
    """Refuse labels that lie elsewhere, unless an area says that there is truly nothing here."""
    if len(found.table):
        return ()
    if site.labelled_area is None and site.labelled_lonlat is None:
        raise LabelError(
            f"Site '{site.name}': no feature of {path} touches {source.path}. Check their CRSs. "
            "If there is truly nothing here, say so with labelled_area or labelled_lonlat."
        )
    return (f"{path.name}: no feature touches the raster; the labelled area counts as empty",)


def label_path(pattern: str, path: Path, site: Site, data_dir: Path) -> Path:
    """Fill in a pattern of label files.

    Raises:
        LabelError: If it holds other fields, or names the raster itself.
    """
    parent, stem = str(path.parent.relative_to(data_dir)), path.stem
    for old, new in site.replace.items():
        parent, stem = parent.replace(old, new), stem.replace(old, new)
    try:
        filled = data_dir / pattern.format(parent=parent, stem=stem)
    except (KeyError, IndexError, ValueError) as exc:
        raise LabelError(f"Site '{site.name}': {pattern!r} holds a field {exc}; {{parent}} and {{stem}} are filled in.") from exc
    if filled == path:
        raise LabelError(f"Site '{site.name}': the labels of {path} are the raster itself. Check labels and replace.")
    return filled


def _labelled_area(path: Path, source: RasterSource, site: Site, data_dir: Path) -> NDArray[np.bool_]:
    """Return where the labels are complete (H, W)."""
    areas = []
    if (site.labelled_area or site.labelled_lonlat) and source.geobox.crs is None:
        raise LabelError(f"Site '{site.name}': {path} has no CRS, so a labelled area cannot be placed on it.")
    if site.labelled_area is not None:
        areas.append(_read_area(label_path(site.labelled_area, path, site, data_dir), source.geobox.crs, site))
    if site.labelled_lonlat is not None:
        areas.append(gpd.GeoSeries([box(*site.labelled_lonlat)], crs="EPSG:4326"))
    known = np.ones(source.shape, bool)
    for area in areas:
        known &= rasterize(area.to_crs(source.geobox.crs), source.shape, transform=source.geobox.transform) == 1
    return known


def _read_area(path: Path, crs: object, site: Site) -> Any:
    try:
        table = read_vector(path, crs)
    except UsageError as exc:
        raise LabelError(str(exc)) from exc
    table = table[shapely.area(table.geometry.to_numpy()) > 0]
    if table.empty:
        raise LabelError(f"{path} holds no polygon, so site '{site.name}' has no labelled area. Draw one, or leave labelled_area out.")
    if not site.labelled_names:
        return table.geometry
    if "name" not in table.columns:
        raise LabelError(f"{path} has no column 'name', which labelled_names of site '{site.name}' asks for.")
    kept = table[table["name"].isin(site.labelled_names)]
    if kept.empty:
        raise LabelError(f"{path} has no area named {', '.join(site.labelled_names)}. Check labelled_names.")
    return kept.geometry


def _with_unknown(
    semantic: NDArray[np.uint8], interior: NDArray[np.bool_], boundary: NDArray[np.bool_], unknown: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    targets = np.stack([semantic, interior.astype(np.uint8), boundary.astype(np.uint8)])
    targets[1:, unknown] = UNLABELLED
    return targets
