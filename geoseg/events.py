"""What a run reports while it goes: each event is one JSON line."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from geoseg.redact import redact, redact_all


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlanned:
    """Everything is checked and counted; work begins."""

    source: str
    """The raster; secrets in its address are hidden."""
    model: str
    """Name and version of the model."""
    height_px: int
    """Rows of the run's grid."""
    width_px: int
    """Columns of the run's grid."""
    tiles: int
    """Tiles to infer."""
    chunks: int
    """Chunks in all."""
    chunks_done: int
    """Chunks that an earlier run left finished."""
    memory_bytes: int
    """Projected peak memory."""
    execution: str
    """How the network is run."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", redact(self.source))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """It was measured, now or earlier, how the network runs best on this machine."""

    chosen: str
    """Backend, batch and tile."""
    measured: tuple[str, ...]
    """What each way took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkDone:
    """A chunk stands under its final name."""

    chunk: str
    """Its name."""
    done: int
    """Chunks done so far, earlier runs counted in."""
    chunks: int
    """Chunks in all."""
    elapsed_s: float
    """Seconds since the run began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterReady:
    """Workers in processes of their own are there, or are there again."""

    workers: int
    """Processes that may take chunks."""
    threads: int
    """Chunks that they do at a time."""
    dashboard: str
    """Where a browser sees what they do; empty if the scheduler shows nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstMap:
    """A coarse map of the whole raster stands in the run folder; it is refined from now on."""

    output: str
    """The run folder."""
    factor: int
    """Pixels of the run's grid along each side of a pixel of this map."""
    elapsed_s: float
    """Seconds since the run began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapRefined:
    """The map in the run folder was replaced: chunks that are done stand in place of what was coarse there."""

    output: str
    """The run folder."""
    done: int
    """Chunks that it holds in full."""
    chunks: int
    """Chunks in all."""
    elapsed_s: float
    """Seconds that this took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkFailed:
    """A chunk was given up; the others go on."""

    chunk: str
    """Its name."""
    window: tuple[int, int, int, int]
    """Column, row, width and height in pixels of the run's grid."""
    error: str
    """What it failed with; secrets in it are hidden."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", redact(self.error))


@dataclass(frozen=True, slots=True, kw_only=True)
class StageDone:
    """A stage after inference has ended."""

    stage: str
    """``rasters``, ``buildings``, ``landcover``, ``roads``, ``features`` or ``report``; of a comparison also ``registration``,
    ``transitions`` and ``zones``."""
    elapsed_s: float
    """Seconds that the stage took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something that the user should know; the run goes on."""

    message: str
    """One sentence or two; secrets in it are hidden."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", redact(self.message))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The run is done and everything is in place."""

    output: str
    """The run folder."""
    elapsed_s: float
    """Seconds in all."""
    missing: int = 0
    """Chunks that could not be made; nothing is known of their pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceChanged:
    """A raster of a watched folder is in another state than before."""

    source: str
    """Its name in the watched folder."""
    state: str
    """``waiting``, ``running``, ``done`` or ``failed``."""
    output: str
    """Its run folder."""
    elapsed_s: float
    """Seconds that it took; 0 before it ended."""
    error: str | None = None
    """Why it failed, or what it lacks; secrets in it are hidden."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", None if self.error is None else redact(self.error))


Event = Tuned | RunPlanned | ClusterReady | ChunkDone | FirstMap | MapRefined | ChunkFailed | StageDone | Warned | Finished | SourceChanged
Listener = Callable[[Event], None]
"""Takes each event as it comes."""


def to_json_line(event: Event) -> str:
    """Write an event as one line of JSON, its type under ``event``; secrets are hidden."""
    return json.dumps(redact_all({"event": type(event).__name__, **asdict(event)}), ensure_ascii=False)


def ignore_events(event: Event) -> None:
    """Listen to nothing."""
