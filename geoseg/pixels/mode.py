"""The most frequent of four neighbors, by which class maps are halved."""

import numpy as np
from numpy.typing import NDArray


def halve_by_mode(values: NDArray[np.uint8], nodata: int | None) -> NDArray[np.uint8]:
    """Halve a class map: of each 2 x 2 pixels the value that most of them have, of equally many the first one in row-major order.

    Args:
        values: (H, W) uint8. Blocks at the lower and right edge may be incomplete.
        nodata: Value that does not count, unless all pixels have it; None lets every value count.

    Returns:
        (ceil(H / 2), ceil(W / 2)) uint8.
    """
    height, width = values.shape
    # a row or column that stands twice changes no majority
    whole = np.pad(values, ((0, height % 2), (0, width % 2)), mode="edge") if height % 2 or width % 2 else values
    one, two, three, four = (np.ascontiguousarray(whole[i::2, j::2]) for i in (0, 1) for j in (0, 1))
    halved = one.copy()
    if nodata is not None:
        # the first that counts, where no two agree
        for other in (two, three, four):
            np.copyto(halved, other, where=halved == nodata)
    _agree(halved, three, nodata, four)
    _agree(halved, two, nodata, three, four)
    _agree(halved, one, nodata, two, three, four)
    return halved


def _agree(halved: NDArray[np.uint8], value: NDArray[np.uint8], nodata: int | None, *others: NDArray[np.uint8]) -> None:
    """Take a value where it counts and another pixel has it too."""
    agrees = np.logical_or.reduce([value == other for other in others])
    if nodata is not None:
        agrees &= value != nodata
    np.copyto(halved, value, where=agrees)
