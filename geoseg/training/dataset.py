"""Windows drawn at random from labelled rasters."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from geoseg.errors import LabelError
from geoseg.labels.coding import UNLABELLED, building_channel, is_partial
from geoseg.labels.site import Site
from geoseg.labels.targets import LabelledRaster, load_site
from geoseg.model.spec import ModelSpec
from geoseg.training.augment import falls, vary_window
from geoseg.training.mixing import measure_colors, paste_classes, take_colors
from geoseg.training.recipe import Augmentation, Recipe, Sampling

DISTANCE_SCALE = 254
"""Quantization of the distance target; 255 is UNLABELLED."""
_PLACES_PER_CLASS = 4000


class WindowDataset(Dataset[tuple[Tensor, Tensor]]):
    """Windows drawn at random; the i-th window is a function of the seed, the epoch and i alone.

    A window is (B, H, W) float32 pixels in 0..255 and (T, H, W) uint8 targets as in :class:`LabelledRaster`, followed by the
    distance to the building's edge in 1/254 if the model has that head.

    Raises:
        LabelError: If a site holds no labelled pixel, or knows only buildings and the model has no such class.
    """

    def __init__(self, recipe: Recipe, data_dir: Path) -> None:
        self._recipe = recipe
        loaded = [load_labelled(site, recipe.model, data_dir) for site in recipe.sites]
        self.notes = tuple(dict.fromkeys(note for rasters in loaded for raster in rasters for note in raster.notes))
        """What was repaired or left out while the labels were read."""
        self._groups = [[_Sampled(raster) for raster in rasters] for rasters in loaded]
        weights = np.array([site.weight for site in recipe.sites])
        self._group_share = weights / weights.sum()
        self._neutral = torch.tensor(recipe.model.mean)[:, None, None]
        self.epoch = 0

    def __len__(self) -> int:
        return self._recipe.schedule.batch_size * self._recipe.schedule.steps_per_epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng, raster = self._raster_of(index)
        augmentation = self._recipe.augmentation
        pixels, targets, inside = self._draw(raster, rng)
        if falls(augmentation.class_mix, rng):
            pixels, targets = paste_classes((pixels, targets), self._draw(self._pick_raster(rng), rng)[:2], rng)
            # nothing is labelled, and so nothing pasted, but imagery
            inside = inside | (targets[0] != UNLABELLED)
        varied = vary_window(pixels, rng, augmentation, self._neutral)
        return torch.where(inside, varied, self._neutral), add_distance(targets, self._recipe)

    def _draw(self, raster: "_Sampled", rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        pixels, targets, inside = raster.draw(rng, self._recipe)
        if falls(self._recipe.augmentation.other_colors, rng):
            pixels = take_colors(pixels, raster.colors, self._pick_raster(rng).colors, share=float(rng.random()))
        return pixels, targets, inside

    def name_of(self, index: int) -> str:
        """Name the raster that a window of the present epoch is cut from."""
        return self._raster_of(index)[1].name

    def _raster_of(self, index: int) -> "tuple[np.random.Generator, _Sampled]":
        rng = np.random.default_rng((self._recipe.schedule.seed, self.epoch, index))
        return rng, self._pick_raster(rng)

    def _pick_raster(self, rng: np.random.Generator) -> "_Sampled":
        group = self._groups[rng.choice(len(self._groups), p=self._group_share)]
        sizes = np.sqrt([raster.labelled_px for raster in group])
        return group[rng.choice(len(group), p=sizes / sizes.sum())]


def load_labelled(site: Site, spec: ModelSpec, data_dir: Path) -> list[LabelledRaster]:
    """Read a site, and see to it that something can be learned from it.

    Raises:
        LabelError: If no pixel is labelled, or the labels know only buildings and the model has no such class.
    """
    rasters = load_site(site, spec, data_dir)
    if building_channel(spec) < 0 and any(is_partial(r.targets[0]) for r in rasters):
        raise LabelError(
            f"Site '{site.name}' only tells buildings from everything else, and model '{spec.name}' has no class of kind 'building'. "
            "Remove the site or add the class."
        )
    return rasters


def share_of(rank: int, world: int, length: int) -> range:
    """Return the indices of the windows that one of ``world`` processes prepares: together they are all of them, each once."""
    return range(rank, length, world)


def add_distance(targets: Tensor, recipe: Recipe) -> Tensor:
    """Append the distance to the building's edge, derived from the interior, if the model has that head.

    Args:
        targets: (3, H, W) uint8 as in :class:`LabelledRaster`.
        recipe: Names the heads, and the distance at which the target reaches 1.

    Returns:
        (3 or 4, H, W) uint8; the fourth layer is the distance in 1/254, UNLABELLED where the interior is.
    """
    if "building_distance" not in recipe.model.heads:
        return targets
    interior = targets[1].numpy()
    # what lies beyond the known is no edge of a building
    distance = np.minimum(_distance_inside(interior != 0) / recipe.loss.distance_px, 1)
    layer = np.where(interior == UNLABELLED, UNLABELLED, np.rint(distance * DISTANCE_SCALE)).astype(np.uint8)
    return torch.cat([targets, torch.from_numpy(layer)[None]])


def _distance_inside(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    # scipy's distance to a background that is not there is undefined
    if inside.all():
        return np.full(inside.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(inside))


class _Sampled:
    """A labelled raster with places of each class to draw windows around."""

    def __init__(self, raster: LabelledRaster) -> None:
        self._raster = raster
        rng = np.random.default_rng(0)
        semantic = raster.targets[0]
        channels, counts = np.unique(semantic[semantic != UNLABELLED], return_counts=True)
        self._places = [_some_places(semantic == channel, rng) for channel in channels]
        self._counts = counts

    @property
    def name(self) -> str:
        return self._raster.name

    @cached_property
    def colors(self) -> Tensor:
        """(2, C, 1, 1) float32: mean and standard deviation of each band."""
        return measure_colors(self._raster.pixels, self._raster.valid)

    @property
    def labelled_px(self) -> int:
        return int(self._counts.sum())

    def draw(self, rng: np.random.Generator, recipe: Recipe) -> tuple[Tensor, Tensor, Tensor]:
        """Cut a rotated, scaled and perhaps mirrored window, around another place if nothing in it is labelled."""
        for _ in range(recipe.sampling.tries):
            window = self._draw(rng, recipe.schedule.window_px, recipe.sampling, recipe.augmentation)
            if (window[1][0] != UNLABELLED).any():
                break
        return window

    def _draw(self, rng: np.random.Generator, size: int, sampling: Sampling, augmentation: Augmentation) -> tuple[Tensor, Tensor, Tensor]:
        height, width = self._raster.targets.shape[1:]
        center = np.array([rng.uniform(0, height), rng.uniform(0, width)])
        if self._places and rng.random() < sampling.class_balance:
            places = self._places[self._pick_class(rng, sampling.rarity)]
            center = places[rng.integers(len(places))] + rng.uniform(-size / 3, size / 3, 2)
        scale = np.exp(rng.uniform(*np.log(augmentation.scale)))
        turn = rng.integers(4) * np.pi / 2 if rng.random() < 0.4 else rng.uniform(0, 2 * np.pi)
        mirror = rng.choice([-1.0, 1.0])
        matrix = np.array([[np.cos(turn), -np.sin(turn) * mirror], [np.sin(turn), np.cos(turn) * mirror]]) / scale
        if sampling.stay_inside:
            center = _move_inside(center, matrix, size, (height, width))
        return _cut(self._raster, center, matrix, size)

    def _pick_class(self, rng: np.random.Generator, rarity: float) -> int:
        if rarity == 0:
            return int(rng.integers(len(self._places)))
        weights = self._counts.astype(np.float64) ** -rarity
        return int(rng.choice(len(self._places), p=weights / weights.sum()))


def _some_places(where: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.intp]:
    places = np.argwhere(where)
    return places[rng.choice(len(places), min(len(places), _PLACES_PER_CLASS), replace=False)]


def _move_inside(center: NDArray[np.float64], matrix: NDArray[np.float64], size: int, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Move a window's middle until its corners lie in the raster; on an axis along which it does not fit, to the raster's middle."""
    # half a pixel more each way, which is interpolated from
    reach = np.abs(matrix).sum(axis=1) * size / 2 + 1
    low = np.minimum(reach, np.array(shape) / 2)
    return np.clip(center, low, np.array(shape) - low)


def _cut(raster: LabelledRaster, center: NDArray[np.float64], matrix: NDArray[np.float64], size: int) -> tuple[Tensor, Tensor, Tensor]:
    reach = int(np.ceil(np.abs(matrix).sum(axis=1).max() * size / 2)) + 2
    top, left = (int(c) - reach for c in center)
    rows, cols = (slice(max(begin, 0), max(begin + 2 * reach, 0)) for begin in (top, left))
    valid = np.ones(raster.targets.shape[1:], bool) if raster.valid is None else raster.valid
    inside = valid[None, rows, cols].astype(np.uint8)
    layers = np.concatenate([raster.pixels[:, rows, cols], raster.targets[:, rows, cols], inside])
    crop = np.pad(layers, _padding(raster.targets.shape[1:], top, left, 2 * reach))
    theta = torch.tensor(np.concatenate([matrix[::-1, ::-1] * size / (2 * reach), [[0.0], [0.0]]], axis=1), dtype=torch.float32)
    grid = functional.affine_grid(theta[None], [1, 1, size, size], align_corners=False)
    bands = len(raster.pixels)
    whole = torch.from_numpy(crop.astype(np.float32))[None]
    labels = functional.grid_sample(whole[:, bands:], grid, mode="nearest", padding_mode="border", align_corners=False)[0].to(torch.uint8)
    # between pixels of imagery alone: what lies past its edge has no color
    imagery = torch.cat([whole[:, :bands] * whole[:, -1:], whole[:, -1:]], dim=1)
    seen = functional.grid_sample(imagery, grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
    pixels = seen[:-1] / seen[-1:].clamp(min=1e-3)
    there = labels[-1] == 1
    return pixels, torch.where(there, labels[:-1], UNLABELLED), there


def _padding(shape: tuple[int, ...], top: int, left: int, side: int) -> list[tuple[int, int]]:
    height, width = shape
    rows = (min(max(-top, 0), side), max(0, min(side, top + side - height)))
    cols = (min(max(-left, 0), side), max(0, min(side, left + side - width)))
    return [(0, 0), rows, cols]
