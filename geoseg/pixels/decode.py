"""Logits to what is stored: uint8 layers. Compiled for the processor; GPUs do the same in their own way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geoseg.pixels.classes import NODATA_CLASS

CONFIDENCE_SCALE = 100
"""Confidence is stored in percent, 0..100; pixels without data hold NODATA_CLASS."""
EVIDENCE_SCALE = 255
"""Evidence is a probability in 1/255."""
MEASURE_SCALE = 250
"""Measures are numbers from 0 to 1 in 1/250; pixels without data hold NODATA_CLASS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A probability layer that objects are made from."""

    name: str
    """``building``, ``building_interior``, ``building_boundary`` or ``road``."""
    channel: int
    """Channel of the logits."""
    among: tuple[int, int] | None
    """Channels of the softmax that it belongs to; None takes a sigmoid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A layer that tells how likely one class is, or how sure the choice among all of them."""

    name: str
    """``probability:<class>``, ``entropy`` or ``margin``."""
    kind: Literal["probability", "entropy", "margin"]
    """The probability of a class; the entropy of all of them as a share of the largest possible; that of the best less that of the next."""
    channel: int = 0
    """Channel of the logits of the class; others have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPlan:
    """Which uint8 layers a run stores, in order: class, confidence, evidence, then measures."""

    semantic: tuple[int, int]
    """Channels of the class scores."""
    values: tuple[int, ...]
    """Class value of each of them."""
    evidence: tuple[Evidence, ...] = ()
    """Probability layers for objects."""
    measures: tuple[Measure, ...] = ()
    """Layers of probability and uncertainty that a run was asked for."""

    @property
    def names(self) -> tuple[str, ...]:
        """Layer names, in order."""
        return ("class", "confidence", *(e.name for e in self.evidence), *(m.name for m in self.measures))

    def index(self, name: str) -> int:
        """Return the position of a layer.

        Raises:
            ValueError: If the run has no such layer.
        """
        return self.names.index(name)

    def fill_values(self) -> Mapping[str, int]:
        """Return what each layer holds where there is no data."""
        without = {e.name for e in self.evidence}
        return {name: 0 if name in without else NODATA_CLASS for name in self.names}


def decode(
    logits: NDArray[np.float32], valid: NDArray[np.bool_], plan: LayerPlan, keep: tuple[slice, slice] | None = None, *, threads: int = 1
) -> NDArray[np.uint8]:
    """Turn logits into stored layers.

    Args:
        logits: (N, C, H, W) raw scores.
        valid: (N, H, W), True = data.
        plan: Layers and the channels that they come from.
        keep: Rows and columns that are decoded; None takes all.
        threads: Processor threads; without influence on the result.

    Returns:
        (N, L, h, w) uint8: class value, confidence in percent (probability of the best class), evidence in 1/255, measures in 1/250.
        Of equal scores the first channel wins; scores that are no numbers give 0 %, no evidence, and the largest entropy.
        Invalid pixels hold NODATA_CLASS in class, confidence and measures, and 0 in evidence.
    """
    # half a second of numba that only those pay who decode
    from geoseg.pixels.fused import decode_scores

    return decode_scores(logits, valid, plan, keep, threads=threads)


def decode_probabilities(
    probabilities: NDArray[np.float32], valid: NDArray[np.bool_], plan: LayerPlan, *, threads: int = 1
) -> NDArray[np.uint8]:
    """Turn probabilities into stored layers, as :func:`decode` does with logits.

    Args:
        probabilities: (N, C, H, W) in [0, 1]: softmax or sigmoid was applied to each head.
        valid: (N, H, W), True = data.
        plan: Layers and the channels that they come from.
        threads: Processor threads; without influence on the result.

    Returns:
        (N, L, H, W) uint8.
    """
    from geoseg.pixels.fused import decode_scores

    return decode_scores(probabilities, valid, plan, threads=threads, activated=True)
