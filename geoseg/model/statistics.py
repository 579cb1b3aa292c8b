"""The averages by which batch normalization centers what a layer sees."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from geoseg.errors import ModelError, RasterError


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How far statistics of imagery lie from those of the training data."""

    layers: int
    """Layers of batch normalization that were moved."""
    distance: float
    """Distance of the averages, in standard deviations of the training data, that a tenth of the channels exceeds."""


def mix_statistics(network: nn.Module, batches: Iterable[Tensor], strength: float) -> Shift:
    """Move the statistics of batch normalization towards those of some batches; weights stay as they are.

    As in training, each layer's input is centered by the batch's own statistics while those above are taken; those of several
    batches are averaged by their pixels. A layer that no pixel passes keeps what it has;
    of one that a pass goes through several times the last time counts.

    Args:
        network: Changed in place, and left in evaluation mode.
        batches: (N, C, H, W) float32 of scaled pixels, N > 1, at least one; sizes may differ from batch to batch.
        strength: Share of the new statistics in the mixture, in (0, 1].

    Returns:
        How far they lay apart.

    Raises:
        ModelError: If no layer keeps statistics.
        RasterError: If the values are too large for any.
    """
    network.eval()
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.running_mean is not None]
    if not layers:
        raise ModelError("The network holds no batch normalization, so no statistics can be fitted to imagery. Train it further instead.")
    kept = [(_copy(layer.running_mean), _copy(layer.running_var), _copy(layer.num_batches_tracked), layer.momentum) for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.train()
    seen_px = 0
    with torch.inference_mode():
        for batch in batches:
            batch_px = batch.shape[0] * batch.shape[2] * batch.shape[3]
            seen_px += batch_px
            for layer in layers:
                # the share of the newest in an average over all of them, not in a moving one
                layer.momentum = batch_px / seen_px
            network(batch.contiguous(memory_format=torch.channels_last))
    distances = []
    for layer, (mean, variance, count, momentum) in zip(layers, kept, strict=True):
        found, share = (_copy(layer.running_mean), _copy(layer.running_var)), strength if layer.num_batches_tracked else 0.0
        if not all(tensor.isfinite().all() for tensor in found):
            raise RasterError(
                "The rasters hold values whose averages are no numbers, for example -3.4e38 for pixels without data. Declare what stands "
                "for nodata: gdal_edit -a_nodata VALUE FILE."
            )
        if share:
            distances.append((found[0] - mean).abs() / (variance + layer.eps).sqrt())
        layer.running_mean, layer.running_var = torch.lerp(mean, found[0], share), torch.lerp(variance, found[1], share)
        layer.num_batches_tracked, layer.momentum = count, momentum
    network.eval()
    return Shift(layers=len(distances), distance=float(torch.cat(distances).quantile(0.9)))


def _copy(buffer: Tensor | None) -> Tensor:
    assert buffer is not None
    return buffer.detach().clone()
