"""What a model does for the pipeline, and doubles that do it without a network."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from geoseg.model.spec import Halo, Head, ModelSpec, NetworkSpec
from geoseg.pixels.decode import decode
from geoseg.pixels.detections import Detections
from geoseg.pixels.normalize import normalize

_SURE = 8.0
"""Logit of a score of 1: steep, so that doubles are sure of what they find."""
_NEVER = -20.0
"""Logit of what does not happen."""


Keep = tuple[slice, slice]
"""Rows and columns of a tile."""


class Predictor(Protocol):
    """A model that is ready to run."""

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        """Infer a batch.

        Args:
            pixels: (N, C, H, W) in the raster's dtype.
            valid: (N, H, W), True = data.
            keep: Rows and columns of the tiles that are wanted; None wants all.

        Returns:
            (N, L, h, w) uint8 layers of the kept part, in the order of ``spec.layers``.

        Raises:
            DeviceMemoryError: If the batch does not fit.
        """

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Infer a batch that is going to be blended with its neighbors.

        Args:
            pixels: (N, C, H, W) in the raster's dtype.
            valid: (N, H, W), True = data.

        Returns:
            (N, C, H, W) probabilities of the network's channels; where nothing is valid, they mean nothing.
        """


@runtime_checkable
class Detector(Predictor, Protocol):
    """A model that finds objects by their masks."""

    def detect(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> list[Detections]:
        """Find objects in a batch.

        Args:
            pixels: (N, C, H, W) in the raster's dtype.
            valid: (N, H, W), True = data.

        Returns:
            What was found in each tile, on data only; classes are indices into the spec's classes, 0 the background.

        Raises:
            DeviceMemoryError: If the batch does not fit.
        """


def activate(logits: NDArray[np.float32], spec: ModelSpec, *, threads: int = 1) -> NDArray[np.float32]:
    """Turn the logits of every head into probabilities.

    Args:
        logits: (N, C, H, W).
        spec: Heads and their activation.
        threads: Processor threads; without influence on the result.

    Returns:
        (N, C, H, W); 0 in channels of no head.
    """
    from geoseg.pixels.fused import activate_scores

    return activate_scores(logits, [(h.start, h.stop, h.activation == "softmax") for h in spec.heads.values()], threads=threads)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdPredictor:
    """Double: class 1 where the mean of the bands reaches a threshold. Sees one pixel at a time."""

    spec: ModelSpec
    """Two classes."""
    threshold: float = 128.0
    """In units of the raster's values."""

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        """Infer a batch; see :class:`Predictor`."""
        return decode(self._score(pixels, valid), valid, self.spec.layers, keep)

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Infer a batch; see :class:`Predictor`."""
        return activate(self._score(pixels, valid), self.spec)

    def _score(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        there = np.where(valid[:, None], pixels, 0).astype(np.float32)
        just_below = np.nextafter(np.float32(self.threshold), np.float32(-np.inf))
        score = (there.mean(axis=1) - just_below) / 64
        return _logits_of(score, self.spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantPredictor:
    """Double: the same class everywhere."""

    spec: ModelSpec
    """Any scheme."""
    channel: int = 0
    """Channel that wins."""

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        """Infer a batch; see :class:`Predictor`."""
        return decode(self._score(pixels, valid), valid, self.spec.layers, keep)

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Infer a batch; see :class:`Predictor`."""
        return activate(self._score(pixels, valid), self.spec)

    def _score(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        logits = np.zeros((len(pixels), self.spec.channels, *pixels.shape[2:]), np.float32)
        logits[:, self.channel] = 5
        return logits


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighborhoodPredictor:
    """Double with a known receptive field: classes by the mean of a (2 r + 1) square of normalized pixels.

    With a halo of at least ``radius_px``, tiled equals whole-image inference to the bit: it sums integers.
    """

    spec: ModelSpec
    """Two classes."""
    radius_px: int = 8
    """Reach of the receptive field."""

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        """Infer a batch; see :class:`Predictor`."""
        return decode(self._score(pixels, valid), valid, self.spec.layers, keep)

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Infer a batch; see :class:`Predictor`."""
        return activate(self._score(pixels, valid), self.spec)

    def _score(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        normalized = np.stack([normalize(p, v, self.spec.scaling) for p, v in zip(pixels, valid, strict=True)])
        whole = np.rint(normalized.mean(axis=1) * 64).astype(np.int64)
        r = self.radius_px
        summed = np.pad(whole, ((0, 0), (r + 1, r), (r + 1, r))).cumsum(axis=1).cumsum(axis=2)
        side = 2 * r + 1
        total = summed[:, side:, side:] - summed[:, :-side, side:] - summed[:, side:, :-side] + summed[:, :-side, :-side]
        return _logits_of((total / (64 * side * side)).astype(np.float32), self.spec)


def _logits_of(score: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float32]:
    """Return logits of a building score (N, H, W): every channel but the first follows it, and there are no boundaries."""
    logits = np.zeros((len(score), spec.channels, *score.shape[1:]), np.float32)
    logits[:, 1:] = score[:, None] * _SURE
    boundary = spec.heads.get("building_boundary")
    if boundary is not None:
        logits[:, boundary.start] = _NEVER
    return logits


def double_spec(bands: int = 3, *, stride_px: int = 16, tile_size_px: int = 64, halo_px: int = 16) -> ModelSpec:
    """Return the spec of a double: a surface and a building class, with building interior and boundary beside."""
    return ModelSpec(
        name="double",
        version="1",
        description="A double for tests; no network.",
        license="Apache-2.0",
        bands=tuple(f"band_{i + 1}" for i in range(bands)),
        mean=(128.0,) * bands,
        std=(64.0,) * bands,
        classes=(
            {"value": 0, "name": "ground", "color": "#c8b48c"},
            {"value": 1, "name": "building", "color": "#dc2828", "kind": "building"},
        ),
        heads={
            "semantic": Head(start=0, stop=2, activation="softmax"),
            "building_interior": Head(start=2, stop=3, activation="sigmoid"),
            "building_boundary": Head(start=3, stop=4, activation="sigmoid"),
        },
        network=NetworkSpec(architecture="none", encoder="none", stride_px=stride_px),
        tile_size_px=tile_size_px,
        halo=Halo(default_px=halo_px, exact_px=halo_px),
    )
