"""Sites as arrays: pixels and targets on one grid."""

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy import ndimage
from shapely.geometry import box

from geoseg.errors import LabelError
from geoseg.io.raster import RasterSource, open_raster, read_whole
from geoseg.io.vector import read_vector
from geoseg.labels.site import Site
from geoseg.model.spec import ModelSpec
from geoseg.pixels.classes import ClassKind
from geoseg.scene import SceneOptions, draw_scene

UNLABELLED = 255
"""Target value of pixels that nothing is known of."""
NOT_BUILDING = 254
"""Semantic target of pixels that are known to be no building, and no more."""
_SCENE_PX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRaster:
    """One raster with its targets, all on the same grid."""

    name: str
    """File name, for reports."""
    source: RasterSource | None
    """Where the pixels came from; None if they were drawn."""
    pixels: NDArray[np.uint8]
    """(C, H, W)."""
    targets: NDArray[np.uint8]
    """(3, H, W): semantic channel or NOT_BUILDING or UNLABELLED; building interior; building boundary (0, 1, UNLABELLED)."""


def load_site(site: Site, spec: ModelSpec, data_dir: Path) -> list[LabelledRaster]:
    """Read the rasters of a site with their labels, at the model's resolution.

    Raises:
        LabelError: If the glob finds nothing, or the labels hold unknown values or lie elsewhere.
    """
    if site.kind == "drawn_scenes":
        return [_draw(seed, site, spec) for seed in site.seeds]
    paths = sorted(data_dir.glob(site.rasters))
    if not paths:
        raise LabelError(f"Site '{site.name}': no raster matches {site.rasters} below {data_dir}. Check --data.")
    return [_load(path, site, spec, data_dir) for path in paths]


def _draw(seed: int, site: Site, spec: ModelSpec) -> LabelledRaster:
    resolution = site.resolution_m or spec.resolution_m or 0.3
    options = SceneOptions(height_px=_SCENE_PX, width_px=_SCENE_PX, seed=seed, resolution_m=resolution)
    scene = draw_scene(options)
    channel = np.full(256, UNLABELLED, np.uint8)
    for index, row in enumerate(spec.classes):
        channel[row.value] = index
    outline = rasterize([b.boundary for b in scene.buildings], scene.classes.shape, all_touched=True) == 1
    interior = (scene.instances > 0) & ~outline
    targets = _with_unknown(channel[scene.classes], interior, outline, ~scene.valid)
    return LabelledRaster(name=f"drawn scene {seed}", source=None, pixels=scene.pixels, targets=targets)


def _load(path: Path, site: Site, spec: ModelSpec, data_dir: Path) -> LabelledRaster:
    resolution = site.resolution_m or spec.resolution_m
    georeferenced = site.kind == "building_polygons"
    source = open_raster(path, resolution_m=resolution if georeferenced else None, needs_georeference=georeferenced)
    pixels, valid = read_whole(source)
    label_path = data_dir / site.labels.format(parent=path.parent.relative_to(data_dir), stem=path.stem)
    targets = _polygon_targets(source, label_path, site, spec, data_dir) if georeferenced else _class_targets(label_path, spec, valid.shape)
    targets[:, ~valid] = UNLABELLED
    rounded = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return LabelledRaster(name=str(path.relative_to(data_dir)), source=source, pixels=rounded, targets=targets)


def _class_targets(path: Path, spec: ModelSpec, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    values = read_whole(open_raster(path, needs_georeference=False))[0][0]
    if values.shape != shape:
        raise LabelError(f"{path} has {values.shape} pixels, its raster {shape}; labels must lie on the raster's grid.")
    channel = np.full(256, NOT_BUILDING, np.uint8)
    channel[UNLABELLED] = UNLABELLED
    for index, row in enumerate(spec.classes):
        channel[row.value] = index
    semantic = channel[values]
    if (semantic == NOT_BUILDING).any():
        unknown, counts = np.unique(values[semantic == NOT_BUILDING], return_counts=True)
        raise LabelError(
            f"{path} holds values that are no class: {dict(zip(unknown.tolist(), counts.tolist(), strict=True))} (value: pixels)."
        )
    building = semantic == building_channel(spec)
    interior = building & ndimage.binary_erosion(building, border_value=1)
    boundary = building & ~interior
    return _with_unknown(semantic, interior, boundary, semantic == UNLABELLED)


def _polygon_targets(source: RasterSource, path: Path, site: Site, spec: ModelSpec, data_dir: Path) -> NDArray[np.uint8]:
    crs, shape, transform = source.geobox.crs, source.geobox.shape, source.geobox.transform
    polygons = read_vector(path, crs).geometry
    here = polygons[polygons.intersects(box(*source.geobox.boundingbox))]
    if here.empty:
        raise LabelError(f"Site '{site.name}': no polygon of {path} touches {source.path}. Check their CRSs.")
    building = rasterize(here, shape, transform=transform) == 1
    outline = rasterize(here.boundary, shape, transform=transform, all_touched=True) == 1
    known = _labelled_area(source, site, data_dir)
    semantic = np.where(building, building_channel(spec), NOT_BUILDING).astype(np.uint8)
    semantic[~known] = UNLABELLED
    return _with_unknown(semantic, building & ~outline, outline, ~known)


def _labelled_area(source: RasterSource, site: Site, data_dir: Path) -> NDArray[np.bool_]:
    areas = []
    if site.labelled_area is not None:
        table = read_vector(data_dir / site.labelled_area, source.geobox.crs)
        kept = table[table["name"].isin(site.labelled_names)] if site.labelled_names else table
        areas.append(kept.geometry)
    if site.labelled_lonlat is not None:
        areas.append(gpd.GeoSeries([box(*site.labelled_lonlat)], crs="EPSG:4326"))
    known = np.ones(source.geobox.shape, bool)
    for area in areas:
        known &= rasterize(area.to_crs(source.geobox.crs), source.geobox.shape, transform=source.geobox.transform) == 1
    return known


def _with_unknown(
    semantic: NDArray[np.uint8], interior: NDArray[np.bool_], boundary: NDArray[np.bool_], unknown: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    targets = np.stack([semantic, interior.astype(np.uint8), boundary.astype(np.uint8)])
    targets[1:, unknown] = UNLABELLED
    return targets


def building_channel(spec: ModelSpec) -> int:
    """Return the semantic channel of the first building class, or -1."""
    return next((i for i, c in enumerate(spec.classes) if c.kind is ClassKind.BUILDING), -1)
