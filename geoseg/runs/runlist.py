"""Run lists: which rasters, under what names, in what order."""

import csv
import glob
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import MissingFileError, UsageError
from geoseg.io.sources.gather import RASTER_SUFFIXES
from geoseg.io.sources.stac import is_stac, read_items

_LIST_SUFFIXES = {".txt", ".csv"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunItem:
    """One raster of a list."""

    raster: str
    """File name or GDAL connection string."""
    name: str
    """Name of its run folder."""
    priority: float = 0.0
    """Higher ones come first."""


def read_run_list(given: str) -> tuple[RunItem, ...]:
    """Read a list of rasters.

    Args:
        given: A folder, whose rasters are all taken; a pattern such as ``images/**/*.tif``; or a list: a text file with one raster
            in a line (``#`` begins a comment) or a CSV with the columns ``raster`` and, if wanted, ``name`` and ``priority``.
            Paths in lists start from the list's folder. Or STAC: a collection of items, or the address of one or of a search, which
            is made now; each item is a raster of its own, called by its id.

    Returns:
        The rasters, those of high priority first, otherwise in their order. Names are those of the files; where two files have the
        same, part of a checksum of the path is added, so that each keeps its name whatever else is in the list.

    Raises:
        MissingFileError: If there is no such file or folder.
        UsageError: If it names no raster, or a line cannot be read.
        RasterError: If STAC cannot be read.
    """
    path = Path(given)
    if is_stac(given):
        found = list(_read_stac(given))
    elif path.is_dir():
        found = [(str(p), "", 0.0) for p in sorted(path.rglob("*")) if p.suffix.lower() in RASTER_SUFFIXES and p.is_file()]
    elif path.suffix.lower() in _LIST_SUFFIXES:
        found = list(_read_list(path))
    else:
        found = [(name, "", 0.0) for name in sorted(glob.glob(given, recursive=True)) if Path(name).is_file()]
    if not found:
        raise UsageError(f"{given} names no raster. Give a folder, a pattern such as 'images/*.tif', a list (.txt, .csv) or STAC items.")
    return tuple(sorted(_name_all(found), key=lambda item: -item.priority))


def _read_stac(given: str) -> Iterator[tuple[str, str, float]]:
    """Yield items, those on the web by addresses of their own where they have them, so that a search is not made again for each."""
    plain = given.partition("#")[0]
    found: list[tuple[str, str]] = []
    for item, base in read_items(given):
        called = str(item.get("id") or "")
        if not called:
            raise UsageError(f"An item of {given} has no id, so that its run folder has no name. Correct it with a STAC validator.")
        has_own = "://" in plain and base != plain and is_stac(base)
        found.append((base if has_own else f"{plain}#{called}", _plain(called) or "item"))
    taken = Counter(name for _, name in found)
    for raster, name in found:
        # ids may differ by what no folder is called, and collections may share them
        yield raster, name if taken[name] == 1 else f"{name}-{_checksum(raster)}", 0.0


def _read_list(path: Path) -> Iterator[tuple[str, str, float]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as exc:
        raise MissingFileError(f"There is no list {path}. Check the path.") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"The list {path} could not be read: {exc}. Expected UTF-8 text.") from exc
    if path.suffix.lower() == ".csv":
        yield from _read_csv(path, text)
        return
    for line in text.splitlines():
        name = line.partition("#")[0].strip()
        if name:
            yield _from_folder(path, name), "", 0.0


def _read_csv(path: Path, text: str) -> Iterator[tuple[str, str, float]]:
    rows = csv.DictReader(text.splitlines())
    columns = set(rows.fieldnames or ())
    unknown = columns - {"raster", "name", "priority"}
    if "raster" not in columns or unknown:
        raise UsageError(
            f"{path} has the columns {', '.join(rows.fieldnames or ())}; raster, and if wanted name and priority, were expected."
        )
    for row in rows:
        try:
            priority = float(row.get("priority") or 0)
            if math.isnan(priority):
                raise ValueError("nan")
        except ValueError as exc:
            raise UsageError(f"Line {rows.line_num} of {path}: priority {row['priority']!r} is no number.") from exc
        if not (row["raster"] or "").strip():
            raise UsageError(f"Line {rows.line_num} of {path} names no raster.")
        yield _from_folder(path, row["raster"].strip()), (row.get("name") or "").strip(), priority


def _from_folder(path: Path, name: str) -> str:
    if "://" in name or name.startswith("/vsi"):
        return name
    return str(path.parent / name)


def _name_all(found: Iterable[tuple[str, str, float]]) -> Iterator[RunItem]:
    rows = list(found)
    taken = Counter(name or _stem(raster) for raster, name, _ in rows)
    used: set[str] = set()
    for raster, name, priority in rows:
        plain = name or _stem(raster)
        if name and (taken[plain] > 1 or Path(name).name != name or name == ".."):
            raise UsageError(
                f"The name {name!r} of {raster} is taken twice or is no plain name. Give each raster a folder name of its own."
            )
        own = plain if taken[plain] == 1 else f"{plain}-{_checksum(raster)}"
        if own in used:
            raise UsageError(f"{raster} stands in the list twice. Remove one of the lines.")
        used.add(own)
        yield RunItem(raster=raster, name=own, priority=priority)


def _stem(raster: str) -> str:
    if is_stac(raster) and "#" in raster:
        return _plain(raster.rpartition("#")[2])
    return Path(raster.partition("?")[0]).stem or "raster"


def _checksum(raster: str) -> str:
    return hashlib.sha256(raster.encode()).hexdigest()[:8]


def _plain(called: str) -> str:
    """Return a name that a folder may have."""
    return re.sub(r"[^\w.-]+", "_", called).strip(".")
