"""Windows take colors and classes from other rasters, with their labels, and nothing where they do not ask for it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from geoseg.labels.coding import NOT_BUILDING, UNLABELLED
from geoseg.labels.site import Site
from geoseg.training.dataset import WindowDataset
from geoseg.training.mixing import measure_colors, paste_classes, take_colors
from geoseg.training.recipe import Recipe, Sampling
from tests.training.drawn import tiny_recipe


def window_of(value: float, semantic: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    targets = np.stack([semantic, semantic == 4, semantic == 9]).astype(np.uint8)
    return torch.full((3, *semantic.shape), value), torch.from_numpy(targets)


def columns(*values: int) -> np.ndarray:
    return np.repeat(np.array(values, np.uint8), 2)[None].repeat(6, axis=0)


def recipe_of(sites: tuple[Site, ...], sampling: Sampling | None = None, **augmentation: float) -> Recipe:
    recipe = tiny_recipe(sites=sites, **({"sampling": sampling} if sampling else {}))
    off = {"color": 0.0, "shadow": 0.0, "jpeg": 0.0, "band_drop": 0.0, "scale": (1.0, 1.0)}
    return recipe.model_copy(update={"augmentation": recipe.augmentation.model_copy(update=off | augmentation)})


def write_flat(folder: Path, name: str, level: int, classes: np.ndarray) -> Site:
    """Noise around a level, the same in all bands, with given labels."""
    noise = np.random.default_rng(level).normal(level, 5, (*classes.shape, 1)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noise.repeat(3, axis=2)).save(folder / f"{name}.png")
    Image.fromarray(classes).save(folder / f"{name}_classes.png")
    return Site(name=name, kind="class_raster", rasters=f"{name}.png", labels="{stem}_classes.png")


def test_colors_become_those_of_the_other_raster() -> None:
    rng = np.random.default_rng(0)
    dark, bright = (rng.normal(m, s, (3, 80, 80)).clip(0, 255).astype(np.uint8) for m, s in ((60, 8), (150, 20)))
    changed = take_colors(torch.from_numpy(dark).float(), measure_colors(dark, None), measure_colors(bright, None), share=1.0)
    torch.testing.assert_close(changed.mean(dim=(1, 2)), torch.from_numpy(bright).float().mean(dim=(1, 2)), atol=0.5, rtol=0)
    torch.testing.assert_close(changed.std(dim=(1, 2)), torch.from_numpy(bright).float().std(dim=(1, 2)), atol=0.5, rtol=0)
    # half of the way lies in the middle
    half = take_colors(torch.from_numpy(dark).float(), measure_colors(dark, None), measure_colors(bright, None), share=0.5)
    assert half.mean().item() == pytest.approx((dark.mean() + bright.mean()) / 2, abs=0.5)


def test_colors_are_measured_where_there_is_imagery() -> None:
    pixels = np.full((2, 10, 10), 255, np.uint8)
    pixels[:, :5] = np.arange(50, dtype=np.uint8).reshape(5, 10)
    valid = np.zeros((10, 10), bool)
    valid[:5] = True
    mean, deviation = measure_colors(pixels, valid)
    np.testing.assert_allclose(mean.ravel(), 24.5)
    np.testing.assert_allclose(deviation.ravel(), np.arange(50).std(), rtol=1e-5)
    assert not measure_colors(pixels, np.zeros((10, 10), bool)).any()


def test_a_raster_without_colors_neither_gives_nor_takes_any() -> None:
    flat, varied = np.full((1, 8, 8), 40, np.uint8), np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    for own, other in ((flat, varied), (varied, flat)):
        pixels = torch.from_numpy(own).float()
        assert torch.equal(take_colors(pixels, measure_colors(own, None), measure_colors(other, None), share=1.0), pixels)


def test_half_of_the_classes_are_pasted_with_pixels_and_labels() -> None:
    ground, other = window_of(10, columns(0, 0, 0, 0, 0)), window_of(200, columns(1, 2, 3, 4, UNLABELLED))
    seen = set()
    for seed in range(40):
        pixels, targets = paste_classes(ground, other, np.random.default_rng(seed))
        pasted = pixels[0] == 200
        values = set(targets[0][pasted].tolist())
        assert len(values) == 2
        seen |= values
        assert torch.equal(targets[:, pasted], other[1][:, pasted])
        assert torch.equal(targets[:, ~pasted], ground[1][:, ~pasted])
        # what nobody labelled is never pasted
        assert not pasted[:, 8:].any()
    assert seen == {1, 2, 3, 4}


def test_no_building_is_pasted_as_a_class() -> None:
    land, town = window_of(0, columns(2, 2)), window_of(9, columns(4, NOT_BUILDING))
    rows = [paste_classes(land, town, np.random.default_rng(seed))[1][0, 0] for seed in range(20)]
    assert {tuple(row.tolist()) for row in rows} == {(4, 4, 2, 2), (2, 2, NOT_BUILDING, NOT_BUILDING)}


@pytest.mark.parametrize("lone", [columns(3, 3), columns(3, UNLABELLED), columns(UNLABELLED, UNLABELLED)])
def test_a_window_of_one_class_gives_nothing(lone: np.ndarray) -> None:
    window = window_of(5, columns(0, 1))
    assert paste_classes(window, window_of(7, lone), np.random.default_rng(0)) is window


def test_windows_hold_classes_of_two_rasters(tmp_path: Path) -> None:
    towns = np.where(np.indices((200, 200)).sum(axis=0) // 12 % 2 == 0, 3, 4).astype(np.uint8)
    sites = (write_flat(tmp_path, "desert", 60, np.zeros((200, 200), np.uint8)), write_flat(tmp_path, "town", 180, towns))

    def mixed(**augmentation: float) -> int:
        windows = WindowDataset(recipe_of(sites, Sampling(stay_inside=True), **augmentation), tmp_path)
        return sum(len({0, 3, 4} & set(windows[i][1][0].unique().tolist())) > 1 and bool((windows[i][1][0] == 0).any()) for i in range(40))

    assert mixed() == 0
    assert mixed(class_mix=1.0) > 5
    windows = WindowDataset(recipe_of(sites, Sampling(stay_inside=True), class_mix=1.0), tmp_path)
    for i in range(40):
        pixels, targets = windows[i]
        # each label lies on the pixels that it was drawn for
        assert (pixels[0][targets[0] == 0] < 120).all()
        assert (pixels[0][(targets[0] == 3) | (targets[0] == 4)] > 120).all()


def test_windows_take_colors_of_other_rasters(tmp_path: Path) -> None:
    classes = np.zeros((200, 200), np.uint8)
    sites = (write_flat(tmp_path, "dark", 40, classes), write_flat(tmp_path, "bright", 200, classes))

    def levels(**augmentation: float) -> np.ndarray:
        windows = WindowDataset(recipe_of(sites, Sampling(stay_inside=True), **augmentation), tmp_path)
        return np.array([windows[i][0].mean().item() for i in range(30)])

    plain, changed = levels(), levels(other_colors=1.0)
    assert set(np.rint(plain / 10)) == {4, 20}
    assert ((changed > 50) & (changed < 190)).sum() > 5


def test_windows_move_into_their_raster_as_far_as_they_fit(tmp_path: Path) -> None:
    site = write_flat(tmp_path, "place", 90, np.zeros((120, 70), np.uint8))

    def known(inside: bool, scale: float) -> float:
        recipe = recipe_of((site,), Sampling(class_balance=0, stay_inside=inside), scale=(scale, scale))
        windows = WindowDataset(recipe, tmp_path)
        return float(np.mean([(windows[i][1][0] != UNLABELLED).float().mean() for i in range(40)]))

    # at twice their size, windows of 64 px show 32 px of it, or 45 along their diagonal
    assert known(inside=True, scale=2) == 1
    assert known(inside=False, scale=2) < 0.9
    # at half their size they show 128 px: more than there is, and then its middle
    assert known(inside=False, scale=0.5) < known(inside=True, scale=0.5) < 0.6
