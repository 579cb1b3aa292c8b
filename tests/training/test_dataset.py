"""Windows follow their seed, hold labels, and are balanced as the recipe asks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from geoseg.errors import LabelError
from geoseg.labels.coding import UNLABELLED
from geoseg.labels.site import Site
from geoseg.labels.targets import LabelledRaster
from geoseg.training.dataset import DISTANCE_SCALE, WindowDataset, _cut, add_distance
from geoseg.training.recipe import Recipe, Sampling, read_recipe
from geoseg.training.validation import Tally, ValidationWindows
from tests.doubles import write_raster
from tests.training.drawn import AERIAL, land_cover_only, tiny_recipe, with_distance, write_site


def write_labels(folder: Path, classes: np.ndarray) -> Site:
    """A gray image with given labels."""
    Image.fromarray(np.full((*classes.shape, 3), 90, np.uint8)).save(folder / "image.png")
    Image.fromarray(classes).save(folder / "image_classes.png")
    return Site(name="flat", kind="class_raster", rasters="image.png", labels="image_classes.png")


def recipe_of(site: Site, **sampling: float) -> Recipe:
    return tiny_recipe(sites=(site,), sampling=Sampling(**sampling))


def test_windows_are_a_function_of_seed_epoch_and_index(tmp_path: Path) -> None:
    site = write_site(tmp_path, "town", 7)
    one, other = (WindowDataset(recipe_of(site), tmp_path) for _ in range(2))
    torch.testing.assert_close(one[3], other[3], rtol=0, atol=0)
    assert one.name_of(3) == "town/image.png"
    other.epoch = 1
    assert not torch.equal(one[3][0], other[3][0])


def test_windows_without_labels_are_drawn_anew(tmp_path: Path) -> None:
    classes = np.full((400, 400), UNLABELLED, np.uint8)
    classes[:40, :40] = 2

    def labelled(tries: int) -> int:
        windows = WindowDataset(recipe_of(write_labels(tmp_path, classes), class_balance=0, tries=tries), tmp_path)
        return sum(bool((windows[i][1][0] != UNLABELLED).any()) for i in range(40))

    assert labelled(1) < 15
    assert labelled(200) == 40


def test_rasters_without_labels_are_never_drawn(tmp_path: Path) -> None:
    sites = [write_site(tmp_path, name, 7) for name in ("town", "field")]
    Image.fromarray(np.full((192, 192), UNLABELLED, np.uint8)).save(tmp_path / "field" / "image_classes.png")
    both = sites[0].model_copy(update={"rasters": ("town/image.png", "field/image.png")})
    windows = WindowDataset(recipe_of(both), tmp_path)
    assert {windows.name_of(i) for i in range(40)} == {"town/image.png"}


def test_what_holds_no_data_is_neutral_as_in_a_run(tmp_path: Path) -> None:
    site = write_labels(tmp_path, np.zeros((200, 200), np.uint8))
    pixels = np.full((3, 200, 200), 90, np.uint8)
    pixels[:, :, 100:] = 0
    write_raster(tmp_path / "image.tif", pixels, nodata=0)
    recipe = recipe_of(site.model_copy(update={"rasters": "image.tif"}))
    recipe = recipe.model_copy(update={"augmentation": recipe.augmentation.model_copy(update={"color": 0.0})})
    neutral = torch.tensor(recipe.model.mean)[:, None]
    windows = WindowDataset(recipe, tmp_path)
    empty = 0
    for i in range(20):
        shown, targets = windows[i]
        unknown = targets[0] == UNLABELLED
        empty += int(unknown.sum())
        torch.testing.assert_close(shown[:, unknown], neutral.expand(3, int(unknown.sum())))
    assert empty > 1000
    shown, truth, _ = ValidationWindows(recipe.model_copy(update={"validation": recipe.sites}), tmp_path)[1]
    torch.testing.assert_close(shown[:, truth == UNLABELLED], neutral.expand(3, int((truth == UNLABELLED).sum())), check_dtype=False)


@pytest.mark.parametrize("top", [-30, -9, -8, -7, 193, 199, 230])
def test_windows_at_the_edge_of_a_raster_are_not_distorted(tmp_path: Path, top: int) -> None:
    rows = np.repeat(np.arange(200, dtype=np.uint8)[:, None], 200, axis=1)
    raster = LabelledRaster(name="ramp", source=None, pixels=rows[None], targets=np.zeros((3, 200, 200), np.uint8))
    # six times magnified: 16 px show 2.7 px of the raster
    shown, _, inside = _cut(raster, np.array([top, 100.0]), np.eye(2) / 6, 16)
    place = top + (np.arange(16) - 7.5) / 6
    # half a pixel before its edge a ramp ends, as imagery does: nothing dark is mixed in
    there = (place > 0) & (place < 200)
    assert not inside[(place < -1) | (place > 201)].any()
    np.testing.assert_allclose(shown[0, there, 8], np.clip(place[there] - 0.5, 0, 199), atol=0.3)


def test_rare_classes_are_drawn_less_often_the_lower_the_power(tmp_path: Path) -> None:
    classes = np.zeros((300, 300), np.uint8)
    classes[:60, :60] = 1

    def share_of_rare(rarity: float) -> float:
        windows = WindowDataset(recipe_of(write_labels(tmp_path, classes), class_balance=1, rarity=rarity), tmp_path)
        return float(np.mean([(windows[i][1][0] == 1).any() for i in range(60)]))

    assert share_of_rare(1) > share_of_rare(0) + 0.1


def test_a_site_without_any_label_is_refused(tmp_path: Path) -> None:
    site = write_labels(tmp_path, np.full((50, 60), UNLABELLED, np.uint8))
    with pytest.raises(LabelError, match="'flat': no pixel of its 1 rasters is labelled"):
        WindowDataset(recipe_of(site), tmp_path)


def test_a_site_without_rasters_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="banepa"):
        WindowDataset(read_recipe(AERIAL), tmp_path)


def test_the_distance_target_is_scipys_and_ends_at_one(tmp_path: Path) -> None:
    recipe = with_distance(tiny_recipe())
    targets = torch.zeros(3, 40, 40, dtype=torch.uint8)
    targets[1, 5:35, 5:35] = 1
    targets[:, :3] = UNLABELLED
    layer = add_distance(targets, recipe)[3].numpy()
    expected = np.minimum(ndimage.distance_transform_edt(targets[1].numpy() == 1) / recipe.loss.distance_px, 1)
    np.testing.assert_allclose(layer[3:] / DISTANCE_SCALE, expected[3:], atol=0.002)
    assert (layer[:3] == UNLABELLED).all()
    assert len(add_distance(targets, land_cover_only(recipe))) == 3


def test_validation_windows_cover_each_labelled_pixel_once_and_perfect_maps_score_one(tmp_path: Path) -> None:
    site = write_site(tmp_path, "town", 7, side=150)
    recipe = tiny_recipe(sites=(site,), validation=(site,))
    windows = ValidationWindows(recipe, tmp_path)
    truth = np.array(Image.open(tmp_path / "town/image_classes.png"))
    tally, seen = Tally(windows, recipe.model), np.zeros(256, int)
    for i in range(len(windows)):
        pixels, targets, index = windows[i]
        seen += np.bincount(targets.numpy().ravel(), minlength=256)
        tally.add(index, pixels.numpy(), targets.numpy(), np.where(targets.numpy() == UNLABELLED, 0, targets.numpy()))
    np.testing.assert_array_equal(seen[:5], np.bincount(truth.ravel(), minlength=256)[:5])
    assert tally.results()[0] == 1
