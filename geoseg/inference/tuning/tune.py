"""Choose backend, precision, tile and batch for a run: by what was measured, if the run is long enough to be worth it."""

import importlib.metadata
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from rasterio.windows import Window

from geoseg import __version__
from geoseg.config import RunConfig
from geoseg.errors import ConfigError, MemoryLimitError, RunError
from geoseg.events import Listener, Tuned, Warned
from geoseg.inference.choices import roomy_tile
from geoseg.inference.planning import replan
from geoseg.inference.runplan import RunPlan
from geoseg.inference.tuning.book import TuningBook
from geoseg.inference.tuning.trial import Candidate, Sample, Trial, try_candidates
from geoseg.inference.whole import read_padded
from geoseg.machine import count_cores, name_processor
from geoseg.model.averaged import count_passes
from geoseg.model.device import name_gpu
from geoseg.model.execution import Backend, Precision

AGREEMENT = 0.999
"""Share of the labels that have to be those of eager float32 for a way to be chosen without being asked for."""
_WORTH_S = 240.0
"""Length of a run from which measuring, some ten seconds, pays."""
_WORTH_COMPILING_S = 1800.0
"""Length of a run from which trying to compile pays."""
_GUESSED_MPX_PER_S = {"cpu": 1.0, "cuda": 50.0}
"""What a network does on an unknown machine; only decides whether to measure."""
_WORTH_CHANGING = 1.05
"""What is chosen without measuring stands unless another way is faster by more than the noise of such short measurements."""
_SPOTS = 5
"""Where the middle of a raster is empty, so many rows and columns of places are looked at."""
_VERSIONS = ("torch", "onnxruntime", "segmentation-models-pytorch")


def tune(plan: RunPlan, asked: RunConfig, listener: Listener, *, at_once: bool = False) -> RunPlan:
    """Choose what was left open by what was measured on this machine with this model, measuring first if the run is long.

    Args:
        plan: The run with what is chosen without measuring.
        asked: What was asked; only what it leaves open is chosen.
        listener: Takes :class:`geoseg.events.Tuned`, and :class:`geoseg.events.Warned` where nothing could be measured.
        at_once: Measure however short the run is.

    Returns:
        The plan to run; the one that was given where nothing could be measured.
    """
    if asked.scheduler is not None or plan.package.spec.network.backend is not None:
        return plan
    candidates = [c for c in _candidates(plan, asked) if _fits(plan, asked, c)]
    if len(candidates) < 2:
        return plan
    book, key = TuningBook(plan.config.cache_folder / "tuning.json"), _identify(plan, candidates)
    trials = book.read(key)
    if not trials and (at_once or _guess_s(plan) >= _WORTH_S):
        try:
            trials = _measure(plan, candidates, book, key)
        except (OSError, RunError) as exc:
            listener(Warned(message=f"Backend, tile and batch are not measured, and stay as they were planned: {exc}"))
            return plan
    usable = [trial for trial in trials if _is_usable(trial, asked)]
    if not usable:
        return plan
    best = min(usable, key=lambda trial: _predict_s(trial, plan, asked) * (1 if _is_default(trial.candidate, plan) else _WORTH_CHANGING))
    listener(Tuned(chosen=best.candidate.describe(), measured=tuple(_describe(trial) for trial in trials)))
    return _apply(plan, asked, best.candidate)


def _measure(plan: RunPlan, candidates: list[Candidate], book: TuningBook, key: str) -> list[Trial]:
    """Time candidates, unless somebody else has just done it.

    Raises:
        OSError: If the disk does not take what is handed to the processes that are timed, or they cannot be started.
        RunError: If the raster could not be read in any place.
    """
    with book.hold() as scratch:
        trials = book.read(key)
        if not trials:
            sample = _take_sample(plan, candidates)
            trials = try_candidates(plan.package, sample, candidates, plan.package.spec.tile_size_px, scratch)
            book.write(key, trials)
        return trials


def _is_usable(trial: Trial, asked: RunConfig) -> bool:
    """Tell whether labels are good enough; where they could not be compared, 16 bits have to be asked for."""
    if trial.agreement is None:
        return trial.candidate.execution.precision in ("float32", asked.precision)
    return trial.agreement >= AGREEMENT


def _candidates(plan: RunPlan, asked: RunConfig) -> Iterator[Candidate]:
    spec, on_gpu = plan.package.spec, plan.on_gpu
    own, stride = spec.tile_size_px, spec.network.stride_px
    tiles = [asked.tile_size] if asked.tile_size else [own, own * 2] if on_gpu else [own, _rounded(own * 2 // 3, stride), roomy_tile(spec)]
    batches = [asked.batch_size] if asked.batch_size else [1, 4, 16] if on_gpu else [1]
    for backend in _backends(plan, asked):
        for precision in _precisions(asked, on_gpu=on_gpu):
            for tile in tiles:
                for batch in batches:
                    how = replace(plan.execution, backend=backend, precision=precision)
                    yield Candidate(execution=how, tile_size_px=tile, batch_size=batch)


def _rounded(size: int, stride: int) -> int:
    return max(stride, size // stride * stride)


def _backends(plan: RunPlan, asked: RunConfig) -> list[Backend]:
    if asked.backend != "auto":
        return [asked.backend]
    found: list[Backend] = ["torch"]
    if not plan.on_gpu:
        found.append("onnx")
    if _guess_s(plan) >= _WORTH_COMPILING_S:
        found.append("compile")
    return found


def _precisions(asked: RunConfig, *, on_gpu: bool) -> list[Precision]:
    if asked.precision is not None:
        return [asked.precision]
    return ["float32", "float16", "bfloat16"] if on_gpu else ["float32"]


def _fits(plan: RunPlan, asked: RunConfig, candidate: Candidate) -> bool:
    try:
        return _apply(plan, asked, candidate).tiles.tile_size_px == candidate.tile_size_px
    except (ConfigError, MemoryLimitError):
        return False


def _apply(plan: RunPlan, asked: RunConfig, candidate: Candidate) -> RunPlan:
    how = candidate.execution
    chosen: dict[str, Any] = {"backend": how.backend, "device": how.device, "precision": how.precision}
    chosen |= {"tile_size": candidate.tile_size_px, "batch_size": candidate.batch_size}
    return replan(asked.model_copy(update=chosen), plan.package, plan.source)


def _is_default(candidate: Candidate, plan: RunPlan) -> bool:
    sizes = (candidate.tile_size_px, candidate.batch_size)
    how = (candidate.execution.backend, candidate.execution.precision)
    return sizes == (plan.tiles.tile_size_px, plan.batch_size) and how == (plan.execution.backend, plan.execution.precision)


def _guess_s(plan: RunPlan) -> float:
    return _inferred_px(plan) / 1e6 / _GUESSED_MPX_PER_S["cuda" if plan.on_gpu else "cpu"]


def _inferred_px(plan: RunPlan) -> int:
    rows, cols = plan.tiles.tile_shape
    return round(plan.tiles.inferred_count * rows * cols * count_passes(plan.views))


def _predict_s(trial: Trial, plan: RunPlan, asked: RunConfig) -> float:
    """Predict how long the network takes for the whole run: loading, then every tile, halos included."""
    return trial.load_s + _inferred_px(_apply(plan, asked, trial.candidate)) / 1e6 / trial.mpx_per_s


def _take_sample(plan: RunPlan, candidates: list[Candidate]) -> Sample:
    """Read a piece of the raster as large as the largest tile: its middle, or the fullest of some others where that is half empty.

    Raises:
        RunError: If none of them can be read.
    """
    side = max(plan.package.spec.tile_size_px, *(candidate.tile_size_px for candidate in candidates))
    height, width = plan.source.shape
    enough_px = min(side, height) * min(side, width) / 2
    best: Sample | None = None
    fault: RunError | None = None
    for row, col in _spots(plan):
        window = Window(_begin(col, side, width), _begin(row, side, height), side, side)
        try:
            pixels, valid = read_padded(plan.source, window)
        except RunError as exc:
            # whether the run goes on without these pixels is for the run to say
            fault = exc
            continue
        if best is None or valid.sum() > best.valid.sum():
            best = Sample(pixels=pixels, valid=valid)
        if best.valid.sum() >= enough_px:
            break
    if best is None:
        assert fault is not None, "there is a spot"
        raise fault
    return best


def _spots(plan: RunPlan) -> Iterator[tuple[float, float]]:
    """Yield rows and columns of a raster where there may be data: in the area of interest, in the middle, then all over it."""
    height, width = plan.source.shape
    if plan.source.aoi is not None:
        inside = plan.source.aoi.representative_point()
        col, row = ~plan.source.geobox.transform @ (inside.x, inside.y)
        yield row, col
    yield height / 2, width / 2
    for down, across in product(range(_SPOTS), repeat=2):
        yield height * (down + 0.5) / _SPOTS, width * (across + 0.5) / _SPOTS


def _begin(middle: float, side: int, length: int) -> int:
    return max(0, min(round(middle - side / 2), length - side))


def _identify(plan: RunPlan, candidates: list[Candidate]) -> str:
    """Name what a measurement depends on: model, machine, versions, pixels, and what was tried."""
    machine = name_gpu(plan.execution.device) if plan.on_gpu else f"{name_processor()}, {count_cores()} cores"
    versions = [f"{name} {_version(name)}" for name in _VERSIONS]
    ways = " ".join(sorted({c.describe() for c in candidates}))
    threads = plan.execution.threads
    # the same weights may be seen through another magnification
    checksums = plan.package.sha256, plan.package.spec.result_sha256, plan.package.graph_sha256
    network = [checksum[:16] for checksum in checksums if checksum]
    return "; ".join([*network, machine, f"{threads} threads", f"geoseg {__version__}", *versions, plan.source.dtype, ways])


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _describe(trial: Trial) -> str:
    agreement = "" if trial.agreement is None else f", {trial.agreement:.3%} of the labels agree"
    return f"{trial.candidate.describe()}: {trial.mpx_per_s:.3g} Mpx/s, ready after {trial.load_s:.1f} s{agreement}"
