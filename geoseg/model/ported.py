"""A network that came as a whole, behind geoseg's own protocol: any library runs it, tiles and batches fit what it takes."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.model.memory import batch_memory
from geoseg.model.ports import Ports, pack_input, read_ports, unpack_outputs
from geoseg.model.predictor import Keep, activate
from geoseg.model.spec import ModelSpec
from geoseg.pixels.decode import decode
from geoseg.pixels.fused import scale_batch

RunGraph = Callable[[NDArray[Any]], list[NDArray[Any]]]
"""Takes the input of a batch, and returns the outputs that count, in order."""


class PortedPredictor:
    """A network that came as a whole.

    Args:
        spec: What the model is; its network's options say what the network takes and gives.
        run: Runs it.
        threads: Processor threads for scaling and decoding; 0 takes all.

    Raises:
        ModelError: If the options do not fit.
    """

    def __init__(self, spec: ModelSpec, run: RunGraph, *, threads: int = 0) -> None:
        self.spec = spec
        self._ports: Ports = read_ports(spec)
        self._run = run
        self._threads = threads or os.cpu_count() or 1

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        """Infer a batch; see :class:`geoseg.model.predictor.Predictor`.

        Raises:
            DeviceMemoryError: If the batch does not fit into memory.
        """
        with batch_memory(pixels.shape):
            return decode(self._score(pixels, valid), valid, self.spec.layers, keep, threads=self._threads)

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Infer a batch to be blended; see :class:`geoseg.model.predictor.Predictor`.

        Raises:
            DeviceMemoryError: If the batch does not fit into memory.
        """
        with batch_memory(pixels.shape):
            return activate(self._score(pixels, valid), self.spec, threads=self._threads)

    def _score(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        scaled = scale_batch(pixels, valid, self.spec.scaling, threads=self._threads)
        outputs = run_batches(self._run, pack_input(scaled, self._ports), self._ports.batch)
        return unpack_outputs(outputs, (pixels.shape[2], pixels.shape[3]), self.spec, self._ports)


def run_batches(run: RunGraph, given: NDArray[Any], batch: int | None) -> list[NDArray[Any]]:
    """Run a network on a batch of any size; where it takes one size only, the last batch is filled up with its last tile."""
    if batch is None or len(given) == batch:
        return run(given)
    parts = []
    for start in range(0, len(given), batch):
        part = given[start : start + batch]
        missing = batch - len(part)
        outputs = run(np.concatenate([part, *[part[-1:]] * missing]) if missing else part)
        parts.append([output[: len(part)] for output in outputs])
    return [np.concatenate(each) for each in zip(*parts, strict=True)]
