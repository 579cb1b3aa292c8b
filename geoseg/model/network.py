"""Build the network that a spec describes, and keep its weights on disk."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from geoseg.errors import ModelError
from geoseg.model.classics import CLASSICS
from geoseg.model.magnify import magnify
from geoseg.model.spec import ModelSpec


def build_network(spec: ModelSpec) -> nn.Module:
    """Build the network that a spec describes, with random weights, and check that its stride is the spec's.

    Stages of the encoder that its depth leaves unused are removed, so that they are neither stored nor trained.

    Raises:
        ModelError: If the architecture, encoder or an option is unknown, or the network does not give an output of its
            input's size at multiples of the stride.
    """
    network = spec.network
    try:
        module = _BUILDERS[network.library](spec)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as exc:
        wanted = f"{network.architecture} with {network.encoder}" if network.encoder else network.architecture
        raise ModelError(f"Model '{spec.name}' asks for {wanted}, which cannot be built: {exc}.") from exc
    magnify(module, network.magnification)
    _check_shape(spec, module)
    return module


def _build_smp(spec: ModelSpec) -> nn.Module:
    # two seconds and 200 MB that geoseg's own networks do without
    import segmentation_models_pytorch as smp

    module = smp.create_model(
        spec.network.architecture,
        encoder_name=spec.network.encoder,
        encoder_weights=None,
        in_channels=len(spec.bands),
        classes=spec.channels,
        **spec.network.options,
    )
    _drop_unused_stages(module)
    assert isinstance(module, nn.Module)
    return module


def _build_classic(spec: ModelSpec) -> nn.Module:
    if spec.network.architecture not in CLASSICS:
        raise ValueError(f"'{spec.network.architecture}' is none of {', '.join(CLASSICS)}")
    return CLASSICS[spec.network.architecture](len(spec.bands), spec.channels, **spec.network.options)


def _refuse_baseline(spec: ModelSpec) -> nn.Module:
    raise ValueError("scikit-learn baselines are no torch networks; load them with geoseg.model.load.load_predictor")


_BUILDERS: dict[str, Callable[[ModelSpec], nn.Module]] = {
    "segmentation_models_pytorch": _build_smp,
    "geoseg": _build_classic,
    "sklearn": _refuse_baseline,
}


def _check_shape(spec: ModelSpec, module: nn.Module) -> None:
    """Compare the encoder's stride with the spec's, and run the network on a small image."""
    stride = spec.network.stride_px
    # some decoders resize what does not fit; their tiles would then lie on another grid than the whole image
    coarsest = int(getattr(getattr(module, "encoder", None), "output_stride", 1))
    least = (Fraction(coarsest) / Fraction(spec.network.magnification)).numerator
    if stride % least:
        enlarged = f" of what it sees {spec.network.magnification:g} times larger" if spec.network.magnification != 1 else ""
        raise ModelError(
            f"Model '{spec.name}' says stride_px = {stride}, but its encoder has a stride of {coarsest} px{enlarged}. "
            f"Set stride_px to a multiple of {least}, or encoder_depth to a smaller one."
        )
    height, width = stride, 3 * stride
    was_training = module.training
    advice = "Set stride_px to the network's (2 to the power of its depth, or the patch size), or choose options that keep the size."
    if spec.network.magnification != 1:
        advice += (
            f" It sees its input {spec.network.magnification:g} times larger: so many times stride_px has to be a multiple of its stride."
        )
    try:
        with torch.inference_mode():
            found = tuple(module.eval()(torch.zeros(1, len(spec.bands), height, width)).shape)
    except (AssertionError, IndexError, RuntimeError, ValueError) as exc:
        raise ModelError(
            f"Model '{spec.name}' says stride_px = {stride}, but its network does not run on {height} x {width} px: {exc} {advice}"
        ) from exc
    finally:
        module.train(was_training)
    if found != (1, spec.channels, height, width):
        raise ModelError(
            f"The network of model '{spec.name}' makes {found} of {height} x {width} px; "
            f"{(1, spec.channels, height, width)} was expected. {advice}"
        )


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
    """Write a network's weights as float16 safetensors; tensors whose values are too large for it as float32, integers as they are."""
    # safetensors' own writer leaves a file that only its owner may read
    path.write_bytes(save({k: _narrow(v).contiguous() for k, v in module.state_dict().items()}))


def _narrow(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half if torch.equal(half.isfinite(), tensor.isfinite()) else tensor.float()


def load_weights(module: nn.Module, path: Path) -> None:
    """Load safetensors weights into a network.

    Raises:
        ModelError: If names or shapes differ from what the network expects.
    """
    try:
        state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
        module.load_state_dict(state)
    except (RuntimeError, OSError, ValueError, SafetensorError) as exc:
        reason = " ".join(str(exc).split())
        raise ModelError(f"The weights in {path} do not fit the network that model.json describes: {reason}") from exc
