"""The count of classes: pixels and ground area equal those of the whole map."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.pixels.classes import NODATA_CLASS, ClassScheme, LandClass
from geoseg.runfolder.report import count_classes

SCHEME = ClassScheme(classes=tuple(LandClass(value=v, name=f"class {v}", color="#102030") for v in (3, 0, 254)))


def count(class_map: NDArray[np.uint8], row_area_m2: NDArray[np.float64]) -> list[dict[str, object]]:
    def read(window: Window) -> NDArray[np.uint8]:
        return class_map[window.row_off : window.row_off + window.height, window.col_off : window.col_off + window.width]

    return count_classes(read, SCHEME, row_area_m2, class_map.shape)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 40), width=st.integers(1, 60), seed=st.integers(0, 2**32 - 1))
@example(height=2, width=4100, seed=1)
@example(height=2050, width=2, seed=2)
def test_counts_equal_those_of_the_whole_map(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    class_map = rng.choice(np.array([0, 3, 254, NODATA_CLASS], np.uint8), (height, width))
    row_area = rng.uniform(0.1, 4, height)
    area = np.broadcast_to(row_area[:, None], class_map.shape)
    rows = count(class_map, row_area)
    assert [row["value"] for row in rows] == [3, 0, 254, NODATA_CLASS]
    for row in rows:
        assert row["pixels"] == (class_map == row["value"]).sum()
        assert abs(row["area_m2"] - area[class_map == row["value"]].sum()) <= 0.005 + 1e-6
    assert sum(row["pixels"] for row in rows) == class_map.size


def test_classes_that_do_not_occur_and_nodata_have_their_rows() -> None:
    rows = count(np.zeros((4, 5), np.uint8), np.full(4, 2.5))
    assert rows[1] == {"value": 0, "name": "class 0", "color": "#102030", "kind": "surface", "pixels": 20, "area_m2": 50.0}
    assert rows[0]["pixels"] == rows[2]["pixels"] == 0
    assert rows[3] == {"value": 255, "name": "nodata", "color": None, "kind": None, "pixels": 0, "area_m2": 0.0}
