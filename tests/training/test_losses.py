"""Losses equal their definitions, pull the right way, and are silent where nothing is labelled."""

import math

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from geoseg.labels.coding import NOT_BUILDING, UNLABELLED
from geoseg.training.losses import (
    binary_loss,
    contour_loss,
    dice_loss,
    distance_loss,
    focal_loss,
    labels_around,
    lovasz_loss,
    semantic_loss,
    total_loss,
    window_losses,
)
from geoseg.training.recipe import LossWeights
from tests.training.drawn import land_cover_only, tiny_recipe, with_distance

EVEN = LossWeights(classes=(1.0,) * 5)
ALL = {"classes": (1.0,) * 5, "focal": 1.0, "lovasz": 1.0, "contour": 1.0, "edge_smoothing": 0.2}


@pytest.fixture
def scores() -> Tensor:
    return torch.randn(2, 5, 16, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()


@pytest.fixture
def labels() -> Tensor:
    return torch.randint(0, 5, (2, 16, 16), generator=torch.Generator().manual_seed(2)).to(torch.uint8)


def gradient(loss: Tensor, scores: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss, scores)
    return found


def test_a_pixel_known_to_be_no_building_only_pushes_the_building_down() -> None:
    scores = torch.zeros(1, 5, 4, 4, requires_grad=True)
    pull = gradient(semantic_loss(scores, torch.full((1, 4, 4), NOT_BUILDING, dtype=torch.uint8), EVEN, building=4), scores)
    assert (pull[:, 4] > 0).all()
    torch.testing.assert_close(pull[:, 0], pull[:, 3])


def test_cross_entropy_is_torchs(scores: Tensor, labels: Tensor) -> None:
    torch.testing.assert_close(semantic_loss(scores, labels, EVEN, 4), torch.nn.functional.cross_entropy(scores, labels.long()))
    torch.testing.assert_close(window_losses(scores, labels, EVEN, 4).mean(), semantic_loss(scores, labels, EVEN, 4))


def test_focal_loss_of_two_classes_is_torchvisions(labels: Tensor) -> None:
    x = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(3))
    truth = (labels > 2).to(torch.uint8)
    two = LossWeights(classes=(1.0, 1.0), focal_gamma=2.0)
    ours = focal_loss(torch.stack([torch.zeros_like(x), x], 1), truth, two, -1)
    theirs = sigmoid_focal_loss(x, truth.float(), alpha=-1, gamma=2.0, reduction="mean")
    torch.testing.assert_close(ours, theirs)


def test_lovasz_loss_is_smps(scores: Tensor, labels: Tensor) -> None:
    ours, theirs = lovasz_loss(scores, labels, 4), smp.losses.LovaszLoss("multiclass")(scores, labels.long())
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    # errors that 16 bits do not tell apart may stand in another order
    pull = gradient(theirs, scores)
    torch.testing.assert_close(gradient(lovasz_loss(scores, labels, 4), scores), pull, atol=0.02 * float(pull.abs().max()), rtol=0)


def test_lovasz_stays_float32_where_the_network_computes_in_16_bits(scores: Tensor, labels: Tensor) -> None:
    exact = lovasz_loss(scores, labels, 4)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = lovasz_loss(scores, labels, 4)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, exact, atol=1e-6, rtol=0)


def test_dice_of_a_sure_and_right_network_is_zero_and_of_a_wrong_one_near_one(labels: Tensor) -> None:
    spec = tiny_recipe().model
    right = 40 * torch.nn.functional.one_hot(labels.long(), 5).permute(0, 3, 1, 2).float()
    assert dice_loss(right, labels, spec) == pytest.approx(0, abs=1e-4)
    assert dice_loss(-right, labels, spec) > 0.9


def test_contour_loss_by_hand() -> None:
    # one row, class 1 on the right; distances of class 1: 2 1 | 0 -1, of class 0: 0 -1 mirrored
    truth = torch.tensor([[[0, 0, 1, 1]]], dtype=torch.uint8)
    probability = torch.tensor([0.8, 0.6, 0.3, 0.1])
    scores = torch.stack([probability.log(), (1 - probability).log()])[None, :, None, :]
    one, zero = np.array([2, 1, 0, -1]), np.array([-1, 0, 1, 2])
    p = probability.numpy()
    expected = ((1 - p) @ one + p @ zero) / 4 / 8
    assert contour_loss(scores, truth, -1) == pytest.approx(expected, abs=1e-6)


def test_contour_loss_pulls_hardest_far_from_the_border() -> None:
    truth = torch.zeros(1, 9, 9, dtype=torch.uint8)
    truth[:, :, 5:] = 1
    scores = torch.zeros(1, 2, 9, 9, requires_grad=True)
    pull = gradient(contour_loss(scores, truth, -1), scores)[0, 1, 4]
    assert pull[0] > pull[4] > 0 > pull[8]
    assert pull[0] > pull[3]


def test_distance_loss_by_hand_and_direction() -> None:
    scores = torch.zeros(1, 1, 3, requires_grad=True)
    loss = distance_loss(scores, torch.tensor([[[254, 0, UNLABELLED]]], dtype=torch.uint8))
    assert loss.item() == pytest.approx(0.25)
    pull = gradient(loss, scores)[0, 0]
    assert pull[0] < 0 < pull[1]
    assert pull[2] == 0


def test_binary_loss_by_hand() -> None:
    loss = binary_loss(torch.zeros(1, 1, 2), torch.tensor([[[1, UNLABELLED]]], dtype=torch.uint8))
    assert loss.item() == pytest.approx(math.log(2) + 0.5 * (1 - (2 * 0.5 + 1) / (0.5 + 1 + 1)))


def test_labels_are_softened_at_edges_only() -> None:
    labels = torch.zeros(1, 5, 12, dtype=torch.uint8)
    labels[:, :, 6:] = 1
    labels[:, :, 11] = UNLABELLED
    around = labels_around(labels, 2, reach_px=1)
    torch.testing.assert_close(around.sum(1), torch.ones(1, 5, 12))
    assert around[0, 0, 2, 3] == 1
    assert around[0, 0, 2, 5] == pytest.approx(2 / 3)
    sure = torch.stack([torch.where(labels == 0, 9.0, -9.0), torch.where(labels == 0, -9.0, 9.0)], 1)
    hard, soft = (LossWeights(classes=(1.0, 1.0), edge_px=1, edge_smoothing=s) for s in (0.0, 0.5))
    # of 55 labelled pixels the two columns at the border have a third of half of their label on the other side
    expected = semantic_loss(sure, labels, hard, -1) + 18 * 0.5 / 3 * 10 / 55
    torch.testing.assert_close(semantic_loss(sure, labels, soft, -1), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("variant", ["buildings", "distance", "land cover only"])
def test_windows_without_labels_weigh_nothing(variant: str) -> None:
    recipe = tiny_recipe(loss=LossWeights(**ALL))
    recipe = {"buildings": recipe, "distance": with_distance(recipe), "land cover only": land_cover_only(recipe)}[variant]
    logits = torch.randn(2, recipe.model.channels, 8, 8, requires_grad=True)
    parts = total_loss(logits, torch.full((2, 4, 8, 8), UNLABELLED, dtype=torch.uint8), recipe.model, recipe.loss)
    assert all(torch.isfinite(part) for part in parts.values())
    assert gradient(parts["total"], logits).abs().max() < 1e-6


def test_each_head_that_the_model_has_counts_with_its_weight() -> None:
    recipe = with_distance(tiny_recipe(loss=LossWeights(**ALL, interior=0.3, boundary=0.2, distance=0.7)))
    logits = torch.randn(1, 8, 8, 8)
    parts = total_loss(logits, torch.ones(1, 4, 8, 8, dtype=torch.uint8), recipe.model, recipe.loss)
    assert set(parts) == {"semantic", "focal", "dice", "lovasz", "contour", "interior", "boundary", "distance", "total"}
    expected = sum(getattr(recipe.loss, name) * part for name, part in parts.items() if name != "total")
    torch.testing.assert_close(parts["total"], expected)
    plain = land_cover_only(tiny_recipe())
    without = total_loss(logits[:, :5], torch.ones(1, 3, 8, 8, dtype=torch.uint8), plain.model, plain.loss)
    assert set(without) == {"semantic", "dice", "lovasz", "total"}
