"""Windows drawn at random from labelled rasters."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from geoseg.labels.targets import UNLABELLED, LabelledRaster, load_site
from geoseg.training.augment import vary_colors
from geoseg.training.recipe import Augmentation, Recipe

_PLACES_PER_CLASS = 4000


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
