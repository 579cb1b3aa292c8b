"""Whole runs against the bare forward pass over the same tiles with the same backend, in alternation."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import rasterio

from geoseg.model.package import ModelPackage
from geoseg.tiling import TilingOptions, plan_tiles
from tests.benchmarks.children import Child, ChildError, run_geoseg
from tests.benchmarks.forward import run_forward
from tests.benchmarks.models import copy_unscaled
from tests.benchmarks.place import Place
from tests.benchmarks.rasters import cut_orthophoto
from tests.benchmarks.rows import Row, Value

_SECTION = "whole"
_CHUNK_PX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A whole run that is going to be measured."""

    raster: Path
    """What is segmented."""
    package: ModelPackage
    """The network."""
    backend: str
    """Of bare pass and whole run."""
    device: str = "cpu"
    """Of both."""
    precision: str = "float32"
    """Of the bare pass."""
    tile: int = 0
    """Side of a tile; 0 takes the model's."""
    batch: int = 1
    """Tiles in one pass."""

    @property
    def what(self) -> dict[str, Value]:
        """Settings for the table."""
        size = self.tile or self.package.spec.tile_size_px
        return {"model": self.package.spec.name, "backend": self.backend, "device": self.device, "tile px": size, "batch": self.batch}


def measure(place: Place) -> list[Row]:
    """Measure the reference network over a drawn town, and the shipped model over real imagery where sizes and data allow it."""
    rows = [
        measure_pair(place, Run(raster=place.town, package=place.network, backend=b, device=place.device)) for b in place.measured_backends
    ]
    if place.sizes.cut_px:
        try:
            cut = cut_orthophoto(place.folder / "cut.tif", place.sizes.cut_px)
        except FileNotFoundError as exc:
            return [*rows, Row(section=_SECTION, what={"model": "aerial"}, note=f"not measured: {exc}")]
        package = copy_unscaled("aerial", place.folder / "aerial")
        rows.extend(measure_pair(place, Run(raster=cut, package=package, backend=b, device=place.device)) for b in place.measured_backends)
    return rows


def measure_pair(place: Place, run: Run, section: str = _SECTION, *words: object) -> Row:
    """Measure bare pass and whole run in turns; medians.

    Args:
        place: Where.
        run: What.
        section: Of the row.
        *words: Further options of ``geoseg segment``.
    """
    tile_shape, tiles, pixels = _count_tiles(run)
    request = {
        "model": str(run.package.folder),
        "backend": run.backend,
        "device": run.device,
        "precision": run.precision,
        "tile": list(tile_shape),
        "batch": run.batch,
        "batches": -(-tiles // run.batch),
        "threads": place.threads,
    }
    bare, whole, networks = [], [], []
    try:
        if place.sizes.warm_up:
            segment(place, run, *words)
        for _ in range(place.sizes.turns):
            bare.append(float(str(run_forward(request).answer["seconds"])))
            child, timing = segment(place, run, *words)
            whole.append(child)
            networks.append(timing.get("network"))
    except ChildError as exc:
        return Row(section=section, what=run.what, note=f"not measured: {exc}")
    starts = [child.first("RunPlanned") or 0.0 for child in whole]
    bare_s, whole_s = statistics.median(bare), statistics.median(c.seconds for c in whole)
    values: dict[str, Value] = {
        "bare s": round(bare_s, 2),
        "whole s": round(whole_s, 2),
        "start s": round(statistics.median(starts), 2),
        "whole / bare": _ratio(whole, bare, [0.0] * len(whole)),
        "without start": _ratio(whole, bare, starts),
        "network share %": round(100 * bare_s / whole_s, 1),
        "halo work": round(tiles * tile_shape[0] * tile_shape[1] / pixels, 3),
        "Mpx/s": round(pixels / whole_s / 1e6, 4),
        "peak MB": round(max(c.peak_bytes for c in whole) / 1e6),
    }
    if all(networks):
        values["network s, as the run says"] = round(statistics.median(n for n in networks if n), 2)
    return Row(section=section, what=run.what, values=values)


def _ratio(whole: list[Child], bare: list[float], starts: list[float]) -> float:
    pairs = zip(whole, bare, starts, strict=True)
    return round(statistics.median((child.seconds - start) / alone for child, alone, start in pairs), 3)


def segment(place: Place, run: Run, *words: object) -> tuple[Child, dict[str, float]]:
    """Run ``geoseg segment`` into a folder that is removed; return what it took and the times that its summary tells."""
    sizes = ("--tile-size", run.tile or run.package.spec.tile_size_px, "--batch-size", run.batch)
    fixed = ("-m", run.package.folder, "--device", run.device, "--outputs", "classes", "--progress", "json")
    with TemporaryDirectory(dir=place.folder) as folder:
        output = Path(folder) / "run"
        words = (*fixed, *sizes, *place.backend_words(run.backend), *words)
        child = run_geoseg("segment", run.raster, "-o", output, *words, threads=place.threads)
        timing: dict[str, float] = json.loads((output / "summary.json").read_text(encoding="utf-8"))["timing_s"]
    return child, timing


def _count_tiles(run: Run) -> tuple[tuple[int, int], int, int]:
    """Return the shape of the run's tiles, how many there are, and the raster's pixels."""
    spec = run.package.spec
    with rasterio.open(run.raster) as source:
        shape = source.shape
    options = TilingOptions(
        tile_size_px=run.tile or spec.tile_size_px,
        halo_px=spec.halo.default_px,
        stride_px=spec.network.stride_px,
        chunk_size_px=_CHUNK_PX,
        stitch=spec.stitch,
    )
    plan = plan_tiles(shape, options)
    return plan.tile_shape, plan.tile_count, shape[0] * shape[1]
