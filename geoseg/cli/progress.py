"""How a run's events are shown: a bar with time left, lines of text, JSON lines, or nothing."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from geoseg.cli.tables import open_console
from geoseg.events import (
    ChunkDone,
    ChunkFailed,
    ClusterReady,
    Event,
    Finished,
    FirstMap,
    Listener,
    MapRefined,
    RunPlanned,
    SourceChanged,
    StageDone,
    Tuned,
    Warned,
    ignore_events,
    to_json_line,
)
from geoseg.redact import redact

Style = Literal["auto", "rich", "json", "none"]


@contextmanager
def show_progress(style: Style) -> Iterator[Listener]:
    """Yield a listener that shows events in a style."""
    if style == "none":
        yield ignore_events
    elif style == "json":
        yield lambda event: print(to_json_line(event), flush=True)
    elif style == "auto" and not sys.stderr.isatty():
        yield _print_line
    else:
        with _bar() as progress:
            yield _Bar(progress)


def _bar() -> Progress:
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    ]
    return Progress(*columns, console=open_console(stderr=True))


class _Bar:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("planning", total=None)

    def __call__(self, event: Event) -> None:
        match event:
            case RunPlanned():
                self._progress.reset(self._task, total=event.chunks, completed=event.chunks_done, description="chunks")
            case ChunkDone():
                self._progress.update(self._task, completed=event.done)
            case _:
                self._progress.console.print(describe(event))


def _print_line(event: Event) -> None:
    print(describe(event), file=sys.stderr, flush=True)


def describe(event: Event) -> str:
    """Say an event in one line; secrets are hidden."""
    return redact(_describe(event))


def _describe(event: Event) -> str:
    match event:
        case RunPlanned():
            done = f", {event.chunks_done} done before" if event.chunks_done else ""
            return (
                f"{event.source}: {event.width_px} x {event.height_px} px, model {event.model}, {event.tiles} tiles in "
                f"{event.chunks} chunks{done}, about {event.memory_bytes / 1e9:.1f} GB of memory; {event.execution}"
            )
        case ChunkDone():
            return f"chunk {event.done}/{event.chunks} after {event.elapsed_s:.0f} s"
        case Tuned():
            return f"Measured on this machine: {'; '.join(event.measured)}. Chosen: {event.chosen}"
        case ClusterReady():
            shown = f"; dashboard {event.dashboard}" if event.dashboard else ""
            return f"{event.workers} workers with {event.threads} threads in all{shown}"
        case ChunkFailed():
            return f"Chunk {event.chunk} could not be made: {event.error}"
        case FirstMap() | MapRefined() | SourceChanged():
            return _describe_more(event)
        case StageDone():
            return f"{event.stage}: {event.elapsed_s:.1f} s"
        case Warned():
            return f"Warning: {event.message}"
        case Finished():
            lacking = f", but for {event.missing} chunks that could not be made" if event.missing else ""
            return f"Done in {event.elapsed_s:.0f} s{lacking}: {event.output}" if event.elapsed_s else f"Already complete: {event.output}"


def _describe_more(event: FirstMap | MapRefined | SourceChanged) -> str:
    if isinstance(event, SourceChanged):
        told = event.error or (f"{event.elapsed_s:.1f} s" if event.elapsed_s else event.output)
        return f"{event.source}: {event.state}, {told}"
    if isinstance(event, FirstMap):
        return f"First map, {event.factor} times as coarse, after {event.elapsed_s:.1f} s: {event.output}"
    return f"Map refined: {event.done} of {event.chunks} chunks in full, {event.elapsed_s:.1f} s"
