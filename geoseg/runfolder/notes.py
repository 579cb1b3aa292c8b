"""Notes in the ``.work`` of a run folder: who works there, and what ended that before its time."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from geoseg.errors import WriteError
from geoseg.io.files import write_error, write_whole
from geoseg.redact import redact

Kind = Literal["holder", "error"]


def note_holder(work: Path) -> None:
    """Note that this process works here, and forget what ended the work of an earlier one.

    Raises:
        WriteError: If the disk does not take it.
    """
    try:
        _name(work, "error").unlink(missing_ok=True)
    except OSError as exc:
        raise write_error(work, exc) from exc
    who = {"pid": os.getpid(), "host": platform.node(), "since": _now()}
    write_whole(_name(work, "holder"), json.dumps(who).encode())


@contextmanager
def noting(work: Path) -> Iterator[None]:
    """Leave a note of what ends the work before its time, for :mod:`geoseg.runfolder.status`."""
    try:
        yield
    except BaseException as exc:
        if _name(work, "holder").exists():
            message = "stopped by the user" if isinstance(exc, KeyboardInterrupt) else redact(str(exc))
            note = {"time": _now(), "error": type(exc).__name__, "message": message}
            with suppress(WriteError):
                write_whole(_name(work, "error"), json.dumps(note, ensure_ascii=False).encode("utf-8", "replace"))
        raise


def read_note(work: Path, kind: Kind) -> dict[str, Any]:
    """Return who worked here last, or what ended that before its time; empty if nothing was noted."""
    try:
        note = json.loads(_name(work, kind).read_bytes())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _name(work: Path, kind: Kind) -> Path:
    return work / f"{kind}.json"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
