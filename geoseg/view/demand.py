"""A raster segmented where one looks at it: the tiles of a run, in the order in which they come into view."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from geoseg.config import RunConfig
from geoseg.inference.planning import plan_run, replan
from geoseg.inference.runplan import RunPlan
from geoseg.inference.whole import LoadPredictor, network_loader
from geoseg.io.store.chunks import ChunkStore
from geoseg.pipeline import describe_job
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.provenance import identify_run
from geoseg.runtime.workplace import Done, Prepared, Shared
from geoseg.tiling import ChunkKey
from geoseg.view.rasters import Box

MOST_AT_ONCE, _MOST_PX = 48, 22 * 10**6
"""Tiles in view, and pixels of them, up to which they are segmented; of more, one would wait for minutes, and is asked to come closer."""
_AT_A_CORNER = 4
"""Tiles in view however close one comes."""
_TRIES = 3
_GRACE_S = 0.7
"""What tiles that are being made may take when the map is closed; they are lost, and made again when somebody looks."""
_BLENDED_TILES = 4
"""Tiles along the side of a chunk where tiles are blended: each chunk infers its neighbors' as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What is asked for and what becomes of it."""

    in_view: int
    """Chunks in view."""
    waiting: int
    """Those of them that wait."""
    busy: int
    """Chunks that are being made."""
    is_far: bool
    """Whether so many are in view that none is begun."""
    done: int
    """Chunks that are done, all over the raster."""
    chunks: int
    """Chunks of the raster."""
    error: str | None
    """What the last chunk failed with."""


def plan_demand(config: RunConfig, *, keep: bool) -> RunPlan:
    """Plan a run that is done tile by tile.

    Args:
        config: What to do.
        keep: Do it in the configuration's ``output``, going on with a run that was begun there; else in the cache folder.

    Raises:
        UsageError: If the raster and the model do not fit each other.
        MissingFileError: If one of them is not there.
    """
    if keep and RunFolder(config.output).is_begun():
        return plan_run(RunFolder(config.output).recall(config))
    plan = plan_run(config)
    if config.chunk_size is None:
        side = (_BLENDED_TILES if plan.tiles.stitch == "blend" else 1) * (plan.tiles.tile_size_px - 2 * plan.tiles.halo_px)
        # the sizes that the run would take, so that these are its pixels
        settled = {"tile_size": plan.config.tile_size, "batch_size": plan.batch_size, "chunk_size": side}
        plan = replan(config.model_copy(update=settled), plan.package, plan.source)
    if keep:
        return plan
    output = config.cache_folder / "view" / identify_run(plan.fingerprint())
    return replace(plan, config=plan.config.model_copy(update={"output": output}))


class DemandRun:
    """A run whose chunks are done in the order in which somebody looks at them.

    What is done lies in its run folder, as of any unfinished run: ``geoseg segment`` goes on with it.

    Args:
        plan: The run.
        load: Makes the predictor; None loads the network of the plan's model.
    """

    def __init__(self, plan: RunPlan, load: LoadPredictor | None = None) -> None:
        self.plan = plan
        self.folder = RunFolder(plan.config.output)
        self._load = load or network_loader(plan.package, plan.lane_execution)
        self._changed = threading.Condition()
        self._wanted: list[ChunkKey] = []
        self._busy: set[ChunkKey] = set()
        self._failures: dict[ChunkKey, int] = {}
        self._in_view, self._is_far, self._closed = 0, False, False
        self._error: str | None = None
        self._rows, self._cols = (np.array(spans) for spans in (plan.tiles.chunk_rows, plan.tiles.chunk_cols))
        self._to_crs = Transformer.from_crs("EPSG:4326", plan.source.geobox.crs, always_xy=True)
        self._tile_px = int(np.ptp(self._rows[0]) * np.ptp(self._cols[0]))
        self._done: NDArray[np.bool_] = np.zeros(plan.tiles.chunk_shape, bool)

    @property
    def store(self) -> ChunkStore:
        """Where what is done lies."""
        return self.folder.chunks(self.plan)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold the run folder and work on what comes into view.

        Raises:
            RunFolderError: If the folder belongs to another run, or another command is at work in it.
            WriteError: If the disk does not take it.
        """
        with self.folder.hold():
            self.folder.settle()
            if not self.folder.is_finished(self.plan.fingerprint()):
                self.folder.begin(self.plan.config, self.plan.fingerprint())
            self._done = self.store.list_done(self.plan.tiles).there
            prepared, shared = Prepared(describe_job(self.plan, self.store, self._load)), Shared()
            names = [f"in view {number}" for number in range(self.plan.chunks_at_once)]
            threads = [threading.Thread(target=self._work, args=(prepared, shared), name=name, daemon=True) for name in names]
            for thread in threads:
                thread.start()
            try:
                yield
            finally:
                with self._changed:
                    self._closed = True
                    self._changed.notify_all()
                end = time.monotonic() + _GRACE_S
                for thread in threads:
                    thread.join(max(0.0, end - time.monotonic()))
                # who still computes has nothing taken away: the process ends without waiting
                if not any(thread.is_alive() for thread in threads):
                    prepared.close()
                    shared.close()

    def look(self, view: Box) -> None:
        """Take note of what somebody looks at: what has left the view and is not begun is not made, and the middle comes first.

        Args:
            view: West, south, east and north in degrees.
        """
        rows, cols = self._chunks_in(view)
        with self._changed:
            self._in_view = rows.size * cols.size
            self._is_far = self._in_view > min(MOST_AT_ONCE, max(_AT_A_CORNER, _MOST_PX // self._tile_px))
            keys = [] if self._is_far else [(int(row), int(col)) for row in rows for col in cols]
            middle = (rows.mean(), cols.mean()) if keys else (0.0, 0.0)
            keys.sort(key=lambda key: (key[0] - middle[0]) ** 2 + (key[1] - middle[1]) ** 2)
            self._wanted = [key for key in keys if not self._done[key] and key not in self._busy and self._may_try(key)]
            self._changed.notify_all()

    def tell(self) -> Demand:
        """Say what is going on."""
        with self._changed:
            return Demand(
                in_view=self._in_view,
                waiting=len(self._wanted),
                busy=len(self._busy),
                is_far=self._is_far,
                done=int(self._done.sum()),
                chunks=self._done.size,
                error=self._error,
            )

    def _chunks_in(self, view: Box) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the rows and columns of chunks that a box in degrees touches."""
        geobox = self.plan.source.geobox
        left, bottom, right, top = self._to_crs.transform_bounds(*view)
        a, b, c, d, e, f = tuple(~geobox.transform)[:6]
        x, y = np.array([(left, top), (right, top), (left, bottom), (right, bottom)]).T
        cols, rows = a * x + b * y + c, d * x + e * y + f
        if not np.isfinite([cols, rows]).all():
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        return _touched(self._rows, rows), _touched(self._cols, cols)

    def _may_try(self, key: ChunkKey) -> bool:
        return self._failures.get(key, 0) < _TRIES

    def _work(self, prepared: Prepared, shared: Shared) -> None:
        """Make what is wanted most, again and again."""
        while (key := self._take()) is not None:
            outcome = prepared.do(key, shared)
            with self._changed:
                self._busy.discard(key)
                if isinstance(outcome, Done):
                    self._done[key] = True
                    self._error = None
                else:
                    self._failures[key] = self._failures.get(key, 0) + 1
                    self._error = getattr(outcome, "error", "The work was lost.")
                    if self._may_try(key):
                        self._wanted.append(key)

    def _take(self) -> ChunkKey | None:
        with self._changed:
            while not self._wanted and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            key = self._wanted.pop(0)
            self._busy.add(key)
            return key


def _touched(spans: NDArray[np.int_], ends: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return which spans, (n, 2) of first and behind the last, a range touches."""
    return np.flatnonzero((spans[:, 0] < ends.max()) & (spans[:, 1] > ends.min()))
