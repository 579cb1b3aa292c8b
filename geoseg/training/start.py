"""Start a training from the weights of packages, as far as they fit."""

import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from geoseg.errors import ModelError
from geoseg.model.package import ModelPackage
from geoseg.model.spec import ModelSpec

_LEAST_SHARE = 0.5
_BLOCK = re.compile(r"(decoder\.blocks\.)(\d+)(\..+)")
"""Stages of the decoders of U-Net, LinkNet and MAnet, the coarsest first."""


def start_from_packages(module: nn.Module, spec: ModelSpec, packages: Sequence[ModelPackage]) -> str | None:
    """Load the tensors of packages whose names and shapes fit a network; the others stay as they are.

    Where a package's network has fewer or more stages, those of its decoder are taken from the finest on, as those of the encoder are:
    what both know of fine detail is kept, and only the coarsest stages start fresh.

    Of several packages the weights are averaged. Models that were trained from the same weights on different data lie close enough to
    each other for that, and their average knows something of each (Wortsman et al. 2022, Model soups). Its batch statistics are the
    average of theirs as well, which is not what its own would be: training finds those in its first steps.

    Args:
        module: The network, with fresh weights.
        spec: What it is, for messages.
        packages: What to start from, at least one.

    Returns:
        What did not fit, in a sentence; None if everything did.

    Raises:
        ModelError: If weights cannot be read, or fewer than half of the network's tensors fit those of a package.
    """
    own = module.state_dict()
    found = [_read_fitting(own, spec, package) for package in packages]
    # whole numbers count batches, nothing to average
    common = {name: [tensors[name] for tensors in found if name in tensors] for name in own}
    averages = {name: torch.stack(rows).mean(0) if rows[0].is_floating_point() else rows[0] for name, rows in common.items() if rows}
    module.load_state_dict({**own, **averages})
    partly = [(package, tensors) for package, tensors in zip(packages, found, strict=True) if len(tensors) < len(own)]
    if not partly:
        return None
    parts = [f"{len(tensors)} of {len(own)} tensors of '{package.spec.name}' fit" for package, tensors in partly]
    fresh = [name for name, rows in common.items() if not rows]
    missing = f"{len(fresh)} start fresh, the first is {fresh[0]}" if fresh else "what one lacks is that of the others"
    return f"{'; '.join(parts)}; {missing}."


def _read_fitting(own: Mapping[str, Tensor], spec: ModelSpec, package: ModelPackage) -> dict[str, Tensor]:
    try:
        stored = load_file(package.weights)
    except (OSError, ValueError, SafetensorError) as exc:
        raise ModelError(f"The weights in {package.weights} cannot be read: {exc}.") from exc
    stored = _count_from_the_finest(stored, _count_blocks(own))
    fitting = {k: v.float() if v.is_floating_point() else v for k, v in stored.items() if k in own and own[k].shape == v.shape}
    theirs, asked = package.spec.network, spec.network
    if len(fitting) < _LEAST_SHARE * len(own):
        raise ModelError(
            f"start_from names '{package.spec.name}', a {theirs.architecture} with {theirs.encoder}; the recipe asks for a "
            f"{asked.architecture} with {asked.encoder}, and only {len(fitting)} of its {len(own)} tensors fit. "
            "Start from a model of the same network, or from random weights."
        )
    return fitting


def _count_blocks(names: Iterable[str]) -> int:
    return 1 + max((int(found[2]) for name in names if (found := _BLOCK.fullmatch(name))), default=-1)


def _count_from_the_finest(stored: Mapping[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """Name a decoder's stages as a network of so many stages names those at the same resolution."""
    further = blocks - _count_blocks(stored)
    return {_BLOCK.sub(lambda found: f"{found[1]}{int(found[2]) + further}{found[3]}", name): v for name, v in stored.items()}
