"""How sure both dates are of ground that is said to have been built up or cleared."""

import numpy as np
from numpy.typing import NDArray

from geoseg.change.ground import Ground


def measure_evidence(ground: Ground, shapes: NDArray[np.object_]) -> NDArray[np.float64]:
    """Average the probability of building, as the models of both dates gave it, over shapes that do not overlap.

    Args:
        ground: The dates; both have evidence.
        shapes: (n,) polygons in metres on the grid; None is nowhere.

    Returns:
        (n, 2) mean probability before and after over the pixels whose centers lie inside; NaN where there is none.
    """
    sums, counts = np.zeros((len(shapes), 2)), np.zeros(len(shapes))
    with ground.open_evidence() as read:
        for window, burned in ground.burn(shapes):
            inside = burned > 0
            counts += np.bincount(burned[inside], minlength=len(shapes) + 1)[1:]
            for date, layer in enumerate(read(window)):
                sums[:, date] += np.bincount(burned[inside], layer[inside], minlength=len(shapes) + 1)[1:]
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts[:, None])
