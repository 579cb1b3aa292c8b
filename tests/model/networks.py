"""Small packages and scenes that the tests of backends share."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geoseg.model.network import build_network, save_weights
from geoseg.model.package import WEIGHTS_NAME, ModelPackage, find_package, write_card
from geoseg.model.predictor import double_spec
from geoseg.model.spec import ModelSpec, NetworkSpec
from geoseg.scene import SceneOptions, draw_scene


def small_spec(architecture: str = "fcn8s", **options: object) -> ModelSpec:
    """A network of geoseg's own with a few hundred weights; it is built without other libraries."""
    network = NetworkSpec(library="geoseg", architecture=architecture, options=options, stride_px=32)
    return double_spec(stride_px=32, tile_size_px=64).model_copy(update={"name": "small", "network": network})


def write_small(folder: Path, spec: ModelSpec | None = None) -> ModelPackage:
    """A package of an untrained network that tells pixels apart, without a graph."""
    folder.mkdir(parents=True)
    spec = spec or small_spec(width=4, head_width=8)
    torch.manual_seed(5)
    module = build_network(spec)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)
    save_weights(module, folder / WEIGHTS_NAME)
    write_card(folder, spec)
    return find_package(folder)


@cache
def drawn(height: int, width: int, seed: int = 4) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pixels (1, 3, H, W) of a drawn town, and where they are valid (1, H, W): one corner is not."""
    pixels = draw_scene(SceneOptions(height_px=height, width_px=width, seed=seed)).pixels[None]
    return pixels, pixels.any(axis=1)
