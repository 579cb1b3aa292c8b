"""What a run would take, measured on a few of its tiles; nothing is written."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from geoseg.config import RunConfig
from geoseg.events import Tuned
from geoseg.inference.planning import plan_run
from geoseg.inference.runplan import RunPlan
from geoseg.inference.tuning.tune import tune
from geoseg.inference.whole import LoadPredictor, averaging, network_loader, read_padded
from geoseg.io.ground import pixel_size_m
from geoseg.redact import redact
from geoseg.tiling import Tile

_TIMED_BATCHES = 3
_SCHEDULER_S = 0.002
"""Processor seconds of a scheduler for each chunk, measured; see docs/scale.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A plan and the time that its tiles took."""

    plan: RunPlan
    """The checked run."""
    measured: tuple[str, ...] = ()
    """What was measured on this machine, one line for each way to run the network."""
    tile_s: float
    """Seconds per tile, reading included: the median of a few timed batches."""

    @property
    def inference_s(self) -> float:
        """Seconds for all tiles, if none is left out for want of data; blended chunks infer those at their borders again."""
        return self.tile_s * self.plan.tiles.inferred_count

    @property
    def most_workers(self) -> int:
        """Workers as fast as this machine that one scheduler keeps busy; more than chunks are of no use either."""
        chunk_s = self.inference_s / self.plan.tiles.chunk_count
        return max(1, min(self.plan.tiles.chunk_count, int(chunk_s / _SCHEDULER_S)))

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield names and values to show."""
        plan, tiles = self.plan, self.plan.tiles
        spec = plan.package.spec
        rows, cols = tiles.tile_shape
        yield "model", f"{spec.name} {spec.version}"
        yield from (("warning", redact(text)) for text in plan.warnings)
        yield "grid", f"{tiles.width} x {tiles.height} px of {pixel_size_m(plan.source.geobox):.3g} m, averaged by {plan.source.decimation}"
        yield "tiles", f"{tiles.tile_count} of {cols} x {rows} px, halo {tiles.halo_px} px"
        yield "chunks", f"{tiles.chunk_count} of up to {tiles.tiles_per_chunk} x {tiles.tiles_per_chunk} tiles"
        yield "cluster", f"up to {self.most_workers} workers like this one; more would wait for the scheduler, unless chunks are larger"
        yield "stitch", "crop: halos are thrown away" if tiles.stitch == "crop" else "blend: overlapping tiles are weighted"
        yield "halo work", f"{tiles.halo_work:.2f} x the raster's pixels"
        yield "network", plan.describe_execution()
        yield from (("measured here", line) for line in self.measured)
        yield "memory", f"{plan.memory_bytes / 1e9:.2f} GB"
        yield "disk", f"{plan.disk_bytes / 1e6:.0f} MB while it goes on"
        yield "time", f"{self.inference_s:.0f} s for inference ({self.tile_s:.2f} s a tile, measured here), objects and files on top"


def estimate(config: RunConfig, load: LoadPredictor | None = None, *, tune_now: bool = False) -> Estimate:
    """Plan a run and time a few of its tiles.

    Args:
        config: What would be done.
        load: Makes the predictor; None loads the network of the configured model.
        tune_now: Measure backends, tiles and batches, however short the run is; the measurement is kept for later runs.

    Raises:
        UsageError: If something does not fit.
    """
    plan = plan_run(config)
    measured: list[Tuned] = []
    if load is None:
        plan = tune(plan, config, lambda event: measured.append(event) if isinstance(event, Tuned) else None, at_once=tune_now)
    predictor = averaging(load or network_loader(plan.package, plan.execution), plan.views)()
    tiles = list(_spread_tiles(plan))
    predict = predictor.predict if plan.tiles.stitch == "crop" else predictor.predict_probabilities
    times = []
    for tile in tiles:
        began = time.monotonic()
        pixels, valid = read_padded(plan.source, tile.window)
        count = plan.batch_size
        predict(pixels[None].repeat(count, axis=0), valid[None].repeat(count, axis=0))
        times.append((time.monotonic() - began) / count)
    # the first batch warms the network up
    return Estimate(plan=plan, measured=measured[0].measured if measured else (), tile_s=sorted(times[1:])[len(times[1:]) // 2])


def _spread_tiles(plan: RunPlan) -> Iterator[Tile]:
    rows, cols = plan.tiles.chunk_shape
    for i in range(_TIMED_BATCHES + 1):
        chunk = plan.tiles.chunk(i * (rows - 1) // _TIMED_BATCHES, i * (cols - 1) // _TIMED_BATCHES)
        yield chunk.tiles[i * (len(chunk.tiles) - 1) // _TIMED_BATCHES]
