"""``geoseg labels``: findings as a table and a page, previews, exit codes."""

from pathlib import Path

import numpy as np
import pytest

from tests.doubles import call_geoseg, draw_blobs, write_raster

AERIAL = Path(__file__).parents[2] / "configs" / "train-aerial.toml"
SITE = """
[[sites]]
name = "blobs"
kind = "class_raster"
rasters = "a.tif"
labels = "{stem}_labels.tif"

"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The shipped recipe with one site; its labels hold every class."""
    text = AERIAL.read_text()
    (tmp_path / "recipe.toml").write_text(text[: text.index("[[sites]]")] + SITE + text[text.index("[schedule]") :])
    # the model's resolution, so that nothing is averaged
    write_raster(tmp_path / "a.tif", draw_blobs(64, 80))
    write_raster(tmp_path / "a_labels.tif", (np.arange(64 * 80).reshape(1, 64, 80) // 16 % 5).astype(np.uint8))
    return tmp_path / "recipe.toml"


def test_clean_labels_exit_with_0_and_a_page(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call_geoseg(monkeypatch, "labels", "check", recipe, "--data", tmp_path, "-o", tmp_path / "report.html") == 0
    assert "nothing was found" in capsys.readouterr().out
    assert "20.00%" in (tmp_path / "report.html").read_text()


def test_errors_exit_with_1_and_are_named(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_raster(tmp_path / "a_labels.tif", np.full((1, 64, 80), 255, np.uint8))
    assert call_geoseg(monkeypatch, "labels", "check", recipe, "--data", tmp_path) == 1
    assert "empty site" in capsys.readouterr().out


@pytest.mark.parametrize(("output", "made"), [("all.png", "all.png"), ("pictures", "pictures/train-blobs-000.png")])
def test_previews_are_one_picture_or_a_folder(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, made: str
) -> None:
    assert call_geoseg(monkeypatch, "labels", "preview", recipe, "--data", tmp_path, "-o", tmp_path / output) == 0
    assert (tmp_path / made).read_bytes().startswith(b"\x89PNG")
