"""Test-time augmentation: the mean over views is what NumPy makes of single ones, and turns with its input."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from geoseg.errors import ConfigError, DeviceMemoryError
from geoseg.inference.planning import plan_run
from geoseg.model.averaged import AveragedPredictor, View, count_passes, list_views
from geoseg.model.predictor import Keep, NeighborhoodPredictor, activate, double_spec
from geoseg.model.spec import ModelSpec
from geoseg.pipeline import segment_raster
from geoseg.pixels.decode import decode, decode_probabilities
from tests.doubles import Tight, always, bytes_of, call_geoseg, configure, draw_blobs, read_band, write_package, write_raster

D4 = list_views("d4")


@dataclass(frozen=True, slots=True)
class Slanted:
    """A predictor that is not the same in any two views: it compares each pixel with the one above, and twice with that on the left."""

    spec: ModelSpec
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        return decode(self._score(pixels, valid), valid, self.spec.layers, keep)

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        return activate(self._score(pixels, valid), self.spec)

    def _score(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        self.shapes.append(pixels.shape)
        seen = np.where(valid[:, None], pixels, 128).astype(np.float32).mean(axis=1)
        padded = np.pad(seen, ((0, 0), (1, 0), (1, 0)), mode="edge")
        logits = np.zeros((len(seen), self.spec.channels, *seen.shape[1:]), np.float32)
        logits[:, 1:] = (3 * seen - padded[:, :-1, 1:] - 2 * padded[:, 1:, :-1])[:, None] / 32
        return logits


SLANTED = Slanted(double_spec())


def batch(seed: int, shape: tuple[int, int] = (16, 32)) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (2, 3, *shape), np.uint8), rng.random((2, *shape)) < 0.9


def test_the_eight_views_are_the_symmetries_of_the_square() -> None:
    square = np.arange(9).reshape(3, 3)
    seen = {view.turn(square).tobytes() for view in D4}
    assert len(seen) == 8
    assert {view.turn(square).tobytes() for view in list_views("flips")} < seen
    assert D4[0] == View()
    assert all((view.turn_back(view.turn(square)) == square).all() for view in D4)


def test_the_mean_is_that_of_single_views() -> None:
    pixels, valid = batch(1)
    by_hand = []
    for flipped in (False, True):
        for quarters in range(4):
            given = [np.rot90(a[..., ::-1] if flipped else a, quarters, (-2, -1)) for a in (pixels, valid)]
            back = np.rot90(SLANTED.predict_probabilities(*given), -quarters, (-2, -1))
            by_hand.append(back[..., ::-1] if flipped else back)
    averaged = AveragedPredictor(SLANTED, D4)
    mean = np.mean(by_hand, axis=0)
    np.testing.assert_allclose(averaged.predict_probabilities(pixels, valid), mean, atol=1e-6)
    assert np.abs(mean - by_hand[0]).max() > 0.1
    keep = slice(2, 9), slice(5, 30)
    whole = decode_probabilities(averaged.predict_probabilities(pixels, valid), valid, SLANTED.spec.layers)
    np.testing.assert_array_equal(averaged.predict(pixels, valid, keep), whole[:, :, 2:9, 5:30])


@settings(max_examples=20)
@given(seed=st.integers(0, 99), view=st.sampled_from(D4))
def test_a_turned_tile_gives_the_turned_result(seed: int, view: View) -> None:
    pixels, valid = batch(seed)
    averaged = AveragedPredictor(SLANTED, D4)
    straight = averaged.predict_probabilities(pixels, valid)
    turned = averaged.predict_probabilities(view.turn(pixels), view.turn(valid))
    np.testing.assert_allclose(view.turn_back(turned), straight, atol=1e-6)


def test_other_sizes_are_multiples_of_the_stride_and_leave_an_even_image_as_it_is() -> None:
    spec = double_spec()
    views = list_views("flips", (0.5, 1.3))
    assert len(views) == 12
    assert count_passes(views) == pytest.approx(4 * (1 + 0.25 + 1.69))
    slanted = Slanted(spec)
    pixels, valid = np.full((1, 3, 48, 64), 200, np.uint8), np.ones((1, 48, 64), np.bool_)
    found = AveragedPredictor(slanted, views).predict_probabilities(pixels, valid)
    np.testing.assert_allclose(found, slanted.predict_probabilities(pixels, valid), atol=1e-6)
    assert {shape[2:] for shape in slanted.shapes} == {(48, 64), (32, 32), (64, 80)}


def test_what_is_not_valid_does_not_bleed_into_other_sizes() -> None:
    near = NeighborhoodPredictor(spec=double_spec(), radius_px=1)
    pixels, valid = np.full((1, 3, 32, 32), 200.0, np.float32), np.ones((1, 32, 32), np.bool_)
    pixels[:, :, :8], valid[:, :8] = np.nan, False
    found = AveragedPredictor(near, list_views("none", (2.0,))).predict(pixels, valid)
    assert (found[:, 0, :8] == 255).all()
    assert (found[:, 0, 8:] == 1).all()


def test_a_batch_that_does_not_fit_says_that_it_is_seen_eight_times() -> None:
    pixels, valid = batch(0)
    with pytest.raises(DeviceMemoryError, match="one of 8 views"):
        AveragedPredictor(Tight(SLANTED, 100), D4).predict(pixels, valid)


@pytest.fixture(scope="module")
def raster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raster(tmp_path_factory.mktemp("raster") / "blobs.tif", draw_blobs(120, 200, corner=40), nodata=0)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("package") / "double")


def test_a_run_averages_whatever_its_chunks(raster: Path, package: Path, tmp_path: Path) -> None:
    runs = [
        segment_raster(configure(raster, package, tmp_path / str(size), tta="d4", chunk_size=size), load=always(SLANTED))
        for size in (64, 200)
    ]
    assert bytes_of(runs[0]) == bytes_of(runs[1])
    once = segment_raster(configure(raster, package, tmp_path / "once"), load=always(SLANTED))
    assert (read_band(once / "classes.tif") != read_band(runs[0] / "classes.tif")).any()
    assert 'tta = "d4"' in (runs[0] / "run.toml").read_text()
    with pytest.raises(Exception, match="tta"):
        segment_raster(configure(raster, package, tmp_path / "once", tta="flips"), load=always(SLANTED))


def test_the_plan_knows_what_views_cost(raster: Path, package: Path, tmp_path: Path) -> None:
    once, eight, larger = (
        plan_run(configure(raster, package, tmp_path / "run", **more)) for more in ({}, {"tta": "d4"}, {"tta": "d4", "tta_scales": [1.5]})
    )
    assert "tta" not in once.fingerprint()
    assert eight.fingerprint()["tta"] == "d4"
    assert "the mean of 8 views (8 x the work)" in eight.describe_execution()
    assert "16 views (26 x the work)" in larger.describe_execution()
    assert once.memory_bytes < eight.memory_bytes < larger.memory_bytes


@pytest.mark.parametrize(("scales", "message"), [([1.0], "other sizes than 1"), ([0.75, 0.75], "once"), ([3.0], "less than or equal to 2")])
def test_scales_that_make_no_sense_are_refused(raster: Path, package: Path, tmp_path: Path, scales: list[float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure(raster, package, tmp_path, tta_scales=scales)


def test_evaluate_prints_the_gain(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = draw_blobs(64, 64)
    Image.fromarray(np.moveaxis(pixels, 0, 2)).save(tmp_path / "image.png")
    Image.fromarray((pixels[0] > 128).astype(np.uint8)).save(tmp_path / "labels.png")
    site = 'name = "blobs"\nrasters = "image.png"\nlabels = "{parent}/labels.png"\nkind = "class_raster"\n\n'
    shipped = (Path(__file__).parents[2] / "configs" / "train-aerial.toml").read_text()
    before, after = shipped.split("[[tests]]", maxsplit=1)[0], shipped[shipped.index("[schedule]") :]
    (tmp_path / "recipe.toml").write_text(f"{before}[[tests]]\n{site}{after}")
    monkeypatch.setattr("geoseg.model.load.load_predictor", lambda package, execution: Slanted(package.spec))
    words = ("evaluate", tmp_path / "recipe.toml", "--data", tmp_path, "-m", package)
    assert call_geoseg(monkeypatch, *words, "--tta", "d4", "-o", tmp_path / "report") == 0
    table = {cells[2].strip(): cells[3:6] for line in capsys.readouterr().out.splitlines() if len(cells := line.split("│")) > 5}
    once, averaged, gain = map(float, table["accuracy"])
    assert gain == pytest.approx(averaged - once, abs=2e-4)
    assert gain != 0
    told = json.loads((tmp_path / "report" / "evaluation.json").read_text())["data"]
    assert [site["name"] for site in told] == ["blobs", "blobs, test-time augmentation"]
    assert call_geoseg(monkeypatch, *words, "--tta-scales", "1") == 2
