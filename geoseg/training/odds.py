"""From probabilities to the decision that a map is for: classes that count before they are the likeliest."""

import copy
import math
from collections.abc import Mapping

import torch
from torch import nn

from geoseg.errors import ModelError
from geoseg.model.spec import ModelSpec

_TOLERANCE = 1e-3


def weigh_odds(network: nn.Module, spec: ModelSpec, odds: Mapping[str, float]) -> nn.Module:
    """Return a copy of a network whose last biases are raised, so that the odds of classes are multiplied.

    The expected IoU of a class is largest where pixels count as the class from a probability of J / (1 + J) on, J being the best IoU
    that can be had: below one half wherever a class is not found without fault. (Lipton et al. 2014, Optimal thresholding of
    classifiers to maximize F1 measure: half of the best F1, which is that.) Of two classes, odds of 1 / J do it. The softmax of the
    copy, and with it the confidence of its maps, are those of the weighed odds.

    Args:
        network: (N, B, H, W) to logits (N, C, H, W), in evaluation mode or not; it stays as it is.
        spec: What its channels are.
        odds: Factor above 0 by name of class; a class without one keeps its odds.

    Raises:
        ModelError: If the network ends in something else than a convolution with a bias for each channel.
    """
    if all(factor == 1 for factor in odds.values()):
        return network
    start = spec.heads["semantic"].start
    raised = torch.zeros(spec.channels)
    for i, row in enumerate(spec.classes):
        raised[start + i] = math.log(odds.get(row.name, 1.0))
    # the copy is on the processor and in evaluation mode, where statistics of a batch neither hide a bias nor move
    before = copy.deepcopy(network).cpu().eval()
    weighed = copy.deepcopy(before)
    last = [layer for layer in weighed.modules() if isinstance(layer, nn.Conv2d) and layer.out_channels == spec.channels][-1:]
    if last and last[0].bias is not None:
        with torch.no_grad():
            last[0].bias += raised
        if _differ_by(before, weighed, spec, raised):
            return weighed
    raise ModelError(
        f"decision.odds cannot be built into a {spec.network.architecture}: it does not end in a convolution with a bias for each channel. "
        "Weigh the classes in the loss instead ([loss] classes), or leave the odds out."
    )


@torch.no_grad()
def _differ_by(before: nn.Module, after: nn.Module, spec: ModelSpec, raised: torch.Tensor) -> bool:
    """Tell whether two networks' logits differ by a number for each channel, wherever one looks."""
    size = max(2 * spec.network.stride_px, 64)
    pixels = torch.zeros(1, len(spec.bands), size, size)
    difference = after(pixels) - before(pixels)
    return torch.allclose(difference, raised[None, :, None, None].expand_as(difference), atol=_TOLERANCE)
