"""Sites as labelled arrays, and windows drawn from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy import ndimage
from shapely.geometry import box
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from geoseg.errors import LabelError
from geoseg.io.raster import RasterSource, open_raster, read_whole
from geoseg.io.vector import read_vector
from geoseg.model.spec import ModelSpec
from geoseg.pixels.classes import ClassKind
from geoseg.scene import SceneOptions, draw_scene
from geoseg.training.recipe import Augmentation, Recipe, Site

UNLABELLED = 255
"""Target value of pixels that nothing is known of."""
NOT_BUILDING = 254
"""Semantic target of pixels that are known to be no building, and no more."""
_PLACES_PER_CLASS = 4000
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


class WindowDataset(Dataset[tuple[Tensor, Tensor]]):
    """Windows drawn at random; the i-th window is a function of the seed, the epoch and i alone."""

    def __init__(self, recipe: Recipe, data_dir: Path) -> None:
        self._window_px = recipe.schedule.window_px
        self._seed = recipe.schedule.seed
        self._length = recipe.schedule.batch_size * recipe.schedule.steps_per_epoch
        self._augmentation = recipe.augmentation
        self._groups = [[_Sampled(r) for r in load_site(site, recipe.model, data_dir)] for site in recipe.sites]
        weights = np.array([site.weight for site in recipe.sites])
        self._group_share = weights / weights.sum()
        self._neutral = torch.tensor(recipe.model.mean)[:, None, None]
        self.epoch = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self._seed, self.epoch, index))
        group = self._groups[rng.choice(len(self._groups), p=self._group_share)]
        sizes = np.sqrt([raster.area_px for raster in group])
        raster = group[rng.choice(len(group), p=sizes / sizes.sum())]
        pixels, targets, inside = raster.draw(rng, self._window_px, self._augmentation)
        varied = vary_colors(pixels, rng, self._augmentation)
        return torch.where(inside, varied, self._neutral), targets


class _Sampled:
    """A labelled raster with places of each class to draw windows around."""

    def __init__(self, raster: LabelledRaster) -> None:
        self._raster = raster
        rng = np.random.default_rng(0)
        semantic = raster.targets[0]
        self._places = [_some_places(semantic == channel, rng) for channel in np.unique(semantic) if channel != UNLABELLED]

    @property
    def area_px(self) -> int:
        return int(self._raster.targets[0].size)

    def draw(self, rng: np.random.Generator, size: int, augmentation: Augmentation) -> tuple[Tensor, Tensor, Tensor]:
        """Cut a rotated, scaled and perhaps mirrored window around a place."""
        height, width = self._raster.targets.shape[1:]
        center = np.array([rng.uniform(0, height), rng.uniform(0, width)])
        if self._places and rng.random() < 0.6:
            places = self._places[rng.integers(len(self._places))]
            center = places[rng.integers(len(places))] + rng.uniform(-size / 3, size / 3, 2)
        scale = np.exp(rng.uniform(*np.log(augmentation.scale)))
        turn = rng.integers(4) * np.pi / 2 if rng.random() < 0.4 else rng.uniform(0, 2 * np.pi)
        mirror = rng.choice([-1.0, 1.0])
        matrix = np.array([[np.cos(turn), -np.sin(turn) * mirror], [np.sin(turn), np.cos(turn) * mirror]]) / scale
        return _cut(self._raster, center, matrix, size)


def _some_places(where: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.intp]:
    places = np.argwhere(where)
    return places[rng.choice(len(places), min(len(places), _PLACES_PER_CLASS), replace=False)]


def _cut(raster: LabelledRaster, center: NDArray[np.float64], matrix: NDArray[np.float64], size: int) -> tuple[Tensor, Tensor, Tensor]:
    reach = int(np.ceil(np.abs(matrix).sum(axis=1).max() * size / 2)) + 2
    top, left = (int(c) - reach for c in center)
    rows, cols = slice(max(top, 0), top + 2 * reach), slice(max(left, 0), left + 2 * reach)
    inside = np.ones((1, *raster.targets[0, rows, cols].shape), np.uint8)
    layers = np.concatenate([raster.pixels[:, rows, cols], raster.targets[:, rows, cols], inside])
    crop = np.pad(layers, _padding(raster.targets.shape[1:], top, left, 2 * reach))
    theta = torch.tensor(np.concatenate([matrix[::-1, ::-1] * size / (2 * reach), [[0.0], [0.0]]], axis=1), dtype=torch.float32)
    grid = functional.affine_grid(theta[None], [1, 1, size, size], align_corners=False)
    bands = len(raster.pixels)
    whole = torch.from_numpy(crop.astype(np.float32))[None]
    pixels = functional.grid_sample(whole[:, :bands], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
    labels = functional.grid_sample(whole[:, bands:], grid, mode="nearest", padding_mode="border", align_corners=False)[0].to(torch.uint8)
    there = labels[-1] == 1
    return pixels, torch.where(there, labels[:-1], UNLABELLED), there


def _padding(shape: tuple[int, ...], top: int, left: int, side: int) -> list[tuple[int, int]]:
    height, width = shape
    rows = (min(max(-top, 0), side), max(0, min(side, top + side - height)))
    cols = (min(max(-left, 0), side), max(0, min(side, left + side - width)))
    return [(0, 0), rows, cols]


def vary_colors(pixels: Tensor, rng: np.random.Generator, augmentation: Augmentation) -> Tensor:
    """Vary brightness, contrast, gamma, color balance, haze, blur and noise of a window.

    Args:
        pixels: (C, H, W) float32 in 0..255.
        rng: Source of randomness.
        augmentation: Strengths.

    Returns:
        (C, H, W) float32 in 0..255.
    """
    strength = augmentation.color
    if strength == 0:
        return pixels
    bands = len(pixels)
    x = pixels / 255
    x = x.clamp(0, 1) ** float(np.exp(rng.normal(0, 0.2 * strength)))
    middle = x.mean()
    gain = torch.tensor(np.exp(rng.normal(0, 0.15 * strength) + rng.normal(0, 0.06 * strength, (bands, 1, 1))), dtype=torch.float32)
    x = (x - middle) * gain + middle + float(rng.normal(0, 0.07 * strength))
    gray = x.mean(dim=0, keepdim=True)
    saturation = 0.0 if rng.random() < augmentation.gray else float(np.exp(rng.normal(0, 0.3 * strength)))
    x = gray + (x - gray) * saturation
    if rng.random() < 0.15:
        haze = float(rng.uniform(0, 0.4 * strength))
        x = x * (1 - haze) + haze * 0.85
    if rng.random() < 0.2:
        x = functional.avg_pool2d(x[None], 3, stride=1, padding=1, count_include_pad=False)[0]
    if rng.random() < 0.3:
        noise = rng.normal(0, 0.03 * strength, x.shape)
        x = x + torch.from_numpy(noise.astype(np.float32))
    return x.clamp(0, 1) * 255
