"""A torch network on a GPU: pixels go there as they are, and only the layers of what is kept come back."""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geoseg.model.execution import Precision
from geoseg.model.halved import halve
from geoseg.model.memory import batch_memory
from geoseg.model.predictor import Keep
from geoseg.model.spec import ModelSpec
from geoseg.pixels.decode import CONFIDENCE_SCALE, EVIDENCE_SCALE, MEASURE_SCALE, LayerPlan, Measure


def forbid_tf32() -> None:
    """Have this process compute float32 as float32: torch takes TF32 for convolutions on its own, of ten bits instead of 23."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


class GpuPredictor:
    """A network on a GPU. It may be called from several threads at once; each has its own stream and its own pinned memory.

    Scaling, arg-max and quantization run on the device. Float32 is true float32: TF32, which torch takes for convolutions
    on its own, is switched off in this process; ``bfloat16`` and ``float16`` run by autocast, but for the last layer.

    Args:
        spec: What the model is.
        module: The network, with weights.
        device: ``cuda`` or ``cuda:1``; on ``cpu`` everything but streams and pinned memory is the same.
        precision: What convolutions and matrix products are computed with.
        wrap: What runs the network, for example a compiler; None runs it as it is.
    """

    def __init__(
        self,
        spec: ModelSpec,
        module: nn.Module,
        *,
        device: str,
        precision: Precision = "float32",
        wrap: Callable[[nn.Module], Callable[[Tensor], Tensor]] | None = None,
    ) -> None:
        self.spec = spec
        self._device = torch.device(device)
        self._lane = threading.local()
        if self._on_gpu:
            forbid_tf32()
        placed = halve(module, precision).eval().to(self._device).to(memory_format=torch.channels_last)
        self._run = placed if wrap is None else wrap(placed)
        self._mean = torch.tensor(spec.mean, device=self._device)[:, None, None]
        self._std = torch.tensor(spec.std, device=self._device)[:, None, None]
        self._values = torch.tensor(spec.layers.values, dtype=torch.uint8, device=self._device)
        if self._on_gpu:
            # other streams must find the weights in place
            torch.cuda.synchronize(self._device)

    @property
    def _on_gpu(self) -> bool:
        return self._device.type == "cuda"

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        """Infer a batch; see :class:`geoseg.model.predictor.Predictor`.

        Raises:
            DeviceMemoryError: If the batch does not fit into the memory of the device.
        """
        rows, cols = keep or (slice(None), slice(None))
        with batch_memory(pixels.shape), self._own_stream():
            there = self._send("valid", valid)
            logits = self._score(pixels, there)[:, :, rows, cols]
            made: NDArray[np.uint8] = self._fetch(decode_on_device(logits, there[:, rows, cols], self.spec.layers, self._values))
            return made

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Infer a batch to be blended; see :class:`geoseg.model.predictor.Predictor`.

        Raises:
            DeviceMemoryError: If the batch does not fit into the memory of the device.
        """
        with batch_memory(pixels.shape), self._own_stream():
            logits = self._score(pixels, self._send("valid", valid))
            for head in self.spec.heads.values():
                scores = logits[:, head.start : head.stop]
                scores.copy_(scores.softmax(dim=1) if head.activation == "softmax" else scores.sigmoid())
            made: NDArray[np.float32] = self._fetch(logits.contiguous())
            return made

    @contextmanager
    def _own_stream(self) -> Iterator[None]:
        with torch.inference_mode():
            if not self._on_gpu:
                yield
                return
            if not hasattr(self._lane, "stream"):
                self._lane.stream, self._lane.pinned = torch.cuda.Stream(self._device), {}  # type: ignore[no-untyped-call]
            with torch.cuda.stream(self._lane.stream):
                yield

    def _score(self, pixels: NDArray[Any], there: Tensor) -> Tensor:
        raw = self._send("pixels", as_sent(pixels))
        numbers = (raw.to(torch.int32) & 0xFFFF).float() if pixels.dtype == np.uint16 else raw.float()
        scaled = torch.where(there[:, None], (numbers - self._mean) / self._std, 0.0)
        return self._run(scaled.contiguous(memory_format=torch.channels_last))

    def _send(self, what: str, array: NDArray[Any]) -> Tensor:
        given = torch.from_numpy(np.ascontiguousarray(array))
        if not self._on_gpu:
            return given
        pinned = self._pinned(what, given)
        pinned.copy_(given)
        return pinned.to(self._device, non_blocking=True)

    def _fetch(self, tensor: Tensor) -> NDArray[Any]:
        if not self._on_gpu:
            return tensor.numpy()
        pinned = self._pinned("result", tensor)
        pinned.copy_(tensor, non_blocking=True)
        # after it the thread's pinned memory is free for the next batch
        self._lane.stream.synchronize()
        return pinned.numpy().copy()

    def _pinned(self, what: str, like: Tensor) -> Tensor:
        """Return page-locked memory of this thread, made anew where the shape differs from last time's."""
        known: Tensor | None = self._lane.pinned.get(what)
        if known is None or known.shape != like.shape or known.dtype != like.dtype:
            known = torch.empty(like.shape, dtype=like.dtype, pin_memory=True)
            self._lane.pinned[what] = known
        return known


def as_sent(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return pixels in a type that torch computes with on every device; uint16 travels as the int16 of the same bits."""
    if pixels.dtype == np.uint16:
        return np.ascontiguousarray(pixels).view(np.int16)
    if not pixels.dtype.isnative or pixels.dtype in (np.uint32, np.uint64, np.float64):
        return pixels.astype(np.float32)
    return pixels


def decode_on_device(logits: Tensor, valid: Tensor, plan: LayerPlan, values: Tensor) -> Tensor:
    """Do on the device what :func:`geoseg.pixels.decode.decode` does on the processor.

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
    layers += [_quantize(_measure(probability, measure, start), MEASURE_SCALE) for measure in plan.measures]
    fills = plan.fill_values().values()
    return torch.stack([torch.where(valid, layer, fill) for layer, fill in zip(layers, fills, strict=True)], dim=1)


def _measure(probability: Tensor, measure: Measure, start: int) -> Tensor:
    """Return a measure of the class probabilities (N, K, H, W); of ones that are no numbers the largest entropy and no margin."""
    if measure.kind == "probability":
        return probability[:, measure.channel - start].nan_to_num(0.0)
    if measure.kind == "margin":
        two = probability.topk(min(2, probability.shape[1]), dim=1).values
        return (two[:, 0] - (two[:, 1] if two.shape[1] > 1 else 0.0)).nan_to_num(0.0)
    classes = probability.shape[1]
    if classes == 1:
        return torch.zeros_like(probability[:, 0])
    made: Tensor = (torch.special.entr(probability).sum(dim=1) / math.log(classes)).clamp(max=1.0).nan_to_num(1.0)
    return made


def _quantize(probability: Tensor, scale: int) -> Tensor:
    return (probability * scale + 0.5).floor().to(torch.uint8)
