"""Whole runs against the bare forward pass over the same tiles with the same backend, in alternation."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from geoseg.model.package import ModelPackage
from tests.benchmarks.children import Child, ChildError, segment
from tests.benchmarks.forward import run_forward
from tests.benchmarks.models import copy_unscaled
from tests.benchmarks.place import Place
from tests.benchmarks.rasters import cut_orthophoto
from tests.benchmarks.rows import Row, Value

_SECTION = "whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A whole run that is going to be measured; what is not given geoseg chooses."""

    raster: Path
    """What is segmented."""
    package: ModelPackage
    """The network."""
    backend: str
    """Of bare pass and whole run."""
    device: str = "cpu"
    """Of both."""
    precision: str | None = None
    """Of both."""
    tile: int | None = None
    """Side of a tile."""
    batch: int | None = None
    """Tiles in one pass."""

    @property
    def settings(self) -> dict[str, object]:
        """The run, as ``run.toml`` says it."""
        wanted = {
            "model": str(self.package.folder),
            "backend": self.backend,
            "device": self.device,
            "precision": self.precision,
            "tile_size": self.tile,
            "batch_size": self.batch,
            "outputs": ["classes"],
        }
        return {name: value for name, value in wanted.items() if value is not None}

    @property
    def what(self) -> dict[str, Value]:
        """Settings for the table."""
        return {"model": self.package.spec.name, "backend": self.backend, "device": self.device}


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A whole run that was measured."""

    child: Child
    """What its process took."""
    summary: dict[str, Any]
    """Its ``summary.json``."""

    @property
    def performance(self) -> dict[str, Any]:
        """How the network was run, as the run itself tells."""
        found: dict[str, Any] = self.summary["performance"]
        return found

    @property
    def start_s(self) -> float:
        """Seconds from the start of the process until the run was planned."""
        return self.child.first("RunPlanned") or 0.0


def measure(place: Place) -> list[Row]:
    """Measure the reference network over a drawn town, and the shipped model over real imagery where sizes and data allow it."""
    rows = _measure_backends(place, place.town, place.network)
    if place.sizes.cut_px:
        try:
            cut = cut_orthophoto(place.folder / "cut.tif", place.sizes.cut_px)
        except FileNotFoundError as exc:
            return [*rows, Row(section=_SECTION, what={"model": "aerial"}, note=f"not measured: {exc}")]
        rows.extend(_measure_backends(place, cut, copy_unscaled("aerial", place.folder / "aerial")))
    return rows


def _measure_backends(place: Place, raster: Path, package: ModelPackage) -> list[Row]:
    runs = [Run(raster=raster, package=package, backend=backend, device=place.device) for backend in place.backends]
    return [measure_pair(place, run) for run in runs]


def measure_pair(place: Place, run: Run, section: str = _SECTION) -> Row:
    """Measure whole run and bare pass in turns; medians. The bare pass takes the tiles that the run says it inferred."""
    whole: list[Done] = []
    bare: list[Child] = []
    try:
        if place.sizes.warm_up:
            run_whole(place, run)
        for _ in range(place.sizes.turns):
            whole.append(run_whole(place, run))
            bare.append(run_forward(_forward_request(place, run, whole[-1].performance)))
    except ChildError as exc:
        return Row(section=section, what=run.what, note=f"not measured: {exc}")
    return Row(section=section, what={**run.what, **_choices(whole[-1])}, values=_numbers(whole, bare))


def run_whole(place: Place, run: Run, **more: object) -> Done:
    """Run ``geoseg segment`` into a folder that is removed.

    Args:
        place: Where.
        run: What.
        **more: Further settings, as in ``run.toml``.

    Raises:
        ChildError: If it fails.
    """
    with TemporaryDirectory(dir=place.folder) as folder:
        settings = {**run.settings, "threads": place.threads, **more}
        child = segment(run.raster, settings, Path(folder), threads=place.threads, cache=place.cache)
        summary = json.loads((Path(folder) / "run" / "summary.json").read_text(encoding="utf-8"))
    return Done(child=child, summary=summary)


def _forward_request(place: Place, run: Run, performance: dict[str, Any]) -> dict[str, object]:
    batch = performance["batch_size"]
    same = {name: performance[name] for name in ("backend", "device", "precision")}
    batches = -(-performance["tiles_inferred"] // batch)
    tiles = {"tile": performance["tile_px"], "batch": batch, "batches": batches}
    return {"model": str(run.package.folder), **same, **tiles, "threads": place.threads}


def _choices(done: Done) -> dict[str, Value]:
    known = done.performance
    rows, cols = known["tile_px"]
    return {"precision": known["precision"], "tile px": f"{cols} x {rows}", "batch": known["batch_size"]}


def _numbers(whole: list[Done], bare: list[Child]) -> dict[str, Value]:
    last = whole[-1].performance
    rows, cols = last["tile_px"]
    pixels = sum(row["pixels"] for row in whole[-1].summary["classes"])
    whole_s = statistics.median(done.child.seconds for done in whole)
    bare_s, bare_cpu_s = ([float(str(child.answer[name])) for child in bare] for name in ("seconds", "cpu_s"))
    pairs = list(zip(whole, bare_s, strict=True))
    values: dict[str, Value] = {
        "whole s": round(whole_s, 2),
        "bare s": round(statistics.median(bare_s), 2),
        "whole / bare": round(statistics.median(done.child.seconds / alone for done, alone in pairs), 3),
        "whole / bare cpu": round(statistics.median(d.child.cpu_s / alone for d, alone in zip(whole, bare_cpu_s, strict=True)), 3),
        "start s": round(statistics.median(done.start_s for done in whole), 2),
        "without start": round(statistics.median((done.child.seconds - done.start_s) / alone for done, alone in pairs), 3),
        "network s": round(statistics.median(done.performance["network_s"] for done in whole), 2),
        "halo work": round(last["tiles_inferred"] * rows * cols / pixels, 3),
        "Mpx/s": round(pixels / whole_s / 1e6, 4),
        "peak MB": round(max(done.child.peak_bytes for done in whole) / 1e6),
    }
    if "network_share" in last:
        values["computing %"] = round(100 * statistics.median(done.performance["network_share"] for done in whole), 1)
    return values
