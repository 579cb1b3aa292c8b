"""What the numbers in targets stand for."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geoseg.pixels.classes import ClassKind

UNLABELLED = 255
"""Target value of pixels that nothing is known of."""
NOT_BUILDING = 254
"""Semantic target of pixels that are known to be no building, and no more."""


class _Row(Protocol):
    @property
    def kind(self) -> ClassKind: ...


class _Classes(Protocol):
    @property
    def classes(self) -> tuple[_Row, ...]: ...


def building_channel(spec: _Classes) -> int:
    """Return the semantic channel of the first building class of a model spec or class scheme, or -1."""
    return next((i for i, c in enumerate(spec.classes) if c.kind is ClassKind.BUILDING), -1)


def is_partial(targets: NDArray[np.uint8]) -> bool:
    """Tell whether semantic targets know buildings only."""
    return bool((targets == NOT_BUILDING).any())
