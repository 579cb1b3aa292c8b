"""Uncertain places: the ones that were planted, wherever they lie and however large the raster is."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from geoseg.io.tiffs.layers import open_layer
from geoseg.products.reporting.places import Place, find_uncertain
from tests.doubles import NODATA, write_raster


def find(tmp_path: Path, confidence: NDArray[np.uint8], most: int = 6) -> list[Place]:
    path = write_raster(tmp_path / "confidence.tif", confidence[None], nodata=NODATA, tiled=True, compress="deflate")
    with open_layer(path) as read:
        return find_uncertain(read, confidence.shape, most)


def holds(place: Place, row: int, col: int) -> bool:
    rows, cols = place.window.toslices()
    return rows.start <= row < rows.stop and cols.start <= col < cols.stop


@pytest.mark.parametrize("side", [700, 5000])
def test_the_place_that_was_planted_comes_first(tmp_path: Path, side: int) -> None:
    confidence = np.full((side, side), 95, np.uint8)
    row, col = round(side * 0.37), round(side * 0.81)
    confidence[row - 60 : row + 60, col - 60 : col + 60] = 30
    place = find(tmp_path, confidence)[0]
    assert holds(place, row, col)
    assert max(place.window.width, place.window.height) <= 512
    rows, cols = place.window.toslices()
    assert abs(place.confidence - confidence[rows, cols].mean()) < 3


def test_places_are_in_order_and_none_is_beside_another(tmp_path: Path) -> None:
    confidence = np.add.outer(np.arange(1280) // 64, np.arange(1280) // 64).astype(np.uint8) + 40
    places = find(tmp_path, confidence)
    assert len(places) == 6
    assert [p.confidence for p in places] == sorted(p.confidence for p in places)
    for i, one in enumerate(places):
        for other in places[i + 1 :]:
            gap = [abs(getattr(one.window, side) - getattr(other.window, side)) for side in ("row_off", "col_off")]
            assert max(gap) >= 2 * 128


def test_places_that_mostly_hold_no_data_are_left_out(tmp_path: Path) -> None:
    confidence = np.full((256, 256), NODATA, np.uint8)
    confidence[:128, :128] = 70
    confidence[200:210, 200:210] = 1
    places = find(tmp_path, confidence)
    assert [(p.window.row_off, p.window.col_off, p.confidence) for p in places] == [(0, 0, 70.0)]


def test_a_raster_smaller_than_a_place_is_one_place_and_an_empty_one_none(tmp_path: Path) -> None:
    assert [p.window.height for p in find(tmp_path, np.full((5, 7), 50, np.uint8))] == [5]
    assert find(tmp_path, np.full((5, 7), NODATA, np.uint8)) == []
