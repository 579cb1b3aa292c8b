"""Candidates timed in a process of their own, so that what is not chosen leaves neither libraries nor memory behind."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import GeosegError
from geoseg.inference.whole import network_loader
from geoseg.interpreter import python_command
from geoseg.model.execution import Execution
from geoseg.model.package import ModelPackage, find_package
from geoseg.model.predictor import Predictor

_REPEATS = 2
_LIMIT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A way to run a network."""

    execution: Execution
    """Backend, device, precision and threads."""
    tile_size_px: int
    """Side of a tile."""
    batch_size: int
    """Tiles in one forward pass."""

    def describe(self) -> str:
        """Say it in a few words."""
        how = self.execution
        precision = "" if how.precision == "float32" else f" {how.precision}"
        return f"{how.backend}{precision}, {self.batch_size} x {self.tile_size_px} px"


def to_plain(candidate: Candidate) -> dict[str, Any]:
    """Return a candidate as plain values; the folder of graphs is this machine's own and left out."""
    return asdict(replace(candidate, execution=replace(candidate.execution, cache=None)))


def from_plain(fields: dict[str, Any], cache: Path | None = None) -> Candidate:
    """Return the candidate that :func:`to_plain` wrote.

    Raises:
        TypeError: If fields are missing or unknown.
    """
    return Candidate(**{**fields, "execution": Execution(**{**fields["execution"], "cache": cache})})


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a candidate took."""

    candidate: Candidate
    """What was tried."""
    load_s: float
    """Seconds until it is ready: libraries, weights, and what its first pass takes longer than others."""
    batch_s: float
    """Seconds of a forward pass over one batch, decoding included: the median of some."""
    agreement: float | None = None
    """Share of the labels that are those of the reference; None where they could not be compared."""

    @property
    def mpx_per_s(self) -> float:
        """Million pixels in a second, halos included."""
        return self.candidate.batch_size * self.candidate.tile_size_px**2 / self.batch_s / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A piece of the raster, as large as the largest tile."""

    pixels: NDArray[Any]
    """(C, H, W)."""
    valid: NDArray[np.bool_]
    """(H, W)."""

    def cut(self, side: int, count: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return a batch of ``count`` tiles, the upper left corner of the sample each time."""
        return self.pixels[None, :, :side, :side].repeat(count, axis=0), self.valid[None, :side, :side].repeat(count, axis=0)


def try_candidates(
    package: ModelPackage, sample: Sample, candidates: Iterable[Candidate], compare_px: int, scratch: Path | None = None
) -> list[Trial]:
    """Time candidates, those of one backend in one process, and compare their labels.

    Args:
        package: The model.
        sample: What they infer.
        candidates: The ways to try. The first that computes float32 in eager torch is the reference of the labels.
        compare_px: Side of the tile on which labels are compared.
        scratch: Folder for what the processes hand each other; None takes the system's for temporary files.

    Returns:
        One trial for each candidate that ran; those that did not fit into memory, could not be loaded, or were cut off, are left out.

    Raises:
        OSError: If the disk does not take what is handed over, or a process cannot be started.
    """
    by_backend: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_backend.setdefault(candidate.execution.backend, []).append(candidate)
    trials: list[Trial] = []
    labels: list[NDArray[np.uint8]] = []
    with TemporaryDirectory(prefix="geoseg-tuning-", dir=scratch) as work:
        for backend, group in by_backend.items():
            folder = Path(work, backend)
            folder.mkdir()
            for trial in _try_in_process(package, sample, group, folder, compare_px):
                # a file that was cut off, or never written, is no result
                with suppress(OSError, ValueError, EOFError):
                    labels.append(np.load(folder / f"{group.index(trial.candidate)}.npy"))
                    trials.append(trial)
    reference = next((found for trial, found in zip(trials, labels, strict=True) if _is_reference(trial.candidate)), None)
    if reference is None:
        return trials
    valid = sample.valid[:compare_px, :compare_px]
    return [_compared(trial, found, reference, valid) for trial, found in zip(trials, labels, strict=True)]


def _is_reference(candidate: Candidate) -> bool:
    return candidate.execution.backend == "torch" and candidate.execution.precision == "float32"


def _compared(trial: Trial, labels: NDArray[np.uint8], reference: NDArray[np.uint8], valid: NDArray[np.bool_]) -> Trial:
    same = float((labels == reference)[valid].mean()) if valid.any() else None
    return Trial(candidate=trial.candidate, load_s=trial.load_s, batch_s=trial.batch_s, agreement=same)


def _try_in_process(package: ModelPackage, sample: Sample, group: list[Candidate], folder: Path, compare_px: int) -> list[Trial]:
    np.save(folder / "pixels.npy", sample.pixels)
    np.save(folder / "valid.npy", sample.valid)
    cache = group[0].execution.cache
    job = {
        "model": str(package.folder.absolute()),
        "cache": None if cache is None else str(cache.absolute()),
        "compare_px": compare_px,
        "parent": os.getpid(),
        "candidates": [to_plain(candidate) for candidate in group],
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    command = python_command("-m", "geoseg.inference.tuning.trial", str(folder))
    # what was timed before the limit counts
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_S, check=False)
    return list(_read_results(folder / "results.jsonl", group))


def _read_results(path: Path, group: list[Candidate]) -> Iterator[Trial]:
    """Yield what was timed; a line that was cut off counts for nothing."""
    for line in path.read_bytes().splitlines() if path.exists() else []:
        with suppress(ValueError, TypeError, LookupError):
            found = json.loads(line)
            yield Trial(candidate=group[found["index"]], load_s=found["load_s"], batch_s=found["batch_s"])


def _main(folder: Path) -> None:
    """Time the candidates of a job file; what was timed stands in ``results.jsonl`` at once."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    sample = Sample(pixels=np.load(folder / "pixels.npy"), valid=np.load(folder / "valid.npy"))
    package = find_package(job["model"])
    loaded: dict[Execution, tuple[Predictor, float]] = {}
    for index, fields in enumerate(job["candidates"]):
        if os.getppid() != job["parent"]:
            # it was killed, and nobody reads what would be timed
            return
        candidate = from_plain(fields, None if job["cache"] is None else Path(job["cache"]))
        try:
            if candidate.execution not in loaded:
                began = time.perf_counter()
                loaded = {candidate.execution: (network_loader(package, candidate.execution)(), time.perf_counter() - began)}
            predictor, load_s = loaded[candidate.execution]
            times = _time(predictor, sample, candidate)
            labels = predictor.predict(*sample.cut(job["compare_px"], 1))[0, 0]
        except GeosegError:
            continue
        np.save(folder / f"{index}.npy", labels)
        batch_s = statistics.median(times[1:])
        found = {"index": index, "load_s": load_s + max(0.0, times[0] - batch_s), "batch_s": batch_s}
        with (folder / "results.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(found) + "\n")


def _time(predictor: Predictor, sample: Sample, candidate: Candidate) -> list[float]:
    pixels, valid = sample.cut(candidate.tile_size_px, candidate.batch_size)
    times = []
    for _ in range(_REPEATS + 1):
        began = time.perf_counter()
        predictor.predict(pixels, valid)
        times.append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
