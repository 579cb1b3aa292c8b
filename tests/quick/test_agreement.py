"""How far a first map and the final one agree."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.pixels.classes import ClassScheme, LandClass
from geoseg.quick.agreement import measure_agreement

SCHEME = ClassScheme(classes=tuple(LandClass(value=value, name=f"class {value}", color="#123456") for value in (1, 2, 4)))


def reader(pixels: NDArray[np.uint8]) -> Callable[[Window], NDArray[np.uint8]]:
    return lambda window: pixels[window.toslices()]


@given(seed=st.integers(0, 99), factor=st.integers(1, 7), height=st.integers(1, 40), width=st.integers(1, 40))
def test_it_equals_a_comparison_of_whole_arrays(seed: int, factor: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    final = rng.choice(np.array([1, 2, 4, 255], np.uint8), (height, width))
    first = rng.choice(np.array([1, 2, 4, 255], np.uint8), (-(-height // factor), -(-width // factor)))
    told = measure_agreement(reader(first), reader(final), factor, (height, width), SCHEME)
    stretched = np.kron(first, np.ones((factor, factor), np.uint8))[:height, :width]
    both = (stretched != 255) & (final != 255)
    assert told["agreement"] == _mean((stretched == final)[both])
    for row in told["classes"]:
        mine = final == row["value"]
        assert row["found"] == _mean((stretched == final)[both & mine])
        assert row["kept"] == _mean((stretched == final)[both & (stretched == row["value"])])


def _mean(values: NDArray[Any]) -> float | None:
    return round(float(values.mean()), 4) if values.size else None
