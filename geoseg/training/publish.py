"""From trained weights to a model package: halo, memory and accuracy are measured, then written into its card."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from geoseg.evaluation.evaluate import evaluate_site
from geoseg.evaluation.measure import EvaluateOptions
from geoseg.io.raster import RasterSource
from geoseg.labels.site import Site
from geoseg.labels.targets import load_site
from geoseg.model.network import TorchPredictor, build_network, load_weights, pick_device, save_weights
from geoseg.model.package import WEIGHTS_NAME, ModelPackage, write_card
from geoseg.model.spec import ModelSpec
from geoseg.probe import half_tile, measure_field, measure_halo, measure_package_memory
from geoseg.training.loop import TrainingModule
from geoseg.training.recipe import Recipe


def publish(module: TrainingModule, recipe: Recipe, data_dir: Path, folder: Path, say: Callable[[str], None]) -> ModelPackage:
    """Write a trained module as a package.

    Args:
        module: Trained.
        recipe: What it was trained by.
        data_dir: Folder that the recipe's paths start from.
        folder: Package folder; weights and card in it are replaced.
        say: Takes one line per thing measured.

    Returns:
        The package, whose card holds the measured halo, memory and accuracy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(module.network, folder / WEIGHTS_NAME)
    return measure_package(recipe.model, recipe, data_dir, folder, say)


def measure_package(spec: ModelSpec, recipe: Recipe, data_dir: Path, folder: Path, say: Callable[[str], None]) -> ModelPackage:
    """Measure the weights that lie in a folder and write their card."""
    network = build_network(spec)
    load_weights(network, folder / WEIGHTS_NAME)
    predictor = TorchPredictor(spec, network, pick_device("auto"))
    halo = measure_halo(predictor, _large_sources(recipe, data_dir), say)
    radius, sees_all = measure_field(spec)
    say(f"receptive field: {'the whole tile' if sees_all else f'{radius} px'}")
    measured = {"halo": halo, "receptive_field_px": radius}
    spec = spec.model_copy(update={**measured, "network": spec.network.model_copy(update={"global_context": sees_all})})
    return write_measured(folder, spec, recipe.tests, data_dir, say)


def write_measured(folder: Path, spec: ModelSpec, tests: tuple[Site, ...], data_dir: Path, say: Callable[[str], None]) -> ModelPackage:
    """Write the card of the weights that lie in a folder, with the memory that they take and the accuracy that they reach.

    The model is measured as users run it: from its package, with the halo that its card names.
    """
    package = write_card(folder, _checked(spec.model_copy(update={"accuracy": ()})))
    # in a new process: what training has left in this one would hide what a pass takes
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        memory = fresh.submit(measure_package_memory, package.folder).result()
    say(f"memory: {memory} bytes per pixel of a batch")
    measured = package.spec.model_copy(update={"memory_bytes_per_px": memory})
    metrics = []
    for site in tests:
        for metric in evaluate_site(package, site, data_dir, EvaluateOptions(pictures=0)).card():
            say(f"{metric.dataset}: {metric.name} {metric.value:.4f}")
            metrics.append(metric)
    return write_card(folder, _checked(measured.model_copy(update={"accuracy": tuple(metrics)})))


def _checked(spec: ModelSpec) -> ModelSpec:
    return ModelSpec.model_validate(spec.model_dump())


def _large_sources(recipe: Recipe, data_dir: Path) -> list[RasterSource]:
    side = half_tile(recipe.model)
    largest = []
    for site in recipe.sites:
        sources = [r.source for r in load_site(site, recipe.model, data_dir)]
        large = [s for s in sources if s is not None and min(s.shape) > side]
        largest += sorted(large, key=lambda s: s.shape[0] * s.shape[1])[-1:]
    return largest
