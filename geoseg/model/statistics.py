"""The averages by which batch normalization centers what a layer sees."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from geoseg.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How far statistics of imagery lie from those of the training data."""

    layers: int
    """Layers of batch normalization."""
    distance: float
    """Distance of the averages, in standard deviations of the training data, that a tenth of the channels exceeds."""


def mix_statistics(network: nn.Module, batches: Iterable[Tensor], strength: float) -> Shift:
    """Move the statistics of batch normalization towards those of some batches; weights stay as they are.

    As in training, each layer's input is centered by the batch's own statistics while those above are taken; of several batches
    they are averaged.

    Args:
        network: Changed in place, and left in evaluation mode.
        batches: (N, C, H, W) float32 of scaled pixels, N > 1, at least one.
        strength: Share of the new statistics in the mixture, in (0, 1].

    Returns:
        How far they lay apart.

    Raises:
        ModelError: If no layer keeps statistics.
    """
    network.eval()
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.running_mean is not None]
    if not layers:
        raise ModelError("The network holds no batch normalization, so no statistics can be fitted to imagery. Train it further instead.")
    kept = [(_copy(layer.running_mean), _copy(layer.running_var), _copy(layer.num_batches_tracked), layer.momentum) for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        # the average over all batches, not a moving one
        layer.momentum = None
        layer.train()
    with torch.inference_mode():
        for batch in batches:
            network(batch.contiguous(memory_format=torch.channels_last))
    distances = []
    for layer, (mean, variance, count, momentum) in zip(layers, kept, strict=True):
        found_mean, found_variance = _copy(layer.running_mean), _copy(layer.running_var)
        distances.append((found_mean - mean).abs() / (variance + layer.eps).sqrt())
        layer.running_mean = torch.lerp(mean, found_mean, strength)
        layer.running_var = torch.lerp(variance, found_variance, strength)
        layer.num_batches_tracked, layer.momentum = count, momentum
    network.eval()
    return Shift(layers=len(layers), distance=float(torch.cat(distances).quantile(0.9)))


def _copy(buffer: Tensor | None) -> Tensor:
    assert buffer is not None
    return buffer.detach().clone()
