"""Features of a pixel: exact, of a known reach, and those that scipy computes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geoseg.model.pixelfeatures import feature_radius, pixel_features
from geoseg.pixels.normalize import BandScaling

SCALING = BandScaling(mean=(120.0, 120.0, 120.0), std=(50.0, 50.0, 50.0))
SCALES = (1, 3)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), top=st.integers(0, 12), left=st.integers(0, 12))
def test_features_depend_on_nothing_beyond_their_radius(seed: int, top: int, left: int) -> None:
    rng = np.random.default_rng(seed)
    pixels, valid = rng.integers(0, 256, (3, 40, 40)).astype(np.uint8), rng.random((40, 40)) < 0.8
    r = feature_radius(SCALES)
    whole = pixel_features(pixels, valid, SCALING, SCALES)[top + r : top + r + 5, left + r : left + r + 5]
    near = (slice(top, top + 2 * r + 5), slice(left, left + 2 * r + 5))
    part = pixel_features(pixels[:, *near], valid[near], SCALING, SCALES)[r : r + 5, r : r + 5]
    np.testing.assert_array_equal(part, whole)


def test_the_radius_is_no_wider_than_it_must_be() -> None:
    pixels, valid = np.full((3, 21, 21), 100, np.uint8), np.ones((21, 21), bool)
    changed = pixels.copy()
    changed[:, 10, 10] = 255
    differs = (pixel_features(changed, valid, SCALING, SCALES) != pixel_features(pixels, valid, SCALING, SCALES)).any(axis=-1)
    assert np.abs(np.argwhere(differs) - 10).max() == feature_radius(SCALES)


def test_means_and_spreads_equal_scipys() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 30, 30)).astype(np.uint8)
    features = pixel_features(pixels, np.ones((30, 30), bool), SCALING, (2,))
    scaled = np.rint((pixels - np.float32(120)) / np.float32(50) * 256).astype(np.float64)
    mean = ndimage.uniform_filter(scaled, (0, 5, 5))
    spread = np.sqrt(ndimage.uniform_filter(scaled**2, (0, 5, 5)) - mean**2)
    inside = (slice(2, -2), slice(2, -2))
    # three bands, a Laplacian and three ratios come first
    np.testing.assert_allclose(features[..., 7:10][inside], mean.transpose(1, 2, 0)[inside], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(features[..., 10:13][inside], spread.transpose(1, 2, 0)[inside], rtol=1e-4, atol=1e-2)


def test_values_without_data_change_nothing() -> None:
    pixels = np.random.default_rng(3).normal(120, 50, (3, 20, 20)).astype(np.float32)
    valid = np.ones((20, 20), bool)
    valid[5:9, 5:9] = False
    damaged = np.where(valid, pixels, np.nan)
    np.testing.assert_array_equal(pixel_features(damaged, valid, SCALING, SCALES), pixel_features(pixels, valid, SCALING, SCALES))


def test_the_ratio_of_bands_is_their_normalized_difference() -> None:
    pixels = np.full((3, 4, 4), 50, np.uint16) * np.array([3, 1, 0], np.uint16)[:, None, None]
    features = pixel_features(pixels, np.ones((4, 4), bool), SCALING, (1,))
    np.testing.assert_allclose(features[2, 2, 4:7], [0.5, 1.0, 1.0])
