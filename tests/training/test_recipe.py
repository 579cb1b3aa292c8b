"""A recipe is checked before anything is read, and says what is wrong with it."""

from pathlib import Path

import pytest

from geoseg.errors import ConfigError, MissingFileError
from geoseg.training.recipe import Augmentation, Sampling, read_recipe
from tests.training.drawn import AERIAL


def fault_of(folder: Path, old: str, new: str) -> str:
    text = AERIAL.read_text()
    assert old in text
    (folder / "r.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        read_recipe(folder / "r.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "meant"),
    [
        ("[schedule]", "[shedule]", "schedule"),
        ("batch_size", "batchsize", "batch_size"),
        ("rasters =", "rastrs =", "rasters"),
        ("encoder =", "encodr =", "encoder"),
        ("[augmentation]", "[augmentation]\nshaddow = 0.2", "shadow"),
    ],
)
def test_a_misspelled_key_is_answered_with_the_one_that_is_meant(tmp_path: Path, old: str, new: str, meant: str) -> None:
    assert f"did you mean '{meant}'?" in fault_of(tmp_path, old, new)


def test_a_key_like_no_other_is_only_named(tmp_path: Path) -> None:
    fault = fault_of(tmp_path, "[schedule]", "[schedule]\nxyzzy = 1")
    assert "there is no key 'schedule.xyzzy'" in fault
    assert "did you mean" not in fault


def test_each_class_needs_a_weight(tmp_path: Path) -> None:
    assert "4 weights; the model has 5 classes" in fault_of(tmp_path, "classes = [0.8, 0.8, 1.2,", "classes = [0.8, 0.8,")


def test_a_head_without_a_loss_is_refused(tmp_path: Path) -> None:
    assert "no loss for head 'building_edge'" in fault_of(tmp_path, "building_boundary =", "building_edge =")


def test_a_window_that_the_network_cannot_take_is_refused(tmp_path: Path) -> None:
    assert "window_px 250 must be a multiple of the network's stride 16" in fault_of(tmp_path, "window_px = 256", "window_px = 250")


def test_augmentation_outside_its_range_is_refused(tmp_path: Path) -> None:
    assert "scale must rise from above 0; it is [1.4, 0.7]" in fault_of(tmp_path, "scale = [0.7, 1.4]", "scale = [1.4, 0.7]")
    assert "within 1..100; it is [0, 90]" in fault_of(tmp_path, "gray = 0.03", "jpeg_quality = [0, 90]")


@pytest.mark.parametrize("part", ["tests", "validation"])
def test_a_run_is_no_truth_to_measure_by(tmp_path: Path, part: str) -> None:
    run = f'[[{part}]]\nname = "found"\nrasters = "a.tif"\nlabels = "run"\nkind = "run"\n\n[schedule]'
    assert "site 'found' is a run; what a model found is no truth" in fault_of(tmp_path, "[schedule]", run)


def test_a_model_with_two_classes_of_buildings_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    row = '{ value = 3, name = "road", color = "#fadc3c", kind = "road" }'
    fault = fault_of(tmp_path, row, row.replace('kind = "road"', 'kind = "building"'))
    assert "2 classes of buildings (road, building)" in fault


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nothing\.toml"):
        read_recipe(tmp_path / "nothing.toml")


@pytest.mark.parametrize("name", ["aerial", "buildings"])
def test_shipped_recipes_load_and_switch_nothing_new_on(name: str) -> None:
    recipe = read_recipe(AERIAL.with_name(f"train-{name}.toml"))
    assert recipe.sampling == Sampling()
    assert recipe.augmentation == Augmentation(**recipe.augmentation.model_dump(include={"scale", "color", "gray"}))
    assert recipe.loss.focal == recipe.loss.contour == recipe.loss.edge_smoothing == 0
