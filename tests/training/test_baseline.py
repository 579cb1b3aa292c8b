"""A per-pixel model: its features, what it learns, its file without pickle, and runs with it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from geoseg.errors import LabelError, ModelError
from geoseg.inference.whole import infer_raster, tiles_of
from geoseg.labels.site import Site
from geoseg.model.execution import Execution
from geoseg.model.load import load_predictor
from geoseg.model.package import ONNX_NAME, ModelPackage, find_package
from geoseg.model.pixelfeatures import feature_radius
from geoseg.model.pixelwise import PixelwisePredictor, baseline_options
from geoseg.pipeline import segment_raster
from geoseg.pixels.normalize import BandScaling
from geoseg.training.baseline import fit_baseline, fit_classifier, to_onnx
from geoseg.training.recipe import Recipe
from tests.doubles import ArraySource, configure, read_band, read_layer, write_raster

SCALING = BandScaling(mean=(120.0, 120.0, 120.0), std=(50.0, 50.0, 50.0))
SCALES = (1, 3)
CLASSES = [
    {"value": 0, "name": "ground", "color": "#c8b48c"},
    {"value": 1, "name": "building", "color": "#dc2828", "kind": "building"},
    {"value": 2, "name": "road", "color": "#fadc3c", "kind": "road"},
]


def recipe_of(architecture: str = "random_forest", **changes: Any) -> Recipe:
    options = {"scales_px": SCALES, "trees": 12, "leaves": 32, "samples_per_class": 300 if architecture == "random_forest" else 600}
    model = {
        "name": "forest",
        "version": "1",
        "description": "For tests.",
        "license": "Apache-2.0",
        "bands": ["red", "green", "blue"],
        "mean": SCALING.mean,
        "std": SCALING.std,
        "classes": CLASSES,
        "heads": {"semantic": {"start": 0, "stop": 3, "activation": "softmax"}},
        "network": {"library": "sklearn", "architecture": architecture, "options": options, "stride_px": 1},
        "tile_size_px": 64,
        "halo": {"default_px": 4, "exact_px": 4},
        **changes,
    }
    site = Site(name="town", kind="class_raster", rasters="town.tif", labels="{parent}/classes.tif")
    return Recipe.model_validate(
        {"model": model, "sites": [site.model_dump()], "schedule": {"epochs": 1, "seed": 4}, "loss": {"classes": [1.0, 1.0, 1.0]}}
    )


def draw_town(side: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Noisy ground with bright red houses and a gray road, and the classes."""
    rng = np.random.default_rng(2)
    classes = np.zeros((side, side), np.uint8)
    classes[10:30, 12:40] = classes[50:80, 60:85] = 1
    classes[38:45] = 2
    colors = np.array([[90, 130, 70], [220, 110, 90], [150, 150, 155]])
    pixels = colors[classes].transpose(2, 0, 1) + rng.normal(0, 12, (3, side, side))
    return np.clip(pixels, 1, 255).astype(np.uint8), classes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("town")
    pixels, classes = draw_town()
    write_raster(folder / "town.tif", pixels)
    write_raster(folder / "classes.tif", classes[None])
    return folder


@pytest.fixture(scope="module", params=["random_forest", "svm"])
def package(request: pytest.FixtureRequest, folder: Path) -> ModelPackage:
    return fit_baseline(recipe_of(request.param), folder, folder / request.param, lambda line: None)


def test_a_baseline_learns_what_colors_tell(package: ModelPackage) -> None:
    pixels, classes = draw_town()
    found = load_predictor(find_package(package.folder), Execution()).predict(pixels[None], np.ones((1, *classes.shape), bool))
    assert (found[0, 0] == classes).mean() > 0.95


def test_a_class_of_two_pixels_is_too_little_for_an_svm(tmp_path: Path) -> None:
    pixels, classes = draw_town()
    classes[classes == 2] = 255
    classes[40, 10:12] = 2
    write_raster(tmp_path / "town.tif", pixels)
    write_raster(tmp_path / "classes.tif", classes[None])
    with pytest.raises(LabelError, match=r"An SVM needs 3 pixels of each class.*fewer of road \(2\)"):
        fit_baseline(recipe_of("svm"), tmp_path, tmp_path / "svm", lambda line: None)


def test_tiles_equal_the_whole_image_to_the_bit(package: ModelPackage) -> None:
    predictor = load_predictor(package, Execution())
    pixels, _ = draw_town()
    valid = np.ones(pixels.shape[1:], bool)
    valid[20:60, 5:50] = False
    source = ArraySource(pixels, valid)
    assert package.spec.halo.exact_px == feature_radius(SCALES)
    whole = predictor.predict(pixels[None], valid[None])[0]
    tiled = infer_raster(predictor, source, tiles_of(package.spec.model_copy(update={"tile_size_px": 32}), source.shape, 4))
    np.testing.assert_array_equal(tiled, whole)


def test_the_stored_classifier_gives_what_scikit_learn_gives() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (600, 5)).astype(np.float32)
    labels = (features[:, 0] + features[:, 1] ** 2 > 0.5).astype(np.uint8) + (features[:, 2] > 1)
    import onnxruntime

    for name in ("random_forest", "svm"):
        recipe = recipe_of(name)
        classifier = fit_classifier(recipe, baseline_options(recipe.model), features, labels)
        session = onnxruntime.InferenceSession(to_onnx(classifier, 5), providers=["CPUExecutionProvider"])
        _, probability = session.run(None, {"features": features})
        np.testing.assert_allclose(probability, classifier.predict_proba(features), atol=0.02)


def test_a_run_with_a_baseline_finds_buildings_and_needs_no_torch(package: ModelPackage, folder: Path, tmp_path: Path) -> None:
    if package.spec.network.architecture == "svm":
        pytest.skip("one run is enough")
    segment_raster(configure(folder / "town.tif", package.folder, tmp_path / "out", device="cpu", outputs=["classes", "buildings"]))
    assert (read_band(tmp_path / "out" / "classes.tif") == draw_town()[1]).mean() > 0.95
    assert len(read_layer(tmp_path / "out", "buildings")) >= 2
    code = (
        "import sys; from geoseg.model.package import find_package; from geoseg.inference.whole import network_loader;"
        "from geoseg.model.execution import Execution;"
        f"network_loader(find_package({str(package.folder)!r}), Execution())(); assert not {{'torch', 'sklearn'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_package_holds_onnx_and_a_changed_one_is_refused(package: ModelPackage, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in package.folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert {p.name for p in copy.iterdir()} == {ONNX_NAME, "model.json"}
    (copy / ONNX_NAME).write_bytes(b"changed")
    with pytest.raises(ModelError, match="damaged"):
        find_package(copy)
    with pytest.raises(ModelError, match="no ONNX model"):
        PixelwisePredictor(package.spec, b"changed")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"options": {"tress": 3}}, "tress"),
        ({"options": {"scales_px": [0]}}, r"1 or more; got \[0\]"),
        ({"architecture": "boosting"}, "'boosting'; random_forest or svm"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_work_starts(change: dict[str, Any], said: str) -> None:
    recipe = recipe_of()
    network = recipe.model.network.model_copy(update=change)
    with pytest.raises(ModelError, match=said):
        fit_baseline(
            recipe.model_copy(update={"model": recipe.model.model_copy(update={"network": network})}), Path("no"), Path("no"), print
        )


def test_more_heads_than_one_are_refused() -> None:
    interior = {"start": 3, "stop": 4, "activation": "sigmoid"}
    heads = {"semantic": {"start": 0, "stop": 3, "activation": "softmax"}, "building_interior": interior}
    with pytest.raises(ModelError, match="building_interior"):
        baseline_options(recipe_of(heads=heads).model)


def test_a_class_that_no_site_shows_is_named(folder: Path, tmp_path: Path) -> None:
    pixels, classes = draw_town()
    write_raster(tmp_path / "town.tif", pixels)
    with rasterio.open(folder / "town.tif") as source:
        transform = source.transform
    write_raster(tmp_path / "classes.tif", np.where(classes == 2, 0, classes)[None], transform=transform)
    with pytest.raises(LabelError, match="road"):
        fit_baseline(recipe_of(), tmp_path, tmp_path / "package", lambda line: None)
