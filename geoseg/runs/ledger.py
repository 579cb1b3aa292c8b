"""The ledger of a run list: one line for each raster that ended, whoever did it."""

import errno
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from geoseg.errors import WriteError
from geoseg.redact import redact

State = Literal["done", "incomplete", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How a raster ended."""

    name: str
    """Name of its run folder."""
    raster: str
    """The raster; secrets of its address are hidden."""
    state: State
    """``incomplete`` is finished but for some chunks."""
    elapsed_s: float
    """Seconds that the last attempt took."""
    attempts: int
    """How often it was tried."""
    ended: float
    """Time of day, in seconds since 1970."""
    warnings: tuple[str, ...] = ()
    """What its run warned of."""
    error: str | None = None
    """Why it failed, or what is missing."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """A file of JSON lines that several processes may append to at a time; the last line of a name counts."""

    path: Path
    """The file."""

    def add(self, entry: Entry) -> None:
        """Append a line: one write to a file opened for appending, so that lines of several processes do not mix.

        Raises:
            WriteError: If the disk does not take it.
        """
        fields = asdict(entry) | {"raster": redact(entry.raster), "error": redact(entry.error) if entry.error else None}
        line = (json.dumps(fields, ensure_ascii=False) + "\n").encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            target = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                end = os.fstat(target).st_size
                if end and os.pread(target, 1, end - 1) != b"\n":
                    # a line that was cut off must not take this one with it
                    line = b"\n" + line
                if os.write(target, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(target)
        except OSError as exc:
            raise WriteError(f"{self.path} could not be written: {exc}. Make room; the same command again goes on.") from exc

    def read(self) -> dict[str, Entry]:
        """Return the last line of each name; a line that was cut off counts for nothing."""
        return self.read_on(0)[0]

    def read_on(self, offset: int) -> tuple[dict[str, Entry], int]:
        """Return the last line of each name from a place in the file on, and the place to go on from when others have added lines."""
        entries: dict[str, Entry] = {}
        if not self.path.exists():
            return entries, offset
        with self.path.open("rb") as stream:
            stream.seek(offset)
            content = stream.read()
        whole = content[: content.rfind(b"\n") + 1]
        for line in whole.decode("utf-8", "replace").split("\n"):
            try:
                fields = json.loads(line)
                entry = Entry(**{**fields, "warnings": tuple(fields["warnings"])})
            except (ValueError, TypeError, KeyError):
                continue
            entries[entry.name] = entry
        return entries, offset + len(whole)
