"""How far a pixel of a network's output sees: measured, so that a card cannot claim what is not so."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geoseg.errors import ModelError
from geoseg.model.spec import ModelSpec

_LONGEST_PX = 2048
_BATCH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceptiveField:
    """What a pixel of the output depends on."""

    radius_px: int | None
    """Farthest input row (or column) that any output pixel depends on; None where it is the whole tile (2048 px or more)."""
    global_context: bool
    """Whether a pixel depends on the whole tile (global pooling, squeeze-and-excitation, attention)."""


def measure_receptive_field(spec: ModelSpec, module: nn.Module) -> ReceptiveField:
    """Measure the theoretical receptive field of a network; its weights do not matter.

    One row of a strip is not a number (NaN). In evaluation mode everything that is computed from it is NaN too, whatever the
    weights are, since 0 * NaN = NaN; so the rows that come out NaN are those that depend on it. All rows of a stride are tried.
    Interpolation takes a neighbor into account even where its weight is 0, so the radius is never too small.

    Args:
        spec: Gives bands and stride.
        module: The network; it is not changed.

    Returns:
        The field. Law: with a halo of ``radius_px``, a pixel of a tile sees what it sees in the whole image.

    Raises:
        ModelError: If the network cannot be run on strips of its stride's multiples.
    """
    probe = _ready(module)
    touched = _touched_by_first_row(probe, spec)
    if touched[-1]:
        return ReceptiveField(radius_px=None, global_context=True)
    stride = spec.network.stride_px
    reach = int(touched.nonzero().max())
    # the reach of one row tells that of all others to less than a stride
    middle = (reach // stride + 2) * stride
    radius = 0
    for first in range(middle, middle + stride, _BATCH):
        sources = list(range(first, min(first + _BATCH, middle + stride)))
        for source, hit in zip(sources, _touched_rows(probe, spec, 2 * middle + stride, sources), strict=True):
            distance = (hit.nonzero() - source).abs()
            radius = max(radius, int(distance.max()))
    return ReceptiveField(radius_px=radius, global_context=False)


def sees_whole_tile(spec: ModelSpec, module: nn.Module) -> bool:
    """Tell whether a pixel depends on the whole tile, without measuring how far it sees if it does not.

    Raises:
        ModelError: As :func:`measure_receptive_field`.
    """
    return bool(_touched_by_first_row(_ready(module), spec)[-1])


def _ready(module: nn.Module) -> nn.Module:
    # float64, as kernels for float32 may mix neighbors in ways of their own (Winograd)
    return copy.deepcopy(module).double().cpu().eval()


def _touched_by_first_row(probe: nn.Module, spec: ModelSpec) -> Tensor:
    stride = spec.network.stride_px
    return _touched_rows(probe, spec, -(-_LONGEST_PX // stride) * stride, [0])[0]


def _touched_rows(probe: nn.Module, spec: ModelSpec, rows: int, sources: list[int]) -> Tensor:
    """Return (len(sources), rows) bool: which output rows depend on each source row."""
    strips = torch.zeros(len(sources), len(spec.bands), rows, spec.network.stride_px, dtype=torch.float64)
    for strip, source in zip(strips, sources, strict=True):
        strip[:, source] = torch.nan
    try:
        with torch.inference_mode():
            logits = probe(strips)
    except (RuntimeError, AssertionError, ValueError) as exc:
        raise ModelError(
            f"The receptive field of '{spec.name}' cannot be measured: the network does not run on strips of {tuple(strips.shape[2:])} px: "
            f"{exc}. Let it take images of any size (for timm transformers: dynamic_img_size = true)."
        ) from exc
    return torch.as_tensor(logits.isnan().any(dim=3).any(dim=1))
