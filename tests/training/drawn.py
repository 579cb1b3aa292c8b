"""Tiny recipes on drawn scenes, which need no files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from geoseg.labels.site import Site
from geoseg.scene import SceneOptions, draw_scene
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


def write_site(folder: Path, name: str, seed: int, side: int = 192) -> Site:
    """Draw a small scene into image and label files, and return them as a site below ``folder``."""
    scene = draw_scene(SceneOptions(height_px=side, width_px=side, seed=seed, nodata_corner=False))
    (folder / name).mkdir(parents=True)
    Image.fromarray(np.moveaxis(scene.pixels, 0, 2)).save(folder / name / "image.png")
    Image.fromarray(scene.classes).save(folder / name / "image_classes.png")
    return Site(name=name, kind="class_raster", rasters=f"{name}/image.png", labels="{parent}/{stem}_classes.png")


class TinyNetwork(torch.nn.Sequential):
    """Two convolutions in place of a network; what it does to a batch can be told by ``before``."""

    def __init__(self, channels: int, before: Callable[[torch.Tensor], None] = lambda pixels: None) -> None:
        super().__init__(torch.nn.Conv2d(3, 12, 5, padding=2), torch.nn.BatchNorm2d(12), torch.nn.ReLU(), torch.nn.Conv2d(12, channels, 1))
        self._before = before

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self._before(pixels)
        return super().forward(pixels)
