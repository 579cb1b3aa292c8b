"""Patches inside others are those that SciPy labels, whatever the lattice."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy.ndimage import label

from geoseg.objects.borders.sieve import EnclosedOptions, replace_enclosed

BACKGROUND = 255
PIXEL_M = (2.0, 3.0)
maps = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=11), elements=st.sampled_from([0, 0, 1, 1, 4, BACKGROUND]))


def replaced(classes: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """Patches of 1 whose border is to 0 become 4, one by one."""
    made = classes.copy()
    labels, count = label(classes == 1)
    padded, values = np.pad(labels, 1), np.pad(classes, 1, constant_values=BACKGROUND)
    for number in range(1, count + 1):
        own = padded == number
        borders = {0: 0.0, 4: 0.0}
        for axis, length_m in ((0, PIXEL_M[0]), (1, PIXEL_M[1])):
            for step in (1, -1):
                beside = np.roll(values, step, axis)[own & (np.roll(padded, step, axis) != number)]
                for value in borders:
                    borders[value] += length_m * np.count_nonzero(beside == value)
        total = sum(borders.values())
        if total and borders[0] >= share * total - 1e-6:
            made[labels == number] = 4
    return made


@settings(deadline=None, max_examples=100)
@given(classes=maps, share=st.sampled_from([0.25, 0.5, 0.9, 1.0]), lattice_px=st.integers(2, 12))
def test_patches_whose_border_is_to_another_value_are_replaced(classes: NDArray[np.uint8], share: float, lattice_px: int) -> None:
    options = EnclosedOptions(value=1, inside=0, becomes=4, min_share=share, background=BACKGROUND)
    read = replace_enclosed(lambda window: classes[window.toslices()], classes.shape, PIXEL_M, options, lattice_px=lattice_px)
    made = read(Window(0, 0, classes.shape[1], classes.shape[0]))
    np.testing.assert_array_equal(made, replaced(classes, share))
