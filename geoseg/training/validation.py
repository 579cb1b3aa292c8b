"""Measurement while training: fixed windows that cover the validation sites, and the worst of them as pictures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from geoseg.evaluation.semantic import confusion_matrix, iou_per_class
from geoseg.labels.coding import UNLABELLED, building_channel, is_partial
from geoseg.labels.targets import LabelledRaster
from geoseg.model.spec import ModelSpec
from geoseg.training.dataset import load_labelled
from geoseg.training.recipe import Recipe

_LEAST_LABELLED = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowResult:
    """What a network made of one window."""

    name: str
    """Raster and place."""
    measure: str
    """What ``badness`` was made from, for captions, for example ``IoU 0.31``."""
    badness: float
    """The higher, the worse."""
    pixels: NDArray[np.float32]
    """(B, H, W) in 0..255."""
    truth: NDArray[np.uint8]
    """(H, W) semantic targets as in :class:`geoseg.labels.targets.LabelledRaster`."""
    found: NDArray[np.uint8]
    """(H, W) semantic channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    site: int
    raster: LabelledRaster
    row: int
    col: int


class ValidationWindows(Dataset[tuple[Tensor, Tensor, int]]):
    """Windows side by side over the validation sites, without variation; those without any label are left out.

    An item is (B, H, W) float32 pixels in 0..255, (H, W) uint8 semantic targets and its index. What reaches past a raster is
    neutral and UNLABELLED.
    """

    def __init__(self, recipe: Recipe, data_dir: Path) -> None:
        self.sites = tuple(site.name for site in recipe.validation)
        self._side = recipe.schedule.window_px
        self._neutral = np.array(recipe.model.mean, np.float32)[:, None, None]
        groups = [load_labelled(site, recipe.model, data_dir) for site in recipe.validation]
        self.partial = tuple(any(is_partial(r.targets[0]) for r in group) for group in groups)
        self._places = [place for site, group in enumerate(groups) for raster in group for place in self._cover(site, raster)]

    def _cover(self, site: int, raster: LabelledRaster) -> list[_Place]:
        height, width = raster.targets.shape[1:]
        places = [_Place(site=site, raster=raster, row=r, col=c) for r in range(0, height, self._side) for c in range(0, width, self._side)]
        return [p for p in places if (raster.targets[0, p.row : p.row + self._side, p.col : p.col + self._side] != UNLABELLED).any()]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        place, side = self._places[index], self._side
        rows, cols = slice(place.row, place.row + side), slice(place.col, place.col + side)
        truth = np.full((side, side), UNLABELLED, np.uint8)
        pixels = np.broadcast_to(self._neutral, (len(self._neutral), side, side)).copy()
        cut = place.raster.targets[0, rows, cols]
        height, width = cut.shape
        truth[:height, :width] = cut
        shown = pixels[:, :height, :width]
        np.copyto(shown, place.raster.pixels[:, rows, cols], where=True if place.raster.valid is None else place.raster.valid[rows, cols])
        return torch.from_numpy(pixels), torch.from_numpy(truth), index

    def site_of(self, index: int) -> int:
        """Return the number of the site that a window lies in."""
        return self._places[index].site

    def name_of(self, index: int) -> str:
        """Name the raster and place of a window."""
        place = self._places[index]
        return f"{place.raster.name}, row {place.row}, column {place.col}"


class Tally:
    """Counts of pixels by true and found class, per validation site.

    Args:
        windows: What is measured on.
        spec: Classes.
        worst: How many windows to keep.
    """

    def __init__(self, windows: ValidationWindows, spec: ModelSpec, worst: int = 6) -> None:
        self._windows, self._spec = windows, spec
        self._counts = [np.zeros((size, size), np.int64) for size in (2 if p else len(spec.classes) for p in windows.partial)]
        self.worst = Worst(worst)

    def add(self, index: int, pixels: NDArray[np.float32], truth: NDArray[np.uint8], found: NDArray[np.uint8]) -> None:
        """Count a window.

        Args:
            index: Which window it is.
            pixels: (B, H, W), for its picture.
            truth: (H, W) semantic targets.
            found: (H, W) semantic channels.
        """
        site = self._windows.site_of(index)
        partial = self._windows.partial[site]
        counts = _count(truth, found, self._spec, partial)
        self._counts[site] += counts
        iou = _mean_iou(counts, partial)
        if not np.isnan(iou) and (truth != UNLABELLED).mean() >= _LEAST_LABELLED:
            name = self._windows.name_of(index)
            self.worst.offer(WindowResult(name=name, measure=f"IoU {iou:.2f}", badness=-iou, pixels=pixels, truth=truth, found=found))

    def results(self) -> tuple[float, dict[str, float]]:
        """Return the score, the mean over the sites, and the metrics behind it by "site: metric", without those that are not defined."""
        means, metrics = [], {}
        for site, partial, counts in zip(self._windows.sites, self._windows.partial, self._counts, strict=True):
            mean = _mean_iou(counts, partial)
            means.append(mean)
            if partial:
                metrics[f"{site}: IoU building"] = mean
                continue
            metrics[f"{site}: mean IoU"] = mean
            metrics |= {f"{site}: IoU {c.name}": float(v) for c, v in zip(self._spec.classes, iou_per_class(counts), strict=True)}
        known = [mean for mean in means if not np.isnan(mean)]
        measured = {name: value for name, value in metrics.items() if not np.isnan(value)}
        return (float(np.mean(known)) if known else float("nan")), measured


class Worst:
    """The worst windows that were offered.

    Args:
        count: How many are kept.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self.windows: list[WindowResult] = []

    def takes(self, badness: float) -> bool:
        """Tell whether a window as bad as that would be kept."""
        return len(self.windows) < self._count or badness > self.windows[-1].badness

    def offer(self, window: WindowResult) -> None:
        """Keep a window if it is among the worst."""
        if self.takes(window.badness):
            self.windows = sorted([*self.windows, window], key=lambda w: -w.badness)[: self._count]


def _count(truth: NDArray[np.uint8], found: NDArray[np.uint8], spec: ModelSpec, partial: bool) -> NDArray[np.int64]:
    if not partial:
        return confusion_matrix(truth, found, len(spec.classes))
    building = building_channel(spec)
    binary = np.where(truth == UNLABELLED, UNLABELLED, truth == building).astype(np.uint8)
    return confusion_matrix(binary, (found == building).astype(np.uint8), 2)


def _mean_iou(counts: NDArray[np.int64], partial: bool) -> float:
    iou = iou_per_class(counts)
    if partial:
        return float(iou[1])
    return float("nan") if np.isnan(iou).all() else float(np.nanmean(iou))
