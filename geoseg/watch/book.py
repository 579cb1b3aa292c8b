"""``watch.json``: every source of a watched folder, and how far it is."""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from geoseg.errors import RunFolderError
from geoseg.io.files import write_error, write_whole
from geoseg.watch.sources import Source, Stamp

BOOK_NAME, GATHERED_NAME = "watch.json", "watch.gpkg"
JOURNAL_NAME = ".watch.jsonl"
"""Hidden, as no source is whose name a run folder could take."""
_LINES = 0.01
"""Of the number of sources: so many changes are at most in the journal only."""
_SHARE = 0.05
"""Of the time, that writing all sources may take beyond that."""
State = Literal["waiting", "running", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One source."""

    name: str
    """Name of its run folder, and of its rows in the GeoPackage."""
    source: str
    """Its name in the watched folder."""
    stamp: Stamp
    """What it was like when it came into this state."""
    state: State = "waiting"
    """``waiting`` is also what is still being written."""
    run: str | None = None
    """Its run folder, from the folder of the book; None before it was begun, so that what stands there is not replaced."""
    seconds: float | None = None
    """What the last attempt took."""
    error: str | None = None
    """Why it failed, or what it lacks."""
    bounds: tuple[float, float, float, float] | None = None
    """West, south, east and north in degrees, once known."""
    is_final: bool = True
    """Whether what failed is only tried again when the source has changed, and not with the next start."""


class WatchBook:
    """The sources that were seen so far. Each change is on disk before it counts, at a cost that does not grow with their number.

    ``watch.json`` is written whole with each change while there are few. Of many, changes are lines of a journal beside it, and it is
    written anew after as many of them as a hundredth of the sources, or when that takes less than a twentieth of the time.
    :func:`read_rows` sees both.

    Args:
        folder: The output folder.

    Raises:
        RunFolderError: If there is a book that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._path, self._journal = folder / BOOK_NAME, folder / JOURNAL_NAME
        try:
            self._generation, rows = _read(folder)
            self._entries = {entry.source: entry for entry in map(_to_entry, rows)}
        except (OSError, ValueError, TypeError, LookupError) as exc:
            raise RunFolderError(
                f"{self._path} could not be read: {exc}. Move it away; finished runs beside it are taken up again."
            ) from exc
        self._taken = {entry.name for entry in self._entries.values()} | {BOOK_NAME, GATHERED_NAME}
        self._changed: dict[str, None] = {}
        """Sources whose changes are not on disk yet, in order."""
        self._lines = 0
        self._is_whole = False
        """Whether snapshot and journal are this book's own, and hold all but those."""
        self._written, self._took_s = 0.0, 0.0

    def __iter__(self) -> Any:
        return iter(self._entries.values())

    def find(self, source: str) -> Entry | None:
        """Return what is known of a source."""
        return self._entries.get(source)

    def enter(self, source: Source) -> Entry:
        """Return a new entry for a source, under a name that no other has and that it keeps; :meth:`write` puts it on disk."""
        known = self._entries.get(source.name)
        name, run = (known.name, known.run) if known else (self._choose_name(source), None)
        entry = Entry(name=name, source=source.name, stamp=source.stamp, run=run)
        self._taken.add(name)
        self._put(entry)
        return entry

    def change(self, entry: Entry, **values: Any) -> Entry:
        """Replace an entry and write it.

        Raises:
            WriteError: If the disk does not take it.
        """
        changed = replace(entry, **values)
        self._put(changed)
        self.write()
        return changed

    def forget(self, sources: Iterable[str]) -> None:
        """Leave sources out that are gone and were never segmented; :meth:`write` says so on disk."""
        for source in sources:
            entry = self._entries.pop(source, None)
            if entry is not None:
                self._taken.discard(entry.name)
                self._changed[source] = None

    def write(self) -> None:
        """Write what has changed; the first time all of it.

        Raises:
            WriteError: If the disk does not take it.
        """
        if self._is_due():
            self._write_whole()
        elif self._changed:
            self._append()
        self._changed.clear()

    def _put(self, entry: Entry) -> None:
        self._entries[entry.source] = entry
        self._changed[entry.source] = None

    def _is_due(self) -> bool:
        lines = self._lines + len(self._changed)
        is_cheap = time.monotonic() - self._written >= self._took_s / _SHARE
        return not self._is_whole or lines > len(self._entries) * _LINES or is_cheap

    def _write_whole(self) -> None:
        began = time.monotonic()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        # lines after another snapshot count no more, also where the journal cannot be removed
        generation = self._generation + 1
        table = {"updated": now, "generation": generation, "sources": [asdict(entry) for entry in self._entries.values()]}
        write_whole(self._path, (json.dumps(table, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
        with suppress(OSError):
            self._journal.unlink(missing_ok=True)
        self._generation, self._lines, self._is_whole = generation, 0, True
        self._written = time.monotonic()
        self._took_s = self._written - began

    def _append(self) -> None:
        rows = [{"source": source, **self._describe(source), "after": self._generation} for source in self._changed]
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace")
        try:
            with self._journal.open("ab") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as exc:
            # a line may be cut off now
            self._is_whole = False
            raise write_error(self._journal, exc) from exc
        self._lines += len(rows)

    def _describe(self, source: str) -> dict[str, Any]:
        entry = self._entries.get(source)
        return {"forgotten": True} if entry is None else asdict(entry)

    def _choose_name(self, source: Source) -> str:
        plain = source.name if source.path.is_dir() else source.path.stem
        return plain if plain not in self._taken else f"{plain}-{hashlib.sha256(source.name.encode('utf-8', 'replace')).hexdigest()[:8]}"


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the sources of the book in a folder as ``watch.json`` has them, with what its journal adds; none if there is no book.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is damaged.
        LookupError: If it is none.
        TypeError: If it is none.
    """
    return _read(folder)[1]


def _read(folder: Path) -> tuple[int, list[dict[str, Any]]]:
    path = folder / BOOK_NAME
    if not path.exists():
        return 0, []
    table = json.loads(path.read_text(encoding="utf-8"))
    rows = {row["source"]: row for row in table["sources"]}
    # earlier versions counted none
    generation = int(table.get("generation", 0))
    for row in _read_journal(folder / JOURNAL_NAME):
        if row.pop("after", None) != generation:
            continue
        if row.get("forgotten"):
            rows.pop(row["source"], None)
        else:
            rows[row["source"]] = row
    return generation, list(rows.values())


def _read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a journal; what was cut off was never said to be written."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        with suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict):
                yield row


def _to_entry(row: dict[str, Any]) -> Entry:
    return Entry(**{**row, "stamp": Stamp(**row["stamp"]), "bounds": tuple(row["bounds"]) if row["bounds"] else None})
