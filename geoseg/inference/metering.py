"""What a network does for one raster, where several may share it."""

import threading
import time
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from numpy.typing import NDArray

from geoseg.inference.batching import TileInput, TileResult, TileRunner
from geoseg.model.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What a network has done for one raster in one process."""

    meter: str
    """Whose it is: one name for each worker."""
    network_s: float
    """Seconds in which it computed, summed over its threads."""
    tiles: int
    """Tiles inferred."""
    ready: float
    """Time of day at which the network was loaded, in seconds since 1970."""
    first_began: float | None
    """Time of day at which the network began with the first tile."""
    first_tile: float | None
    """Time of day at which the first tile was done."""


class Meter:
    """Infers tiles by another runner, and counts.

    Args:
        runner: Infers tiles, perhaps those of other rasters too.
    """

    def __init__(self, runner: TileRunner) -> None:
        self._runner = runner
        self._name = uuid4().hex
        self._lock = threading.Lock()
        self._network_s = 0.0
        self._tiles = 0
        self._first_began: float | None = None
        self._first_tile: float | None = None

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return self._runner.spec

    @property
    def ready(self) -> float:
        """Time of day at which the network was loaded."""
        return self._runner.ready

    @property
    def ahead(self) -> int:
        """Tiles of a chunk that should be under way; see :class:`geoseg.inference.batching.TileRunner`."""
        return self._runner.ahead

    def feed(self) -> AbstractContextManager[None]:
        """Announce tiles; see :class:`geoseg.inference.batching.TileRunner`."""
        return self._runner.feed()

    def submit(self, tile: TileInput) -> TileResult:
        """Take a tile; see :class:`geoseg.inference.batching.TileRunner`."""
        result = self._runner.submit(tile)
        # not a closure over the result: that would keep it, and its pixels, alive in a circle
        result.add_done_callback(self._count)
        return result

    def take_effort(self) -> Effort:
        """Return what was done since the last call."""
        with self._lock:
            effort = Effort(
                meter=self._name,
                network_s=self._network_s,
                tiles=self._tiles,
                ready=self.ready,
                first_began=self._first_began,
                first_tile=self._first_tile,
            )
            self._network_s, self._tiles = 0.0, 0
        return effort

    def _count(self, done: Future[NDArray[Any]]) -> None:
        with self._lock:
            if isinstance(done, TileResult):
                self._network_s += done.network_s
                self._first_began = self._first_began or done.began
            self._tiles += 1
            self._first_tile = self._first_tile or time.time()
