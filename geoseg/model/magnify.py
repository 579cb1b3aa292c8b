"""Networks that see their input enlarged: small objects fill more of what the first layers still tell apart."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import interpolate


def magnify(module: nn.Module, factor: float) -> None:
    """Let a network see its input some times larger, and make its output as small again.

    Its tensors keep their names, so that weights fit with any factor. Places between pixels are counted in float32 from a tile's first
    one, so what tiles give of a pixel may differ by what this rounds, where factors are no whole numbers.

    Args:
        module: From pixels (N, C, H, W) to logits (N, K, H, W); it is changed. The factor has to make whole numbers of H and W.
        factor: A multiple of a quarter; 1 leaves the network as it is.
    """
    if factor != 1:
        module.register_forward_pre_hook(_Enlarge(factor))
        module.register_forward_hook(_Reduce(factor))


@dataclass(frozen=True, slots=True)
class _Enlarge:
    factor: float

    def __call__(self, module: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        return (interpolate(given[0], scale_factor=self.factor, mode="bilinear", align_corners=False),)


@dataclass(frozen=True, slots=True)
class _Reduce:
    factor: float

    def __call__(self, module: nn.Module, given: tuple[Tensor], logits: Tensor) -> Tensor:
        return interpolate(logits, scale_factor=1 / self.factor, mode="bilinear", align_corners=False)
