"""Variation keeps shapes and ranges for any number of bands, and does what its name says."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from geoseg.training.augment import cast_shadow, compress, vary_colors, vary_window
from geoseg.training.recipe import Augmentation

EVERYTHING = Augmentation(haze=1, blur=1, blur_px=1.5, noise=1, shadow=1, jpeg=1, band_drop=1, gray=0.5)
NOTHING = Augmentation(color=0)


def smooth(bands: int, height: int = 40, width: int = 56) -> torch.Tensor:
    rows, cols = np.mgrid[:height, :width]
    return torch.from_numpy(np.stack([120 + 60 * np.sin(rows / (7 + b)) * np.cos(cols / 9) for b in range(bands)]).astype(np.float32))


@settings(max_examples=15, deadline=None)
@given(bands=st.integers(1, 6), seed=st.integers(0, 1000))
def test_any_number_of_bands_stays_in_range(bands: int, seed: int) -> None:
    pixels = smooth(bands)
    varied = vary_window(pixels, np.random.default_rng(seed), EVERYTHING, torch.zeros(bands, 1, 1))
    assert varied.shape == pixels.shape
    assert varied.dtype == torch.float32
    assert varied.min() >= 0
    assert varied.max() <= 255


def test_the_generator_decides_everything() -> None:
    one, same, other = (vary_window(smooth(3), np.random.default_rng(s), EVERYTHING, torch.zeros(3, 1, 1)) for s in (1, 1, 2))
    torch.testing.assert_close(one, same, rtol=0, atol=0)
    assert not torch.equal(one, other)


def test_what_is_off_leaves_pixels_and_chance_alone() -> None:
    rng = np.random.default_rng(3)
    assert torch.equal(vary_window(smooth(3), rng, NOTHING, torch.zeros(3, 1, 1)), smooth(3))
    assert rng.random() == np.random.default_rng(3).random()


def test_a_dropped_band_is_neutral_and_the_others_are_whole() -> None:
    pixels = smooth(4)
    varied = vary_window(pixels, np.random.default_rng(1), Augmentation(color=0, band_drop=1), torch.full((4, 1, 1), 77.0))
    same = [torch.equal(a, b) for a, b in zip(varied, pixels, strict=True)]
    assert sum(same) == 3
    assert (varied[same.index(False)] == 77).all()


@pytest.mark.parametrize("seed", range(8))
def test_a_shadow_only_darkens_and_at_most_by_its_strength(seed: int) -> None:
    shaded = cast_shadow(smooth(3), np.random.default_rng(seed), 0.6) / smooth(3)
    assert shaded.max() <= 1 + 1e-6
    assert 0.4 - 1e-6 <= shaded.min() < 0.9


def test_gray_makes_bands_alike() -> None:
    varied = vary_colors(smooth(3), np.random.default_rng(0), Augmentation(gray=1, haze=0, blur=0, noise=0))
    torch.testing.assert_close(varied[0], varied[2])


def test_blur_lowers_and_noise_raises_what_changes_from_pixel_to_pixel() -> None:
    def roughness(**effect: float) -> float:
        options = Augmentation(**{"haze": 0, "blur": 0, "noise": 0, "color": 0.2, "gray": 0} | effect)
        rough = torch.from_numpy(np.random.default_rng(5).uniform(100, 150, (3, 40, 40)).astype(np.float32))
        return float(vary_colors(rough, np.random.default_rng(0), options).diff(dim=2).abs().mean())

    assert roughness(blur=1, blur_px=2.0) < 0.1 * roughness()
    assert roughness(noise=1, noise_strength=0.5) > 1.5 * roughness()


@pytest.mark.parametrize("quality", [20, 50, 90])
def test_compression_loses_what_a_jpeg_encoder_loses(quality: int) -> None:
    pixels = smooth(1).round() + torch.from_numpy(np.random.default_rng(1).normal(0, 6, (1, 40, 56)).round().astype(np.float32))
    stream = io.BytesIO()
    Image.fromarray(pixels[0].numpy().astype(np.uint8)).save(stream, "JPEG", quality=quality)
    encoded = np.asarray(Image.open(stream)).astype(np.float32)
    # encoders compute in integers, so that a coefficient in the middle between two steps may fall to either
    apart = np.abs(compress(pixels, quality)[0].numpy() - encoded)
    assert (apart < 1.6).mean() > 0.9
    assert apart.mean() < 0.5 * np.abs(pixels[0].numpy() - encoded).mean()
