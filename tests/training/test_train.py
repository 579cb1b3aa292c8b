"""A recipe leads to a package, the same one for the same seed, also after a stop."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from geoseg.errors import ConfigError, LabelError
from geoseg.evaluation.evaluate import evaluate_site
from geoseg.evaluation.semantic import confusion_matrix, iou_per_class
from geoseg.inference import infer_raster, tiles_of
from geoseg.io.raster import open_raster
from geoseg.labels.site import Site
from geoseg.labels.targets import NOT_BUILDING, UNLABELLED, load_site
from geoseg.model.network import load_predictor
from geoseg.model.package import CARD_NAME, find_package
from geoseg.tiling import TilePlan
from geoseg.training.dataset import WindowDataset
from geoseg.training.loop import fit, learning_rate
from geoseg.training.losses import semantic_loss, total_loss
from geoseg.training.publish import publish
from geoseg.training.recipe import Recipe, read_recipe

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning.*", "ignore::FutureWarning", "ignore::DeprecationWarning")

AERIAL = Path(__file__).parents[2] / "configs" / "train-aerial.toml"
NOWHERE = Path("nowhere")


def tiny_recipe(epochs: int = 2, steps: int = 2) -> Recipe:
    """The shipped recipe on one drawn scene, with small windows and a small network."""
    recipe = read_recipe(AERIAL)
    network = recipe.model.network.model_copy(update={"options": {"encoder_depth": 3, "decoder_channels": [32, 16, 8]}, "stride_px": 8})
    model = recipe.model.model_copy(update={"network": network, "tile_size_px": 128})
    schedule = recipe.schedule.model_copy(
        update={"epochs": epochs, "steps_per_epoch": steps, "batch_size": 4, "window_px": 64, "learning_rate": 3e-3, "ema_decay": 0.5}
    )
    sites = (Site(name="drawn", kind="drawn_scenes", seeds=(7,)),)
    return Recipe.model_validate(
        recipe.model_copy(update={"start_from": None, "model": model, "sites": sites, "tests": (), "schedule": schedule}).model_dump()
    )


def weights_of(module: torch.nn.Module) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])


def test_training_makes_a_package_that_predicts(tmp_path: Path) -> None:
    recipe, said = tiny_recipe(), []
    module = fit(recipe, NOWHERE, tmp_path / "work")
    package = publish(module, recipe, NOWHERE, tmp_path / "package", said.append)
    card = json.loads((package.folder / CARD_NAME).read_text())
    assert card["properties"]["mlm:name"] == "aerial"
    predictor = load_predictor(find_package(package.folder), "cpu")
    layers = predictor.predict(np.full((1, 3, 64, 64), 100, np.uint8), np.ones((1, 64, 64), bool))
    assert layers.shape == (1, len(recipe.model.layers.names), 64, 64)
    assert any("memory" in line for line in said)


def test_the_same_seed_gives_the_same_weights_and_a_stop_changes_nothing(tmp_path: Path) -> None:
    whole = weights_of(fit(tiny_recipe(epochs=2), NOWHERE, tmp_path / "whole"))
    again = weights_of(fit(tiny_recipe(epochs=2), NOWHERE, tmp_path / "again"))
    np.testing.assert_array_equal(whole, again)

    class Killed(Exception):
        pass

    def kill(epoch: int, numbers: dict[str, float]) -> None:
        # the first epoch is on disk when the second one reports
        if epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        fit(tiny_recipe(epochs=2), NOWHERE, tmp_path / "broken", report=kill)
    resumed = weights_of(fit(tiny_recipe(epochs=2), NOWHERE, tmp_path / "broken"))
    np.testing.assert_allclose(resumed, whole, atol=1e-6)


def test_a_few_steps_lower_the_loss(tmp_path: Path) -> None:
    losses: list[float] = []
    fit(tiny_recipe(epochs=5, steps=8), NOWHERE, tmp_path, report=lambda _, numbers: losses.append(numbers["loss_total"]))
    assert losses[-1] < 0.85 * losses[0]


def test_the_schedule_warms_up_and_lets_down() -> None:
    schedule = tiny_recipe().schedule
    rates = [learning_rate(p, schedule) for p in np.linspace(0, 1, 101)]
    peak = int(np.argmax(rates))
    assert peak == pytest.approx(100 * schedule.warm_up, abs=1)
    assert all(a >= b for a, b in zip(rates[peak:], rates[peak + 1 :], strict=False))
    assert rates[-1] < schedule.learning_rate / 100


def test_windows_are_a_function_of_seed_epoch_and_index() -> None:
    one, other = (WindowDataset(tiny_recipe(), NOWHERE) for _ in range(2))
    torch.testing.assert_close(one[3], other[3], rtol=0, atol=0)
    other.epoch = 1
    assert not torch.equal(one[3][0], other[3][0])


def test_a_pixel_known_to_be_no_building_only_pushes_the_building_down() -> None:
    recipe = tiny_recipe()
    scores = torch.zeros(1, 5, 4, 4, requires_grad=True)
    semantic_loss(scores, torch.full((1, 4, 4), NOT_BUILDING, dtype=torch.uint8), recipe.loss, building=4).backward()
    assert scores.grad is not None
    assert (scores.grad[:, 4] > 0).all()
    torch.testing.assert_close(scores.grad[:, 0], scores.grad[:, 3])


def test_unlabelled_pixels_weigh_nothing() -> None:
    recipe = tiny_recipe()
    logits = torch.randn(2, 7, 8, 8, requires_grad=True)
    total_loss(logits, torch.full((2, 3, 8, 8), UNLABELLED, dtype=torch.uint8), recipe.model, recipe.loss)["total"].backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


def test_iou_equals_the_definition() -> None:
    rng = np.random.default_rng(1)
    truth, found = rng.integers(0, 5, (2, 50, 50))
    truth[0] = UNLABELLED
    iou = iou_per_class(confusion_matrix(truth, found, 5))
    known = truth != UNLABELLED
    for k in range(5):
        one, other = (truth == k) & known, (found == k) & known
        assert iou[k] == pytest.approx((one & other).sum() / (one | other).sum())


def test_a_misspelled_key_is_named(tmp_path: Path) -> None:
    text = AERIAL.read_text().replace("batch_size", "batchsize")
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(ConfigError, match="batchsize"):
        read_recipe(tmp_path / "r.toml")


def test_a_site_without_rasters_is_named(tmp_path: Path) -> None:
    recipe = read_recipe(AERIAL)
    with pytest.raises(LabelError, match="banepa"):
        load_site(recipe.sites[0], recipe.model, tmp_path)


def test_the_shipped_model_stands_where_its_card_says(shared_data: Path) -> None:
    """The building IoU in the card is the one that is measured, and above the bar that it was shipped for."""
    package = find_package("aerial")
    recipe = read_recipe(AERIAL)
    card = evaluate_site(package, recipe.tests[0], shared_data, device="cpu").card()
    metric = next(m for m in card if m.name == "IoU building")
    written = next(m for m in package.spec.accuracy if m.dataset == metric.dataset and m.name == metric.name)
    assert metric.value == pytest.approx(written.value, abs=0.002)
    assert metric.value >= 0.65
    assert open_raster(shared_data / recipe.tests[0].rasters).shape == (3072, 4096)


@pytest.mark.slow
def test_the_shipped_halos_keep_what_the_card_promises(shared_data: Path) -> None:
    """Tiled against whole-image inference, on imagery that the halos were not measured on."""
    predictor = load_predictor(find_package("aerial"), "cpu")
    spec = predictor.spec
    source = open_raster(shared_data / "buildings/test/banepa_b/image.tif", resolution_m=spec.resolution_m)
    side = max(source.shape) + -max(source.shape) % spec.network.stride_px
    one_tile = TilePlan(
        height=source.shape[0], width=source.shape[1], tile_size_px=side, halo_px=0, stride_px=spec.network.stride_px, tiles_per_chunk=1
    )
    whole = infer_raster(predictor, source, one_tile)[0]
    for halo, limit in ((spec.halo.default_px, 0.005), (spec.halo.exact_px, 0.0005)):
        tiled = infer_raster(predictor, source, tiles_of(spec, source.shape, halo))[0]
        assert (tiled != whole).mean() <= limit
