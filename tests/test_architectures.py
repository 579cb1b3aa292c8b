"""Every configuration of an architecture trains, becomes a package, comes back and predicts; and none lies about its context."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch

from geoseg.labels.site import Site
from geoseg.model.execution import Execution
from geoseg.model.load import load_predictor
from geoseg.model.network import build_network, save_weights
from geoseg.model.package import WEIGHTS_NAME, find_package, write_card
from geoseg.model.receptive import sees_whole_tile
from geoseg.scene import SceneOptions, draw_scene
from geoseg.training.baseline import fit_baseline
from geoseg.training.loop import fit
from geoseg.training.recipe import Recipe, read_recipe
from tests.training.drawn import weights_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning.*", "ignore::FutureWarning", "ignore::DeprecationWarning")

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("arch-*.toml"))
BASELINES = [path for path in CONFIGS if path.stem in ("arch-random-forest", "arch-svm")]
NETWORKS = [path for path in CONFIGS if path not in BASELINES]
NARROW = {"width": 2, "head_width": 8}
SMALLER: dict[str, dict[str, Any]] = {
    "resnet34": {"encoder": "resnet18"},
    "tu-convnext_tiny": {"encoder": "tu-convnext_atto"},
    "tu-vit_small_patch16_224": {"encoder": "tu-vit_tiny_patch16_224"},
    "fcn8s": {"options": NARROW},
    "segnet": {"options": {"width": 2}},
    "deconvnet": {"options": NARROW},
}
"""A smaller network of the same family, by encoder or architecture."""


def shrink(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with a smaller network, 64 px windows and two steps."""
    network = recipe.model.network
    smaller = SMALLER.get(network.encoder or network.architecture, {})
    # PAN halves its features of stride 16 three times
    window = max(64, network.stride_px)
    model = recipe.model.model_copy(update={"network": network.model_copy(update=smaller), "tile_size_px": window})
    schedule = recipe.schedule.model_copy(update={"epochs": 1, "steps_per_epoch": 2, "batch_size": 2, "window_px": window})
    changed = recipe.model_copy(update={"model": model, "schedule": schedule, "tests": (), **changes})
    return Recipe.model_validate(changed.model_dump())


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small drawn town and its classes."""
    folder = tmp_path_factory.mktemp("town")
    scene = draw_scene(SceneOptions(height_px=256, width_px=256, seed=3, resolution_m=0.5))
    profile = {"driver": "PNG", "height": 256, "width": 256, "dtype": "uint8"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(folder / "town.png", "w", count=3, **profile) as dataset:
            dataset.write(scene.pixels)
        with rasterio.open(folder / "town_classes.png", "w", count=1, **profile) as dataset:
            dataset.write(scene.classes, 1)
    return folder


TOWN = (Site(name="town", kind="class_raster", rasters="town.png", labels="{parent}/{stem}_classes.png"),)


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_two_steps_make_a_package_that_predicts(path: Path, town: Path, tmp_path: Path) -> None:
    recipe = shrink(read_recipe(path), sites=TOWN)
    torch.manual_seed(recipe.schedule.seed)
    untrained = weights_of(build_network(recipe.model))
    module = fit(recipe, town, tmp_path / "work")
    assert (weights_of(module) != untrained).mean() > 0.5
    folder = tmp_path / "package"
    folder.mkdir()
    save_weights(module.network, folder / WEIGHTS_NAME)
    write_card(folder, recipe.model)
    predictor = load_predictor(find_package(folder), Execution(threads=1))
    assert predictor.spec.model_copy(update={"created": None}) == recipe.model
    side = recipe.schedule.window_px
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, side, side)).astype(np.uint8)
    layers = predictor.predict(pixels, np.ones((1, side, side), bool))
    assert layers.shape == (1, len(recipe.model.layers.names), side, side)
    with torch.inference_mode():
        logits = module(torch.from_numpy(pixels).float())[:, :5]
    assert logits.isfinite().all()
    # weights are stored in half precision, which may turn near ties
    assert (layers[:, 0] == logits.argmax(dim=1).numpy()).mean() > 0.97


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_the_context_that_a_configuration_claims_is_measured(path: Path) -> None:
    spec = shrink(read_recipe(path)).model
    assert sees_whole_tile(spec, build_network(spec)) is spec.network.global_context


def test_a_claim_of_bounded_context_that_is_wrong_is_found() -> None:
    spec = shrink(read_recipe(next(path for path in NETWORKS if path.stem == "arch-pspnet"))).model
    lie = spec.model_copy(update={"network": spec.network.model_copy(update={"global_context": False})})
    assert sees_whole_tile(lie, build_network(lie)) is not lie.network.global_context


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configurations_compare_like_with_like(path: Path) -> None:
    recipe, reference = read_recipe(path), read_recipe(CONFIGS[0])
    own = {"name", "network", "tile_size_px", "halo"}
    if path in BASELINES:
        own.add("heads")
    else:
        # the tile of a network with a wide stride is larger, and so are its windows; a batch holds as many pixels
        windows = {"window_px", "batch_size"}
        assert recipe.schedule.model_dump(exclude=windows) == reference.schedule.model_dump(exclude=windows)
        assert recipe.schedule.batch_size * recipe.schedule.window_px**2 == reference.schedule.batch_size * reference.schedule.window_px**2
    assert recipe.model.model_dump(exclude=own) == reference.model.model_dump(exclude=own)
    assert (recipe.sites, recipe.tests, recipe.loss) == (reference.sites, reference.tests, reference.loss)
    assert f"arch-{recipe.model.name}" == path.stem
    if recipe.model.network.global_context:
        assert recipe.model.tile_size_px == recipe.schedule.window_px
        assert recipe.model.tile_size_px >= 4 * recipe.model.network.stride_px


@pytest.mark.parametrize("path", BASELINES, ids=lambda path: path.stem)
def test_the_baseline_of_a_configuration_makes_a_package_that_predicts(path: Path, town: Path, tmp_path: Path) -> None:
    recipe = read_recipe(path)
    recipe = Recipe.model_validate(recipe.model_copy(update={"sites": TOWN, "tests": ()}).model_dump())
    smaller = {"trees": 8, "leaves": 64, "samples_per_class": 500}
    options = {name: smaller.get(name, value) for name, value in recipe.model.network.options.items()}
    model = recipe.model.model_copy(update={"network": recipe.model.network.model_copy(update={"options": options})})
    package = fit_baseline(recipe.model_copy(update={"model": model}), town, tmp_path / "package", lambda line: None)
    layers = load_predictor(find_package(package.folder), Execution()).predict(
        np.full((1, 3, 64, 64), 90, np.uint8), np.ones((1, 64, 64), bool)
    )
    assert layers.shape == (1, len(recipe.model.layers.names), 64, 64)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_page_tells_the_context_of_each(path: Path) -> None:
    page = (path.parents[1] / "docs" / "architectures.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{path.stem}` |")]
    context = row.split("|")[5].split()[0]
    assert context == ("global" if read_recipe(path).model.network.global_context else "bounded")
