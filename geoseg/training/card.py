"""The card of a trained model, with what is measured of the finished package. Neither torch nor Lightning is needed here."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from geoseg.evaluation.evaluate import evaluate_site
from geoseg.evaluation.measure import EvaluateOptions
from geoseg.labels.site import Site
from geoseg.model.package import ModelPackage, write_card
from geoseg.model.spec import ModelSpec
from geoseg.probe import measure_package_memory

_TUNABLES = "GLIBC_TUNABLES"


def with_memory(folder: Path, spec: ModelSpec, say: Callable[[str], None]) -> ModelSpec:
    """Measure the memory that the weights in a folder take, and say so in their spec; their card is written anew."""
    package = write_card(folder, _checked(spec.model_copy(update={"accuracy": ()})))
    # in a new process: what training has left in this one would hide what a pass takes
    with _untuned_allocator(), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        memory = fresh.submit(measure_package_memory, package.folder).result()
    say(f"memory: {memory} bytes per pixel of a batch")
    return package.spec.model_copy(update={"memory_bytes_per_px": memory})


def write_measured(
    folder: Path, spec: ModelSpec, tests: tuple[Site, ...], data_dir: Path, say: Callable[[str], None], device: str = "auto"
) -> ModelPackage:
    """Write the card of the weights that lie in a folder, with the accuracy that they reach.

    The model is measured as users run it: from its package, with the halo that its card names.
    """
    package = write_card(folder, _checked(spec.model_copy(update={"accuracy": ()})))
    metrics = []
    for site in tests:
        for metric in evaluate_site(package, site, data_dir, EvaluateOptions(pictures=0), device).card():
            say(f"{metric.dataset}: {metric.name} {metric.value:.4f}")
            metrics.append(metric)
    return write_card(folder, _checked(package.spec.model_copy(update={"accuracy": tuple(metrics)})))


@contextmanager
def _untuned_allocator() -> Iterator[None]:
    """Let processes that start meanwhile take memory as runs do: in the huge pages that serve training a pass seems to take more."""
    tuned = os.environ.pop(_TUNABLES, None)
    try:
        yield
    finally:
        if tuned is not None:
            os.environ[_TUNABLES] = tuned


def _checked(spec: ModelSpec) -> ModelSpec:
    return ModelSpec.model_validate(spec.model_dump())
