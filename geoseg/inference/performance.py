"""What the networks of a run did: how long, how many tiles, and what share of the time."""

import time
from typing import Any

from geoseg.inference.runplan import RunPlan
from geoseg.inference.work import ChunkResult
from geoseg.machine import process_age_s


class Performance:
    """Adds up what workers tell."""

    def __init__(self) -> None:
        self._network_s = 0.0
        self._tiles = 0
        self._meters: set[str] = set()
        self._ready: float | None = None
        self._first_began: float | None = None
        self._first_tile: float | None = None
        self._last: float = 0.0
        self.notes: list[str] = []

    def add(self, result: ChunkResult) -> None:
        """Count a chunk."""
        effort = result.effort
        self._network_s += effort.network_s
        self._tiles += effort.tiles
        self._meters.add(effort.meter)
        self._ready = min(self._ready or effort.ready, effort.ready)
        if effort.first_began is not None:
            self._first_began = min(self._first_began or effort.first_began, effort.first_began)
        if effort.first_tile is not None:
            self._first_tile = min(self._first_tile or effort.first_tile, effort.first_tile)
        self._last = time.time()
        self.notes += result.notes

    def table(self, plan: RunPlan) -> dict[str, Any]:
        """Return what ``summary.json`` tells, for the part of the run that this process saw.

        ``network_share`` is the share of the time from the loaded network to the last chunk in which it computed, of each thread
        that calls it; ``first_tile_began_s``, when it began with a tile, and ``first_tile_s``, when one was done, count from the start of
        the process.
        """
        execution = plan.execution
        known: dict[str, Any] = {
            "backend": execution.backend,
            "device": execution.device,
            "precision": execution.precision,
            "threads": execution.threads,
            "batch_size": plan.batch_size,
            "tile_px": list(plan.tiles.tile_shape),
            "tiles_inferred": self._tiles,
            "network_s": round(self._network_s, 3),
        }
        if self._ready is not None and self._first_tile is not None:
            # not as many as were asked for: few chunks need few workers, and a scheduler has workers of its own
            callers = len(self._meters) * plan.lanes
            known["network_share"] = round(self._network_s / (callers * max(self._last - self._ready, 1e-9)), 3)
            started = time.time() - process_age_s()
            if self._first_began is not None:
                known["first_tile_began_s"] = round(self._first_began - started, 3)
            known["first_tile_s"] = round(self._first_tile - started, 3)
        return known
