"""Model packages to measure with, made on the spot."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ModelError
from geoseg.model.exchange import copy_members
from geoseg.model.package import WEIGHTS_NAME, ModelPackage, find_package, write_card
from geoseg.model.predictor import double_spec
from geoseg.model.spec import ClassRow, Halo, Head, ModelSpec, NetworkSpec

_SEED = 20260101
_CLASSES = (("land", "#c8b48c", "surface"), ("water", "#285adc", "surface"), ("vegetation", "#28a03c", "surface"))
_OBJECTS = (("road", "#fadc3c", "road"), ("building", "#dc2828", "building"))


def reference_spec(tile_size_px: int = 768, halo_px: int = 64) -> ModelSpec:
    """Return the reference network of the project: ``smp.Unet("resnet18", classes=5)``."""
    network = NetworkSpec(architecture="unet", encoder="resnet18", stride_px=32)
    return _five_classes("reference", network, tile_size_px, halo_px)


def small_spec(tile_size_px: int = 64, halo_px: int = 16) -> ModelSpec:
    """Return a network of the same kind with a few thousand weights a stage, for tests of the benchmarks themselves."""
    options = {"encoder_depth": 3, "decoder_channels": [8, 8, 8]}
    network = NetworkSpec(architecture="unet", encoder="resnet18", options=options, stride_px=8)
    return _five_classes("small", network, tile_size_px, halo_px)


def null_spec(tile_size_px: int = 1024) -> ModelSpec:
    """Return a 1x1 convolution: a run with it shows what everything but the network takes."""
    return _five_classes("null", NetworkSpec(library="geoseg", architecture="pixel", stride_px=16), tile_size_px, 0)


def _five_classes(name: str, network: NetworkSpec, tile_size_px: int, halo_px: int) -> ModelSpec:
    rows = [ClassRow(value=value, name=n, color=c, kind=k) for value, (n, c, k) in enumerate((*_CLASSES, *_OBJECTS))]
    return ModelSpec(
        name=name,
        version="1",
        description="Random weights, for measuring speed only.",
        license="Apache-2.0",
        bands=("red", "green", "blue"),
        mean=(112.0, 112.0, 104.0),
        std=(56.0, 53.0, 54.0),
        classes=tuple(rows),
        heads={"semantic": Head(start=0, stop=len(rows), activation="softmax")},
        network=network,
        tile_size_px=tile_size_px,
        halo=Halo(default_px=halo_px, exact_px=halo_px, measured_on="not measured: random weights"),
    )


def write_random_network(folder: Path, spec: ModelSpec, sample: NDArray[np.uint8]) -> ModelPackage:
    """Write a package of a network with seeded random weights whose labels vary.

    Fresh weights alone give one class everywhere: the statistics of the normalization layers are taken from a few passes over a
    sample, then every channel of the last layer is brought to mean 0 and deviation 1 over it.

    Args:
        folder: New folder.
        spec: What to build.
        sample: (C, H, W) of the raster that the network is going to see; at least 256 px a side do well.

    Raises:
        ModelError: If this geoseg does not know the architecture.
    """
    import torch

    from geoseg.model.network import build_network, save_weights

    torch.manual_seed(_SEED)
    module = build_network(spec)
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    side = min(sample.shape[1:]) // spec.network.stride_px * spec.network.stride_px
    tile = ((torch.from_numpy(sample[:, :side, :side].copy()).float() - mean) / std)[None]
    norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    last = [m for m in module.modules() if isinstance(m, torch.nn.Conv2d)][-1]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = None
        module.train()
        for turn in range(4 if norms else 0):
            module(torch.rot90(tile, turn, (2, 3)))
        logits = module.eval()(tile)
        spread = logits.std(dim=(0, 2, 3)).clamp(min=1e-6)
        last.weight /= spread[:, None, None, None]
        last.bias.copy_((last.bias - logits.mean(dim=(0, 2, 3))) / spread)
    folder.mkdir(parents=True)
    save_weights(module, folder / WEIGHTS_NAME)
    return write_card(folder, spec)


def write_null_network(folder: Path, sample: NDArray[np.uint8]) -> ModelPackage | str:
    """Write the package of the 1x1 convolution, or say why this geoseg cannot run it."""
    try:
        return write_random_network(folder, null_spec(), sample)
    except ModelError as exc:
        return f"this geoseg has no 1x1 convolution: {exc}"


def write_threshold_package(folder: Path, tile_size_px: int = 1024) -> ModelPackage:
    """Write the package of a shipped double, which needs no weights: class 1 where a pixel is bright."""
    folder.mkdir(parents=True)
    (folder / WEIGHTS_NAME).write_bytes(b"a threshold has no weights")
    return write_card(folder, double_spec(tile_size_px=tile_size_px, halo_px=16))


def copy_unscaled(model: str | Path, folder: Path, tile_size_px: int | None = None) -> ModelPackage:
    """Copy a package and let it take imagery at the raster's own resolution.

    Args:
        model: Name of a shipped model, or a folder.
        folder: New folder.
        tile_size_px: Another tile size; None keeps the model's.
    """
    package = find_package(model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    copy_members(package.folder, folder)
    changes = {"resolution_m": None, "tile_size_px": tile_size_px or package.spec.tile_size_px}
    return write_card(folder, ModelSpec.model_validate({**package.spec.model_dump(), **changes}))
