"""Tiny recipes on drawn scenes, which need no files."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoseg.labels.site import Site
from geoseg.training.recipe import Recipe, read_recipe

AERIAL = Path(__file__).parents[2] / "configs" / "train-aerial.toml"
NOWHERE = Path("nowhere")


def tiny_recipe(epochs: int = 2, steps: int = 2, **more: Any) -> Recipe:
    """The shipped recipe on one drawn scene, with small windows and a small network; ``more`` replaces whole tables."""
    recipe = read_recipe(AERIAL)
    options = {"encoder_depth": 3, "decoder_channels": [32, 16, 8]}
    network = recipe.model.network.model_copy(update={"options": options, "stride_px": 8})
    model = recipe.model.model_copy(update={"network": network, "tile_size_px": 128})
    quick = {"epochs": epochs, "steps_per_epoch": steps, "batch_size": 4, "window_px": 64, "learning_rate": 3e-3, "ema_decay": 0.5}
    changed = {
        "start_from": None,
        "model": model,
        "sites": (Site(name="drawn", kind="drawn_scenes", seeds=(7,)),),
        "tests": (),
        "schedule": recipe.schedule.model_copy(update=quick | more.pop("schedule", {})),
    }
    return Recipe.model_validate(recipe.model_copy(update=changed | more).model_dump())


def land_cover_only(recipe: Recipe) -> Recipe:
    """The same recipe without buildings, roads and their heads: every class is a surface."""
    model = recipe.model.model_dump()
    model["classes"] = [{**row, "kind": "surface"} for row in model["classes"]]
    model["heads"] = {"semantic": model["heads"]["semantic"]}
    return Recipe.model_validate(recipe.model_dump() | {"model": model})


def with_distance(recipe: Recipe) -> Recipe:
    """The same recipe with a ``building_distance`` head."""
    model = recipe.model.model_dump()
    model["heads"]["building_distance"] = {"start": 7, "stop": 8, "activation": "sigmoid"}
    return Recipe.model_validate(recipe.model_dump() | {"model": model})


def weights_of(module: torch.nn.Module) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])
