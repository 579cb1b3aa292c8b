"""A torch network on the processor."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geoseg.model.execution import Precision
from geoseg.model.halved import halve
from geoseg.model.memory import batch_memory
from geoseg.model.predictor import Keep, activate
from geoseg.model.spec import ModelSpec
from geoseg.pixels.compiled import load_compiled
from geoseg.pixels.decode import decode
from geoseg.pixels.normalize import normalize_batch


class TorchPredictor:
    """A network on the processor, its tensors in memory pixel by pixel (``channels_last``).

    Args:
        spec: What the model is.
        module: The network, with weights.
        precision: What convolutions are computed with; 16 bits are only faster on processors that multiply them.
        wrap: What runs it, for example a compiler; None runs it as it is.
        threads: Processor threads of this process; 0 leaves torch's choice.
    """

    def __init__(
        self,
        spec: ModelSpec,
        module: nn.Module,
        *,
        precision: Precision = "float32",
        wrap: Callable[[nn.Module], Callable[[Tensor], Tensor]] | None = None,
        threads: int = 0,
    ) -> None:
        if threads > 0:
            torch.set_num_threads(threads)
        self.spec = spec
        self._threads = threads or torch.get_num_threads()
        placed = halve(module, precision).eval().to(memory_format=torch.channels_last)
        self._run = placed if wrap is None else wrap(placed)
        load_compiled()

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        """Infer a batch; see :class:`geoseg.model.predictor.Predictor`.

        Raises:
            DeviceMemoryError: If the batch does not fit into memory.
        """
        with batch_memory(pixels.shape):
            rows, cols = keep or (slice(None), slice(None))
            logits = self._score(pixels, valid)[:, :, rows, cols].contiguous().numpy()
            return decode(logits, valid[:, rows, cols], self.spec.layers, threads=self._threads)

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Infer a batch to be blended; see :class:`geoseg.model.predictor.Predictor`.

        Raises:
            DeviceMemoryError: If the batch does not fit into memory.
        """
        with batch_memory(pixels.shape):
            return activate(self._score(pixels, valid).contiguous().numpy(), self.spec, threads=self._threads)

    @torch.inference_mode()
    def _score(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> Tensor:
        scaled = torch.from_numpy(normalize_batch(pixels, valid, self.spec.scaling, threads=self._threads))
        return self._run(scaled.contiguous(memory_format=torch.channels_last))
