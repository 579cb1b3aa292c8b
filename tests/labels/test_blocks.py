"""Splits by place: two parts that are disjoint, further apart than the buffer, and together all but the buffer."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pydantic import ValidationError
from scipy.ndimage import distance_transform_cdt

from geoseg.errors import LabelError
from geoseg.labels.blocks import kept_pixels, onto_averages
from geoseg.labels.site import Blocks

UTM_2M = Affine(2.0, 0.0, 300000.0, 0.0, -2.0, 3000000.0)


def split(shape: tuple[int, int], **fields: object) -> tuple[np.ndarray, np.ndarray]:
    geobox = GeoBox(shape, UTM_2M, "EPSG:32645")
    train, test = (kept_pixels(Blocks.model_validate({**fields, "keep": keep}), geobox) for keep in ("train", "test"))
    return train, test


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(9, 60),
    width=st.integers(9, 60),
    size_px=st.integers(2, 8),
    buffer_px=st.integers(0, 6),
    share=st.floats(0.05, 0.9),
    seed=st.integers(0, 5),
)
def test_train_and_test_are_disjoint_and_further_apart_than_the_buffer(
    height: int, width: int, size_px: int, buffer_px: int, share: float, seed: int
) -> None:
    train, test = split((height, width), size_px=size_px, buffer_px=buffer_px, share=share, seed=seed)
    assert not (train & test).any()
    away = distance_transform_cdt(~test, metric="chessboard")
    assert not train.any() or away[train].min() > buffer_px
    # nothing is given up but the buffer
    np.testing.assert_array_equal(train, away > buffer_px)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(20, 90),
    width=st.integers(20, 90),
    tested=st.integers(1, 4),
    learned=st.integers(1, 7),
    buffer_px=st.integers(0, 2),
    seed=st.integers(0, 5),
)
def test_parts_stay_apart_when_training_reads_another_grid_than_the_test(
    height: int, width: int, tested: int, learned: int, buffer_px: int, seed: int
) -> None:
    shape = (-(-height // tested), -(-width // tested))
    train, test = split(shape, size_px=4, buffer_px=buffer_px, seed=seed)
    own = onto_averages(train, tested, (-(-height // learned), -(-width // learned)), learned)
    own_fine, train_fine, test_fine = (
        np.kron(part, np.ones((side, side), bool))[:height, :width] for part, side in ((own, learned), (train, tested), (test, tested))
    )
    away = distance_transform_cdt(~test_fine, metric="chessboard")
    assert not own_fine.any() or away[own_fine].min() > buffer_px * tested
    for row, col in np.ndindex(own.shape):
        covered = train_fine[row * learned : (row + 1) * learned, col * learned : (col + 1) * learned]
        assert own[row, col] == covered.all()


def test_the_share_of_the_blocks_is_kept() -> None:
    _, test = split((100, 100), size_px=10, share=0.23)
    assert test.sum() == 23 * 100


def test_other_seeds_draw_other_blocks_and_the_same_seed_the_same() -> None:
    one, again, other = (split((80, 80), size_px=10, seed=seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_blocks_in_metres_are_metres_on_the_ground() -> None:
    # 1 px of EPSG:3857 at 60 degrees north is half as long on the ground
    mercator = GeoBox((64, 64), Affine(2.0, 0.0, 0.0, 0.0, -2.0, 8399737.9), "EPSG:3857")
    half = kept_pixels(Blocks(size_m=16, keep="test", share=0.25), mercator)
    np.testing.assert_array_equal(half, kept_pixels(Blocks(size_px=16, keep="test", share=0.25), mercator))


def test_a_raster_of_one_block_is_refused() -> None:
    with pytest.raises(LabelError, match="20 x 30 px is a single block of 64 px"):
        split((20, 30), size_px=64)


def test_metres_without_a_crs_are_refused() -> None:
    with pytest.raises(LabelError, match=r"blocks of 50\.0 m need a raster with a CRS"):
        kept_pixels(Blocks(size_m=50, keep="train"), GeoBox((20, 20), Affine.identity(), None))


@pytest.mark.parametrize("sizes", [{}, {"size_px": 5, "size_m": 5.0}])
def test_blocks_have_one_size(sizes: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="either size_px or size_m"):
        Blocks.model_validate({**sizes, "keep": "train"})
