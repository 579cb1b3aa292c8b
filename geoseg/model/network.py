"""All of torch at inference: build a network, load its weights, run a batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from geoseg.errors import DeviceMemoryError, ModelError
from geoseg.model.classics import CLASSICS
from geoseg.model.execution import Execution
from geoseg.model.package import ModelPackage
from geoseg.model.predictor import Keep
from geoseg.model.spec import ModelSpec
from geoseg.pixels.decode import CONFIDENCE_SCALE, EVIDENCE_SCALE, LayerPlan


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
    _check_shape(spec, module)
    return module


def _build_smp(spec: ModelSpec) -> nn.Module:
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
    if stride % coarsest:
        raise ModelError(
            f"Model '{spec.name}' says stride_px = {stride}, but its encoder has a stride of {coarsest} px. "
            f"Set stride_px to a multiple of {coarsest}, or encoder_depth to a smaller one."
        )
    height, width = stride, 3 * stride
    was_training = module.training
    advice = "Set stride_px to the network's (2 to the power of its depth, or the patch size), or choose options that keep the size."
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
    except (RuntimeError, OSError, ValueError, SafetensorError) as exc:
        reason = " ".join(str(exc).split())
        raise ModelError(f"The weights in {path} do not fit the network that model.json describes: {reason}") from exc


class TorchPredictor:
    """A network on a device. Normalization, arg-max and quantization run there; uint8 comes back.

    Args:
        spec: What the model is.
        module: The network, with weights.
        device: ``cpu``, ``cuda`` or a device of torch's naming.
    """

    def __init__(self, spec: ModelSpec, module: nn.Module, device: str = "cpu") -> None:
        self.spec = spec
        self._device = torch.device(device)
        self._module = module.eval().to(self._device).to(memory_format=torch.channels_last)
        self._mean = torch.tensor(spec.mean, device=self._device)[:, None, None]
        self._std = torch.tensor(spec.std, device=self._device)[:, None, None]
        self._values = torch.tensor(spec.layers.values, dtype=torch.uint8, device=self._device)

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        """Infer a batch; see :class:`geoseg.model.predictor.Predictor`.

        Raises:
            DeviceMemoryError: If the batch does not fit into the memory of the device.
        """
        with self._on_device(pixels, valid) as (logits, there):
            rows, cols = keep or (slice(None), slice(None))
            return decode_on_device(logits[:, :, rows, cols], there[:, rows, cols], self.spec.layers, self._values).cpu().numpy()

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Infer a batch to be blended; see :class:`geoseg.model.predictor.Predictor`.

        Raises:
            DeviceMemoryError: If the batch does not fit into the memory of the device.
        """
        with self._on_device(pixels, valid) as (logits, _):
            for head in self.spec.heads.values():
                scores = logits[:, head.start : head.stop]
                scores.copy_(scores.softmax(dim=1) if head.activation == "softmax" else scores.sigmoid())
            return logits.contiguous().cpu().numpy()

    @contextmanager
    def _on_device(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> Iterator[tuple[Tensor, Tensor]]:
        """Give the logits of a batch, and where it is valid."""
        try:
            with torch.inference_mode():
                there = torch.from_numpy(valid).to(self._device)
                raw = torch.from_numpy(_as_torch_dtype(pixels)).to(self._device).float()
                scaled = torch.where(there[:, None], (raw - self._mean) / self._std, 0.0)
                yield self._module(scaled.contiguous(memory_format=torch.channels_last)).float(), there
        except torch.OutOfMemoryError as exc:
            raise DeviceMemoryError(
                f"The device ran out of memory on a batch of {pixels.shape}: choose a smaller --batch-size or --tile-size."
            ) from exc


def decode_on_device(logits: Tensor, valid: Tensor, plan: LayerPlan, values: Tensor) -> Tensor:
    """Do on the device what :func:`geoseg.pixels.decode.decode` does in NumPy.

    Args:
        logits: (N, C, H, W) float32.
        valid: (N, H, W) bool.
        plan: Layers and their channels.
        values: (K,) uint8, class value of each semantic channel.

    Returns:
        (N, L, H, W) uint8.
    """
    start, stop = plan.semantic
    probability = logits[:, start:stop].softmax(dim=1)
    layers = [values[logits[:, start:stop].argmax(dim=1)], _quantize(probability.amax(dim=1), CONFIDENCE_SCALE)]
    for evidence in plan.evidence:
        p = logits[:, evidence.channel].sigmoid() if evidence.among is None else probability[:, evidence.channel - start]
        layers.append(_quantize(p, EVIDENCE_SCALE))
    fills = plan.fill_values().values()
    return torch.stack([torch.where(valid, layer, fill) for layer, fill in zip(layers, fills, strict=True)], dim=1)


def _quantize(probability: Tensor, scale: int) -> Tensor:
    return (probability * scale + 0.5).floor().to(torch.uint8)


def _as_torch_dtype(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.dtype in (np.uint16, np.uint32):
        return pixels.astype(np.float32)
    return np.ascontiguousarray(pixels)


def load_predictor(package: ModelPackage, execution: Execution) -> TorchPredictor:
    """Build the network of a package, load its weights and put it on a device.

    Args:
        package: The model.
        execution: Where and how it runs.

    Raises:
        ModelError: If the network cannot be built, the weights do not fit, or the device is not there.
    """
    if execution.threads > 0:
        torch.set_num_threads(execution.threads)
    module = build_network(package.spec)
    load_weights(module, package.weights)
    return TorchPredictor(package.spec, module, execution.device)
