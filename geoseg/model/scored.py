"""Predictors that are no more than scores: how batches of them become layers and probabilities on the processor."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.model.memory import batch_memory
from geoseg.model.predictor import Keep, activate
from geoseg.model.spec import ModelSpec
from geoseg.pixels.decode import decode

Score = Callable[[NDArray[Any], NDArray[np.bool_], int], NDArray[np.float32]]
"""Takes pixels (N, B, H, W), valid (N, H, W) and a number of processor threads, and returns scores (N, C, H, W)."""


class ScoredPredictor:
    """A network whose scores come from elsewhere; they are decoded here, in compiled code.

    Args:
        spec: What the model is.
        score: Scores a batch.
        threads: Processor threads; 0 takes all.
    """

    def __init__(self, spec: ModelSpec, score: Score, *, threads: int = 0) -> None:
        self.spec = spec
        self._score = score
        self._threads = threads or os.cpu_count() or 1

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        """Infer a batch; see :class:`geoseg.model.predictor.Predictor`.

        Raises:
            DeviceMemoryError: If the batch does not fit into memory.
        """
        with batch_memory(pixels.shape):
            return decode(self._score(pixels, valid, self._threads), valid, self.spec.layers, keep, threads=self._threads)

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Infer a batch to be blended; see :class:`geoseg.model.predictor.Predictor`.

        Raises:
            DeviceMemoryError: If the batch does not fit into memory.
        """
        with batch_memory(pixels.shape):
            return activate(self._score(pixels, valid, self._threads), self.spec, threads=self._threads)
