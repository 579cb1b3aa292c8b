"""What a section of the benchmarks hands in, and how it is shown."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table

Value = float | int | str
_WIDTH = 190


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement, or the reason why there is none."""

    section: str
    """Which part of the benchmarks."""
    what: dict[str, Value]
    """What was measured: settings by name."""
    values: dict[str, Value] = field(default_factory=dict)
    """What came out: numbers by name and unit; empty where nothing was measured."""
    note: str = ""
    """What to know, or why it was not measured."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


def show(rows: Iterable[Row]) -> None:
    """Print one table for each section."""
    console = Console(width=_WIDTH)
    for section, group in groupby(rows, key=lambda row: row.section):
        found = list(group)
        settings = list(dict.fromkeys(name for row in found for name in row.what))
        numbers = list(dict.fromkeys(name for row in found for name in row.values))
        table = Table(*settings, title=section, title_justify="left")
        for name in numbers:
            table.add_column(name, justify="right")
        for row in found:
            table.add_row(*(str(row.what.get(name, "")) for name in settings), *(str(row.values.get(name, "")) for name in numbers))
        console.print(table)
        for row in found:
            if row.note:
                console.print(f"{', '.join(map(str, row.what.values()))}: {row.note}", highlight=False, markup=False)
