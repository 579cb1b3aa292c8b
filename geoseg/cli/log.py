"""Structured log lines beside the progress that a terminal shows."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from geoseg.errors import WriteError
from geoseg.events import Event, Listener, Warned
from geoseg.redact import redact_all


@contextmanager
def log_to(path: Path | None, listener: Listener) -> Iterator[Listener]:
    """Write each event, and the error that ends the work, as a line of JSON at the end of a file, and pass events on.

    A line has ``time`` (UTC), ``level`` (``info``, ``warning`` or ``error``), ``event`` and ``fields``; secrets are hidden. Lines are
    flushed one by one, so that a killed run leaves all that it said.

    Args:
        path: The file, outside of the run folder; None logs nothing.
        listener: Takes the events as well.

    Raises:
        WriteError: If the file cannot be opened.
    """
    if path is None:
        yield listener
        return
    try:
        stream = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
    except OSError as exc:
        raise WriteError(f"The log {path} cannot be written: {exc}. Choose another file with --log-json.") from exc
    with stream:

        def log(event: Event) -> None:
            _write(stream, "warning" if isinstance(event, Warned) else "info", type(event).__name__, asdict(event))
            listener(event)

        try:
            yield log
        except BaseException as exc:
            _write(stream, "error", "Failed", {"error": type(exc).__name__, "message": str(exc)})
            raise


def _write(stream: IO[str], level: str, event: str, fields: dict[str, Any]) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"time": now, "level": level, "event": event, "fields": redact_all(fields)}
    stream.write(json.dumps(line, ensure_ascii=False) + "\n")
