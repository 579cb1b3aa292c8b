"""The run that is checked, and what a check says of it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from geoseg.pixels.classes import ClassScheme
from geoseg.runfolder.folder import RunFolder
from geoseg.runfolder.report import read_scheme

State = Literal["ok", "failed", "skipped"]
MOST_FAULTS = 5
"""Faults that one check names; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What came of one check."""

    name: str
    """Short name, for example ``checksums``."""
    state: State
    """Whether all is well; ``skipped`` where there is nothing to check."""
    message: str
    """What was looked at, or what is wrong, with numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRun:
    """A finished run as its record, its summary and its item describe it."""

    folder: RunFolder
    """Where it lies."""
    record: dict[str, Any]
    """``run.toml``."""
    summary: dict[str, Any]
    """``summary.json``."""
    item: dict[str, Any]
    """``item.json``."""

    @property
    def scheme(self) -> ClassScheme:
        """The classes that the summary names."""
        return read_scheme(self.summary["classes"])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns that the summary names."""
        return int(self.summary["source"]["height_px"]), int(self.summary["source"]["width_px"])

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of things that the summary names."""
        return dict(self.summary["counts"])

    def product(self, name: str) -> Path | None:
        """Return the path of a product; None if it is not there."""
        path = self.folder.path / name
        return path if path.exists() else None

    def rasters(self) -> list[Path]:
        """Return the rasters that are there."""
        return sorted(self.folder.path.glob("*.tif"))


Faults = Iterable[str]
"""What is wrong, one sentence each."""
Looks = Callable[[CheckedRun], Faults]
"""Looks for faults; raises ``LookupError`` if there is nothing to look at."""


def name_faults(faults: Faults) -> Iterator[str]:
    """Return the first faults and how many more there are; all of them are looked for."""
    count = 0
    for count, fault in enumerate(faults, start=1):
        if count <= MOST_FAULTS:
            yield fault
    if count > MOST_FAULTS:
        yield f"and {count - MOST_FAULTS} more"
