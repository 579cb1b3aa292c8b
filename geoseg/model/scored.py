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

Score = Callable[[NDArray[Any], NDArray[np.bool_], Keep, int], NDArray[np.float32]]
"""Takes pixels (N, B, H, W), valid (N, H, W), the part of the tiles that is wanted and a number of processor threads, and returns the
scores (N, C, h, w) of the part."""


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
        part = _part_of(valid, keep)
        with batch_memory(pixels.shape):
            return decode(self._score(pixels, valid, part, self._threads), valid[:, *part], self.spec.layers, threads=self._threads)

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Infer a batch to be blended; see :class:`geoseg.model.predictor.Predictor`.

        Raises:
            DeviceMemoryError: If the batch does not fit into memory.
        """
        with batch_memory(pixels.shape):
            return activate(self._score(pixels, valid, _part_of(valid), self._threads), self.spec, threads=self._threads)


def _part_of(valid: NDArray[np.bool_], keep: Keep | None = None) -> Keep:
    """Return the bounds of a part of tiles (N, H, W) as numbers; None means all of them."""
    rows, cols = keep or (slice(None), slice(None))
    return slice(*rows.indices(valid.shape[1])), slice(*cols.indices(valid.shape[2]))
