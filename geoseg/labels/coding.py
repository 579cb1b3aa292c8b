"""What the numbers in targets stand for."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geoseg.pixels.classes import ClassKind

UNLABELLED = 255
"""Target value of pixels that nothing is known of."""
NOT_BUILDING = 254
"""Semantic target of pixels that are known to be no building, and no more."""

EMPTY = "(empty)"
"""What stands for a value that is missing."""


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


def code_classes(values: Iterable[Any], known: Mapping[str, int]) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Return the channel of each value of a class column, and the values that are no class with their counts.

    Args:
        values: Class names or numbers; whole floats are numbers, as GIS programs store them.
        known: Channel by name or number; names are also known in other case.

    Returns:
        (n,) channels, -1 where there is none, and the count of each value without one.
    """
    folded = {name.lower(): channel for name, channel in known.items()}
    texts = [class_text(value) for value in values]
    channels = np.array([known.get(text, folded.get(text.lower(), -1)) for text in texts], np.int64)
    return channels, dict(Counter(text for text, channel in zip(texts, channels, strict=True) if channel < 0))


def class_text(value: Any) -> str:
    """Return a value of a class column as recipes name it."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return EMPTY
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
