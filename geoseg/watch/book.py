"""``watch.json``: every source of a watched folder, and how far it is."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from geoseg.errors import RunFolderError
from geoseg.io.files import write_whole
from geoseg.watch.sources import Source, Stamp

BOOK_NAME, GATHERED_NAME = "watch.json", "watch.gpkg"
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
    """The sources that were seen so far; written whole with each change.

    Args:
        folder: The output folder.

    Raises:
        RunFolderError: If there is a book that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / BOOK_NAME
        self._entries = {entry.source: entry for entry in _read(self._path)}

    def __iter__(self) -> Any:
        return iter(self._entries.values())

    def find(self, source: str) -> Entry | None:
        """Return what is known of a source."""
        return self._entries.get(source)

    def enter(self, source: Source) -> Entry:
        """Return a new entry for a source, under a name that no other has and that it keeps."""
        known = self._entries.get(source.name)
        name, run = (known.name, known.run) if known else (self._choose_name(source), None)
        entry = Entry(name=name, source=source.name, stamp=source.stamp, run=run)
        self._entries[source.name] = entry
        return entry

    def change(self, entry: Entry, **values: Any) -> Entry:
        """Replace an entry and write the book.

        Raises:
            WriteError: If the disk does not take it.
        """
        self._entries[entry.source] = replace(entry, **values)
        self.write()
        return self._entries[entry.source]

    def forget(self, sources: Iterable[str]) -> None:
        """Leave sources out that are gone and were never segmented."""
        for source in sources:
            self._entries.pop(source, None)

    def write(self) -> None:
        """Write the book.

        Raises:
            WriteError: If the disk does not take it.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        table = {"updated": now, "sources": [asdict(entry) for entry in self._entries.values()]}
        write_whole(self._path, (json.dumps(table, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace"))

    def _choose_name(self, source: Source) -> str:
        taken = {entry.name for entry in self._entries.values()} | {BOOK_NAME, GATHERED_NAME}
        plain = source.name if source.path.is_dir() else source.path.stem
        return plain if plain not in taken else f"{plain}-{hashlib.sha256(source.name.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _read(path: Path) -> list[Entry]:
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["sources"]
        return [Entry(**{**row, "stamp": Stamp(**row["stamp"]), "bounds": tuple(row["bounds"]) if row["bounds"] else None}) for row in rows]
    except (OSError, ValueError, TypeError, LookupError) as exc:
        raise RunFolderError(f"{path} could not be read: {exc}. Move it away; finished runs beside it are taken up again.") from exc
