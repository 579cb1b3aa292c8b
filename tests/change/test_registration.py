"""How far two dates lie beside each other, on imagery that has gaps."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray

from geoseg.change.classes import bring_together
from geoseg.change.ground import find_ground
from geoseg.change.registration import measure_misregistration
from geoseg.change.side import Side
from geoseg.io.raster import open_raster
from tests.doubles import NODATA, TRANSFORM, write_raster
from tests.town import SCHEME


def draw() -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    drawn = np.zeros((400, 400), np.uint8)
    for row, col, height, width in rng.integers((0, 0, 5, 5), (390, 390, 20, 20), (300, 4)):
        drawn[row : row + height, col : col + width] = rng.integers(1, 4)
    return drawn


def side(folder: Path, name: str, nodata: float, place: Affine) -> Side:
    classes, pixels = draw(), draw().astype(np.float32)
    for corner in (0, 100, 200, 300):
        gap = slice(corner, corner + 20), slice(corner, corner + 50)
        classes[gap], pixels[gap] = NODATA, nodata
    image = open_raster(write_raster(folder / f"{name}.tif", np.repeat(pixels[None], 3, axis=0), nodata=nodata, transform=place))
    path = write_raster(folder / f"{name}-classes.tif", classes[None], nodata=NODATA, transform=place)
    return Side(name=name, classes=path, geobox=image.geobox, scheme=SCHEME, imagery=image)


@pytest.mark.parametrize("nodata", [np.nan, float(np.finfo(np.float32).min), -9999.0])
def test_values_that_stand_for_no_data_are_not_taken_for_edges(nodata: float, tmp_path: Path) -> None:
    places = TRANSFORM, TRANSFORM @ Affine.translation(0.5, 0)
    dates = [side(tmp_path, name, nodata, place) for name, place in zip(("one", "two"), places, strict=True)]
    seen = measure_misregistration(find_ground(*dates, bring_together(SCHEME, SCHEME, {})))
    assert (seen.seen_on, seen.is_reliable) == ("imagery", True)
    assert (seen.cols_px, seen.rows_px) == pytest.approx((0.5, 0.0), abs=0.1)
