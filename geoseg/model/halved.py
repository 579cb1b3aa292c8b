"""Networks that compute in 16 bits, but for the layer that makes the scores."""

import torch
from torch import Tensor, nn

from geoseg.model.execution import Precision


def halve(module: nn.Module, precision: Precision) -> nn.Module:
    """Return a network that computes in a precision, by autocast; its logits are float32.

    The last convolution stays in float32: scores of eight bits tie where classes meet, and between a tenth and a half of the labels
    that bfloat16 changes are such ties (docs/backends.md).

    Args:
        module: The network; its last convolution is wrapped in place, so it is of no further use for training.
        precision: ``float32`` returns the network as it is.
    """
    if precision == "float32":
        return module
    # autocast keeps casts of weights that can be trained in one place for all threads; lanes would read them half written
    module.requires_grad_(False)
    convolutions = [name for name, child in module.named_modules() if isinstance(child, nn.Conv2d)]
    if convolutions:
        above, _, name = convolutions[-1].rpartition(".")
        parent = module.get_submodule(above)
        setattr(parent, name, _Exact(parent.get_submodule(name)))
    return _Halved(module, torch.bfloat16 if precision == "bfloat16" else torch.float16)


class _Halved(nn.Module):
    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype

    def forward(self, pixels: Tensor) -> Tensor:
        with torch.autocast(pixels.device.type, self.dtype):
            logits: Tensor = self.network(pixels)
        return logits.float()


class _Exact(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            scores: Tensor = self.layer(features.float())
        return scores
