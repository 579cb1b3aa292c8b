"""Networks of geoseg's own: the first fully convolutional ones, on VGG-16's stages with batch norm, and one that sees single pixels."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

_CONVOLUTIONS = (2, 2, 3, 3, 3)
_FACTORS = (1, 2, 4, 8, 8)


class FCN8s(nn.Module):
    """FCN-8s (Long et al. 2015, "Fully convolutional networks for semantic segmentation").

    Scores at strides 32, 16 and 8 are added up on the way to full resolution by transposed convolutions that start as
    bilinear interpolation. Convolutions keep the size, where the paper pads the image by 100 px and crops.

    Args:
        bands: Channels of the input.
        channels: Channels of the output.
        width: Channels of the first stage; 64 in the paper.
        head_width: Channels of the two layers that were fully connected in VGG; 4096 in the paper.
    """

    def __init__(self, bands: int, channels: int, *, width: int = 64, head_width: int = 4096) -> None:
        super().__init__()
        widths = [width * factor for factor in _FACTORS]
        self.stages = _vgg_stages(bands, widths)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Sequential(_convolve(widths[4], head_width, kernel=7), nn.Dropout2d(), _convolve(head_width, head_width, kernel=1))
        self.scores = nn.ModuleList(nn.Conv2d(w, channels, 1) for w in (widths[2], widths[3], head_width))
        self.upsample = nn.ModuleList(_bilinear(channels, factor) for factor in (8, 2, 2))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (N, channels, H, W) of pixels (N, bands, H, W); H and W are multiples of 32."""
        x = pixels
        pooled = []
        for stage in self.stages:
            x = self.pool(stage(x))
            pooled.append(x)
        logits: Tensor = self.scores[2](self.head(x))
        logits = self.upsample[2](logits) + self.scores[1](pooled[3])
        logits = self.upsample[1](logits) + self.scores[0](pooled[2])
        full: Tensor = self.upsample[0](logits)
        return full


class SegNet(nn.Module):
    """SegNet (Badrinarayanan et al. 2017): the decoder puts values back where max-pooling took them from.

    Args:
        bands: Channels of the input.
        channels: Channels of the output.
        width: Channels of the first stage; 64 in the paper.
    """

    def __init__(self, bands: int, channels: int, *, width: int = 64) -> None:
        super().__init__()
        widths = [width * factor for factor in _FACTORS]
        self.stages = _vgg_stages(bands, widths)
        self.mirrored = _mirrored_stages(widths)
        self.score = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (N, channels, H, W) of pixels (N, bands, H, W); H and W are multiples of 32."""
        x, places = _pool_stages(self.stages, pixels)
        logits: Tensor = self.score(_unpool_stages(self.mirrored, x, places))
        return logits


class DeconvNet(nn.Module):
    """DeconvNet (Noh et al. 2015, "Learning deconvolution network for semantic segmentation").

    As SegNet, with the layers that were fully connected in VGG at the bottom and transposed convolutions in the decoder.
    They keep the size here, so that tiles of any size go through; in the paper the bottom is one pixel of a 224 px window.

    Args:
        bands: Channels of the input.
        channels: Channels of the output.
        width: Channels of the first stage; 64 in the paper.
        head_width: Channels of the bottom; 4096 in the paper.
    """

    def __init__(self, bands: int, channels: int, *, width: int = 64, head_width: int = 4096) -> None:
        super().__init__()
        widths = [width * factor for factor in _FACTORS]
        self.stages = _vgg_stages(bands, widths)
        self.bottom = nn.Sequential(
            _convolve(widths[4], head_width, kernel=7),
            _convolve(head_width, head_width, kernel=1),
            _convolve(head_width, widths[4], kernel=7, transposed=True),
        )
        self.mirrored = _mirrored_stages(widths, transposed=True)
        self.score = nn.Conv2d(width, channels, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (N, channels, H, W) of pixels (N, bands, H, W); H and W are multiples of 32."""
        x, places = _pool_stages(self.stages, pixels)
        logits: Tensor = self.score(_unpool_stages(self.mirrored, self.bottom(x), places))
        return logits


class Pixel(nn.Module):
    """One 1 x 1 convolution: each pixel by its own bands. What a run costs with it, it costs beside the network.

    Args:
        bands: Channels of the input.
        channels: Channels of the output.
    """

    def __init__(self, bands: int, channels: int) -> None:
        super().__init__()
        self.score = nn.Conv2d(bands, channels, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (N, channels, H, W) of pixels (N, bands, H, W)."""
        logits: Tensor = self.score(pixels)
        return logits


CLASSICS: dict[str, type[FCN8s] | type[SegNet] | type[DeconvNet] | type[Pixel]] = {
    "fcn8s": FCN8s,
    "segnet": SegNet,
    "deconvnet": DeconvNet,
    "pixel": Pixel,
}
"""Networks by the name that stands in a spec."""


def _convolve(inputs: int, outputs: int, *, kernel: int = 3, transposed: bool = False) -> nn.Sequential:
    layer = nn.ConvTranspose2d if transposed else nn.Conv2d
    return nn.Sequential(layer(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _stage(widths: Sequence[int], *, transposed: bool = False) -> nn.Sequential:
    return nn.Sequential(*(_convolve(a, b, transposed=transposed) for a, b in pairwise(widths)))


def _vgg_stages(bands: int, widths: Sequence[int]) -> nn.ModuleList:
    starts = [bands, *widths]
    return nn.ModuleList(_stage([start, *[w] * n]) for start, w, n in zip(starts, widths, _CONVOLUTIONS, strict=False))


def _mirrored_stages(widths: Sequence[int], *, transposed: bool = False) -> nn.ModuleList:
    ends = [widths[0], *widths]
    stages = [_stage([*[w] * n, end], transposed=transposed) for end, w, n in zip(ends, widths, _CONVOLUTIONS, strict=False)]
    return nn.ModuleList(reversed(stages))


def _pool_stages(stages: nn.ModuleList, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    places = []
    for stage in stages:
        x, indices = functional.max_pool2d_with_indices(stage(x), (2, 2))
        places.append(indices)
    return x, places


def _unpool_stages(stages: nn.ModuleList, x: Tensor, places: list[Tensor]) -> Tensor:
    for stage, indices in zip(stages, reversed(places), strict=True):
        x = stage(_unpool(x, indices))
    return x


def _unpool(x: Tensor, indices: Tensor) -> Tensor:
    # a product, not a scatter: a NaN then reaches the whole cell, as the place of a maximum depends on the whole cell
    where = functional.max_unpool2d(torch.ones_like(x), indices, (2, 2))
    return functional.interpolate(x, scale_factor=2.0, mode="nearest") * where


def _bilinear(channels: int, factor: int) -> nn.ConvTranspose2d:
    layer = nn.ConvTranspose2d(channels, channels, 2 * factor, stride=factor, padding=factor // 2, bias=False)
    tent = 1 - (torch.arange(2 * factor) - (factor - 0.5)).abs() / factor
    with torch.no_grad():
        layer.weight.zero_()
        for channel in range(channels):
            layer.weight[channel, channel] = tent[:, None] * tent
    return layer
