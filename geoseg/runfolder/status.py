"""What is going on in a run folder: running, stopped, finished, or somebody else's; nothing is changed."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from geoseg.errors import GeosegError, MissingFileError
from geoseg.io.store.chunks import list_times
from geoseg.io.store.locks import is_held
from geoseg.redact import HIDDEN, redact
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.notes import read_note
from geoseg.runfolder.provenance import identify_run
from geoseg.runfolder.records import describe_missing
from geoseg.runfolder.verification.record import list_chunks

State = Literal["running", "stopped", "finished", "foreign", "empty"]
_RECENT = 50
"""Chunks that the rate is told from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a run folder tells of itself."""

    output: str
    """The folder."""
    state: State
    """``running`` and ``stopped`` runs are not finished; a ``foreign`` folder holds other files, an ``empty`` one none."""
    run_id: str | None = None
    """Id of the run; see :func:`geoseg.runfolder.provenance.identify_run`."""
    source: str | None = None
    """The raster."""
    model: str | None = None
    """The model."""
    holder: str | None = None
    """Process and host that is at work, or was last."""
    chunks_done: int | None = None
    """Chunks that are done."""
    chunks: int | None = None
    """Chunks in all; None if the model is not there any more, so that they cannot be counted."""
    chunks_per_min: float | None = None
    """Rate of the last chunks; None before there are three."""
    left_s: float | None = None
    """Seconds until all chunks are done, at that rate; None if the run is not running."""
    quick: dict[str, Any] | None = None
    """Of a run whose first map stands: how coarse it is, and how many chunks are in it in full; see :mod:`geoseg.quick`."""
    products: tuple[str, ...] = ()
    """Files that are there under their final names."""
    missing: tuple[str, ...] = ()
    """Chunks that a finished run lacks, with what they failed with; its rasters hold nodata there."""
    warnings: tuple[str, ...] = ()
    """What the run warned of."""
    last_error: str | None = None
    """What ended the run before its time, as far as it could still say so; a killed process cannot."""
    next: str | None = None
    """The command that goes on; that checks the result if the run is finished and whole."""


def read_status(output: Path) -> Status:
    """Look into a run folder.

    Args:
        output: The folder; a run may be at work in it.

    Raises:
        MissingFileError: If there is no such folder.
        RunFolderError: If its record or summary is damaged.
    """
    if not output.is_dir():
        raise MissingFileError(f"There is no folder {output}. Name the one that -o named.")
    folder = RunFolder(output)
    names = sorted(path.name for path in output.iterdir())
    if not folder.record.exists():
        held = is_held(folder.path)
        state: State = "running" if held else "foreign" if [name for name in names if name != folder.work.name] else "empty"
        return Status(output=str(output), state=state, next=None if held else f"geoseg segment RASTER -o {shlex.quote(str(output))}")
    record = folder.read_record()
    common: dict[str, Any] = {
        "output": str(output),
        "run_id": identify_run(_table(record, "fingerprint")),
        "source": redact(str(_table(record, "run").get("raster"))),
        "model": str(_table(record, "run").get("model")),
        "products": tuple(path.name for path in folder.products(output)),
    }
    if folder.is_whole and not is_held(folder.path):
        summary = folder.read_summary()
        chunks = summary["counts"].get("chunks")
        missing = tuple(describe_missing(chunk) for chunk in folder.missing())
        return Status(
            **common,
            state="finished",
            chunks_done=chunks - len(missing) if missing else chunks,
            chunks=chunks,
            missing=missing,
            warnings=tuple(summary.get("warnings", ())),
            next=_go_on(folder, _table(record, "run")) if missing else f"geoseg verify {shlex.quote(str(output))}",
        )
    return _look_at_unfinished(folder, common, record)


def _look_at_unfinished(folder: RunFolder, common: dict[str, Any], record: dict[str, Any]) -> Status:
    is_running = bool(is_held(folder.path))
    count, recent = list_times(folder.chunk_place, _RECENT)
    try:
        done = list_chunks(folder)
        counted: dict[str, Any] = {"chunks_done": done.count, "chunks": done.total}
        left = done.total - done.count
    except (GeosegError, LookupError, TypeError, ValueError):
        counted, left = {"chunks_done": count}, 0
    rate = (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 2 and recent[-1] > recent[0] else None
    who, error = read_note(folder.work, "holder"), read_note(folder.work, "error")
    return Status(
        **common,
        **counted,
        quick=folder.read_summary()["quick"] if folder.is_preview else None,
        state="running" if is_running else "stopped",
        holder=f"process {who.get('pid')} on {who.get('host')}, since {who.get('since')}" if who else None,
        chunks_per_min=round(60 * rate, 2) if rate else None,
        left_s=round(left / rate, 1) if rate and is_running and "chunks" in counted else None,
        last_error=f"{error.get('time')} {error.get('error')}: {error.get('message')}" if error and not is_running else None,
        next=None if is_running else _go_on(folder, _table(record, "run")),
    )


def _go_on(folder: RunFolder, run: dict[str, Any]) -> str:
    """Return the command that goes on; the raster's address has to be given again if it holds secrets."""
    given = run.get("raster")
    rasters = [str(raster) for raster in (given if isinstance(given, list) else [given])]
    named = "RASTER" if any(HIDDEN in raster for raster in rasters) else shlex.join(rasters)
    return f"geoseg segment {named} -o {shlex.quote(str(folder.path))} --config {shlex.quote(str(folder.record))}"


def _table(record: dict[str, Any], name: str) -> dict[str, Any]:
    found = record.get(name)
    return found if isinstance(found, dict) else {}
