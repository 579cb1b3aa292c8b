"""Segment what appears in a folder: the most urgent first, each once, whatever ends the process meanwhile."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from geoseg.config import RunConfig
from geoseg.errors import (
    ChunkError,
    GeosegError,
    MissingFileError,
    RasterError,
    RunError,
    RunFolderBusyError,
    RunFolderError,
    UsageError,
    WriteError,
)
from geoseg.events import ChunkFailed, Event, Listener, SourceChanged, Warned, ignore_events
from geoseg.inference.whole import LoadPredictor
from geoseg.io.collection import gather_layers
from geoseg.io.files import is_there
from geoseg.io.store.locks import hold_folder
from geoseg.pipeline import MapChunks, segment_raster
from geoseg.quick.look import segment_quick
from geoseg.runfolder.folder import RunFolder
from geoseg.runs.batch import BatchOptions, Configure, open_workplace
from geoseg.watch.book import GATHERED_NAME, Entry, WatchBook
from geoseg.watch.order import Rule, rank_sources, read_order
from geoseg.watch.sources import Source, Stamp, check_source, list_sources, may_be_no_raster, stamp_source

Segment = Callable[[RunConfig, Listener, bool], Path]
"""Makes a run, in place of what stands in its folder if the last argument says so."""
_MOST_REFUSALS = 3
"""How often in a row ``watch.gpkg`` may refuse rows before a command that is to end does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """How a folder is watched."""

    rule: Rule = "oldest"
    """Which source comes first."""
    order: Path | None = None
    """File of names and patterns that come before all others; read anew at each look."""
    settle_s: float = 10.0
    """Seconds for which a source must not have changed before it is taken for whole."""
    every_s: float = 2.0
    """Seconds between two looks into the folder. It is looked at, not listened to: network drives and sticks tell nobody."""
    once: bool = False
    """End when everything that lies there is segmented, instead of waiting for more."""
    quick: bool = False
    """Put a coarse map of each raster up first; see :mod:`geoseg.quick`."""
    batch: BatchOptions = field(default_factory=BatchOptions)
    """Where chunks are done, and with how much memory."""


def watch_folder(
    folder: Path,
    output: Path,
    configure: Configure,
    options: WatchOptions,
    listener: Listener = ignore_events,
    load: LoadPredictor | None = None,
) -> None:
    """Segment the rasters that lie in a folder and that appear in it, one after the other, with one loaded network.

    Each gets a run folder below ``output``; the layers of all are gathered in ``watch.gpkg``, and ``watch.json`` tells how far each
    is. May be ended at any moment, also by a power cut: the same call goes on, and what was done is not done again.

    Args:
        folder: Rasters, and folders of pictures that are one mosaic each.
        output: Where the run folders are.
        configure: Makes the configuration of each.
        options: What comes first, and when something is taken for whole.
        listener: Takes :class:`geoseg.events.SourceChanged`, and the events of the run that is under way.
        load: Makes the predictor; None loads the network of the configured model.

    Raises:
        MissingFileError: If there is no such folder, or no file with an order.
        UsageError: If another command watches into the same output folder, or the cluster cannot be reached.
        WriteError: If the disk does not take the book.
    """
    if not folder.is_dir():
        raise MissingFileError(f"There is no folder {folder} to watch. Check the path.")
    if options.order is not None:
        read_order(options.order)

    def hear(said: object) -> None:
        if isinstance(said, Warned):
            listener(said)

    with hold_folder(output), open_workplace(options.batch, hear) as mapping:
        _Watcher(folder, output, configure, options, listener, partial(_segment, options.quick, load, mapping)).run()


def _segment(quick: bool, load: LoadPredictor | None, mapping: MapChunks, config: RunConfig, listener: Listener, may_replace: bool) -> Path:
    """Segment one raster, in place of an earlier one of the same name that was another."""
    segment = segment_quick if quick else segment_raster
    try:
        return segment(config, listener, load, mapping)
    except RunFolderBusyError:
        raise
    except RunFolderError as exc:
        folder = RunFolder(config.output)
        if not may_replace:
            raise RunFolderError(
                f"{folder.path} holds a finished run that geoseg watch did not make. Move it, or choose another -o."
            ) from exc
        with folder.hold():
            folder.clear()
        return segment(config, listener, load, mapping)


class _Watcher:
    def __init__(
        self, folder: Path, output: Path, configure: Configure, options: WatchOptions, listener: Listener, segment: Segment
    ) -> None:
        self._folder, self._output, self._options = folder, output, options
        self._configure, self._listener, self._segment = configure, listener, segment
        self._book = WatchBook(output)
        self._patterns: tuple[str, ...] = ()
        self._still: dict[str, tuple[Stamp, float]] = {}
        """Since when each source has been as it is."""
        self._strange: dict[str, Stamp] = {}
        """Files that are no rasters."""
        self._found: list[Source] = []
        self._looked = 0.0
        self._warned_of: set[str] = set()
        self._refusals = 0
        """How often in a row rows could not be gathered."""

    def run(self) -> None:
        """Watch until stopped, or once."""
        for entry in list(self._book):
            # what ended without a word, or with one that has nothing to do with the raster, comes again
            if entry.state == "running" or (entry.state == "failed" and not entry.is_final):
                self._book.change(entry, state="waiting", error=None)
        # a map of what is there may be open already
        self._book.write()
        while True:
            self._look()
            source = self._next()
            if source is not None:
                self._do(source)
            elif self._options.once and not self._is_open():
                return
            else:
                time.sleep(min(self._options.every_s, max(self._options.settle_s, 0.01)))

    def _look(self) -> None:
        """See what lies in the folder, and note it."""
        self._looked = time.monotonic()
        try:
            self._found = list_sources(self._folder, self._output)
        except OSError as exc:
            if self._options.once:
                raise RunError(f"{self._folder} cannot be looked at: {exc}. The same command again goes on.") from exc
            # a drive that is away comes back
            self._warn(f"{self._folder} cannot be looked at: {exc}. It is tried again.")
            return
        if self._options.order is not None:
            with suppress(GeosegError):
                self._patterns = read_order(self._options.order)
        now = time.monotonic()
        still = {source.name: self._still.get(source.name, (source.stamp, now)) for source in self._found}
        self._still = {s.name: still[s.name] if still[s.name][0] == s.stamp and not s.is_growing else (s.stamp, now) for s in self._found}
        here = {source.name for source in self._found}
        gone = [entry.source for entry in self._book if entry.source not in here and entry.state in ("waiting", "failed")]
        new = [source for source in self._found if self._is_new(source) and self._is_ours(source)]
        self._book.forget(gone)
        for source in new:
            self._tell(self._book.enter(source))
        if gone or new:
            self._book.write()

    def _is_new(self, source: Source) -> bool:
        """Tell whether a source was never seen as it is now."""
        known = self._book.find(source.name)
        if self._strange.get(source.name) == source.stamp or (known is not None and known.state == "running"):
            return False
        return known is None or known.stamp != source.stamp

    def _is_ours(self, source: Source) -> bool:
        """Tell whether a source is a raster, by its ending, or else by what GDAL says once it is whole."""
        if not may_be_no_raster(source.path):
            return True
        if not self._is_settled(source):
            return False
        try:
            check_source(source)
        except RasterError:
            self._strange[source.name] = source.stamp
            return False
        return True

    def _next(self) -> Source | None:
        """Return the most urgent source that is whole, as far as can be seen."""
        return next(filter(self._is_settled, rank_sources(self._waiting(), self._options.rule, self._patterns)), None)

    def _is_settled(self, source: Source) -> bool:
        stamp, since = self._still[source.name]
        return not source.is_growing and stamp == source.stamp and time.monotonic() - since >= self._options.settle_s

    def _is_open(self) -> bool:
        """Tell whether anything is left to be done that is not still being copied as one of many."""
        unknown = (source for source in self._found if self._book.find(source.name) is None and self._is_new(source))
        return any(not source.is_growing for source in (*self._waiting(), *unknown))

    def _waiting(self) -> Iterator[Source]:
        for source in self._found:
            known = self._book.find(source.name)
            if known is not None and known.state == "waiting" and known.stamp == source.stamp:
                yield source

    def _do(self, source: Source) -> None:
        """Check, segment and gather a source, and say what came of it."""
        entry = self._book.find(source.name)
        assert entry is not None, "what waits is in the book"
        began = time.monotonic()
        missing: list[str] = []

        def hear(event: Event) -> None:
            if isinstance(event, ChunkFailed):
                missing.append(event.error)
            self._listener(event)
            if time.monotonic() - self._looked >= self._options.every_s:
                self._look()

        try:
            bounds = check_source(source)
            may_replace = entry.run is not None or not RunFolder(self._output / entry.name).is_whole
            entry = self._book.change(entry, state="running", run=entry.name if may_replace else None, bounds=bounds, error=None)
            self._tell(entry)
            run = self._segment(self._configure(str(source.path), self._output / entry.name), hear, may_replace)
            if self._has_changed(source) or not self._gather(run, entry):
                self._postpone(source, entry)
                return
        except KeyboardInterrupt:
            self._book.change(entry, state="waiting")
            raise
        except Exception as exc:  # whatever one raster fails with must not end the others
            self._fail(source, entry, exc, time.monotonic() - began)
            return
        error = f"{len(missing)} chunks are missing: {missing[0]}" if missing else None
        bounds = entry.bounds or _read_bounds(RunFolder(run))
        seconds = round(time.monotonic() - began, 3)
        self._tell(self._book.change(entry, state="done", run=entry.name, seconds=seconds, error=error, bounds=bounds))

    def _fail(self, source: Source, entry: Entry, exc: Exception, elapsed_s: float) -> None:
        if isinstance(exc, WriteError):
            # nothing else could be written either
            self._book.change(entry, state="waiting")
            raise exc
        if self._has_changed(source) or not is_there(source.path):
            self._postpone(source, entry)
            return
        error = str(exc) if isinstance(exc, GeosegError) else f"{type(exc).__name__}: {exc}"
        is_final = isinstance(exc, UsageError | MissingFileError | ChunkError) and not isinstance(exc, RunFolderBusyError)
        self._tell(self._book.change(entry, state="failed", seconds=round(elapsed_s, 3), error=error, is_final=is_final))

    def _gather(self, run: Path, entry: Entry) -> bool:
        """Put the layers of a run to those of the others; tell whether that could be done.

        Raises:
            WriteError: If it could not again and again, and nobody waits for a better time.
        """
        features = run / "features.gpkg"
        try:
            if features.exists():
                gather_layers(features, entry.name, self._output / GATHERED_NAME)
        except WriteError as exc:
            self._refusals += 1
            if self._options.once and self._refusals >= _MOST_REFUSALS:
                raise
            self._warn(str(exc))
            return False
        self._refusals = 0
        return True

    def _postpone(self, source: Source, entry: Entry) -> None:
        """Let a source wait until it has not changed for a while again."""
        self._book.change(entry, state="waiting")
        self._still[source.name] = (source.stamp, time.monotonic())

    @staticmethod
    def _has_changed(source: Source) -> bool:
        try:
            return stamp_source(source.path) != source.stamp
        except OSError:
            # gone is not changed: what was read of it was whole
            return False

    def _tell(self, entry: Entry) -> None:
        output = str(self._output / entry.name)
        self._listener(
            SourceChanged(source=entry.source, state=entry.state, output=output, elapsed_s=entry.seconds or 0.0, error=entry.error)
        )

    def _warn(self, message: str) -> None:
        if message not in self._warned_of:
            self._warned_of.add(message)
            self._listener(Warned(message=message))


def _read_bounds(folder: RunFolder) -> tuple[float, float, float, float] | None:
    with suppress(GeosegError, LookupError, TypeError, ValueError):
        west, south, east, north = folder.read_item()["bbox"]
        return float(west), float(south), float(east), float(north)
    return None
