"""The card of a trained model, with what is measured of the finished package. Neither torch nor Lightning is needed here."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from geoseg.evaluation.evaluate import evaluate_site
from geoseg.evaluation.measure import EvaluateOptions
from geoseg.labels.site import Site
from geoseg.model.package import ModelPackage, write_card
from geoseg.model.spec import ModelSpec
from geoseg.probe import measure_package_memory


def write_measured(
    folder: Path, spec: ModelSpec, tests: tuple[Site, ...], data_dir: Path, say: Callable[[str], None], device: str = "auto"
) -> ModelPackage:
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
        for metric in evaluate_site(package, site, data_dir, EvaluateOptions(pictures=0), device).card():
            say(f"{metric.dataset}: {metric.name} {metric.value:.4f}")
            metrics.append(metric)
    return write_card(folder, _checked(measured.model_copy(update={"accuracy": tuple(metrics)})))


def _checked(spec: ModelSpec) -> ModelSpec:
    return ModelSpec.model_validate(spec.model_dump())
