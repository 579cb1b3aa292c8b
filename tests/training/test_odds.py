"""Odds that a recipe weighs are built into the weights, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from geoseg.errors import ModelError
from geoseg.model.network import build_network, load_weights
from geoseg.training.loop import CHECKPOINT, fit
from geoseg.training.odds import weigh_odds
from geoseg.training.publish import publish
from geoseg.training.recipe import Decision, Recipe
from tests.training.drawn import NOWHERE, tiny_recipe

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning.*", "ignore::FutureWarning", "ignore::DeprecationWarning")


def with_odds(recipe: Recipe, **odds: float) -> Recipe:
    return recipe.model_copy(update={"decision": Decision(odds=odds)})


@pytest.mark.parametrize("magnification", [1.0, 1.5])
def test_odds_of_classes_are_multiplied_and_nothing_else(magnification: float) -> None:
    model = tiny_recipe().model
    stride = 16 if magnification != 1 else model.network.stride_px
    spec = model.model_copy(update={"network": model.network.model_copy(update={"magnification": magnification, "stride_px": stride})})
    torch.manual_seed(0)
    network = build_network(spec).eval()
    pixels = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        before, after = network(pixels), weigh_odds(network, spec, {"road": 2.0, "water": 0.5})(pixels)
        unchanged = network(pixels)
    assert torch.equal(unchanged, before), "the network that is trained stays as it is"
    expected = torch.zeros(before.shape[1])
    names = [row.name for row in spec.classes]
    expected[names.index("road")], expected[names.index("water")] = np.log(2), np.log(0.5)
    torch.testing.assert_close(after - before, expected[None, :, None, None].expand_as(before), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_package_of_a_training_that_is_over_is_made_anew_with_other_odds(tmp_path: Path) -> None:
    recipe = tiny_recipe(epochs=1, steps=1)
    plain = publish(fit(recipe, NOWHERE, tmp_path), recipe, NOWHERE, tmp_path / "plain", lambda line: None, "cpu")
    trained = (tmp_path / CHECKPOINT).stat().st_mtime_ns
    changed = with_odds(recipe, road=4.0)
    weighed = publish(fit(changed, NOWHERE, tmp_path), changed, NOWHERE, tmp_path / "weighed", lambda line: None, "cpu")
    assert (tmp_path / CHECKPOINT).stat().st_mtime_ns == trained
    first, second = (build_network(package.spec).eval() for package in (plain, weighed))
    load_weights(first, plain.weights)
    load_weights(second, weighed.weights)
    pixels = torch.randn(1, 3, 64, 64)
    road = [row.name for row in plain.spec.classes].index("road")
    with torch.no_grad():
        gained = second(pixels) - first(pixels)
    assert gained[:, road].min().item() == pytest.approx(np.log(4), abs=5e-3)
    assert gained.abs().amax((0, 2, 3))[[i for i in range(gained.shape[1]) if i != road]].max() < 5e-3


def test_a_class_that_the_model_lacks_is_named() -> None:
    recipe = tiny_recipe()
    with pytest.raises(ValueError, match=r"decision.odds names a class 'raod'; the model's are .*road"):
        Recipe.model_validate({**recipe.model_dump(), "decision": {"odds": {"raod": 2.0}}})


@pytest.mark.parametrize("factor", [0.0, -1.0, float("inf"), float("nan")])
def test_odds_are_above_zero_and_finite(factor: float) -> None:
    with pytest.raises(ValueError, match=r"greater than 0|finite"):
        Decision(odds={"road": factor})


@pytest.mark.slow
def test_a_network_that_cannot_take_odds_is_told_before_it_is_trained(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    network = recipe.model.network.model_copy(update={"library": "geoseg", "architecture": "fcn8s", "options": {}, "stride_px": 32})
    model = recipe.model.model_copy(update={"network": network})
    with pytest.raises(ModelError, match="cannot be built into a fcn8s"):
        fit(with_odds(recipe.model_copy(update={"model": model}), road=2.0), NOWHERE, tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_the_baseline_refuses_odds() -> None:
    recipe = tiny_recipe()
    table = recipe.model_dump()
    table["model"]["network"] |= {"library": "sklearn", "architecture": "random_forest", "encoder": "", "options": {}}
    with pytest.raises(ValueError, match=r"decision.odds is for networks"):
        Recipe.model_validate({**table, "decision": {"odds": {"road": 2.0}}})
