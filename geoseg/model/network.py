"""All of torch at inference: build a network, load its weights, run a batch."""

import os
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from geoseg.errors import ModelError
from geoseg.model.spec import ModelSpec


def build_network(spec: ModelSpec) -> nn.Module:
    """Build the network that a spec describes, with random weights.

    Stages of the encoder that its depth leaves unused are removed, so that they are neither stored nor trained.

    Raises:
        ModelError: If the architecture or encoder is unknown.
    """
    network = spec.network
    try:
        module = smp.create_model(
            network.architecture,
            encoder_name=network.encoder,
            encoder_weights=None,
            in_channels=len(spec.bands),
            classes=spec.channels,
            **network.options,
        )
    except (KeyError, RuntimeError, TypeError, ValueError) as exc:
        raise ModelError(f"Model '{spec.name}' asks for {network.architecture} with {network.encoder}, which cannot be built: {exc}.") from exc
    _drop_unused_stages(module)
    return module.to(memory_format=torch.channels_last)


def _drop_unused_stages(module: nn.Module) -> None:
    encoder = getattr(module, "encoder", None)
    if encoder is None or not hasattr(encoder, "get_stages"):
        return
    depth = int(encoder._depth)
    for stride, parts in encoder.get_stages().items():
        if stride <= 2**depth:
            continue
        for name, child in list(encoder.named_children()):
            if any(child is part for part in parts):
                setattr(encoder, name, nn.Identity())


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a network's weights as float16 safetensors (integers as they are)."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in module.state_dict().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, path)


def load_weights(module: nn.Module, path: Path) -> None:
    """Load safetensors weights into a network.

    Raises:
        ModelError: If names or shapes differ from what the network expects.
    """
    try:
        state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
        module.load_state_dict(state)
    except (RuntimeError, OSError, ValueError) as exc:
        raise ModelError(f"The weights in {path} do not fit the network that model.json describes: {exc}") from exc
