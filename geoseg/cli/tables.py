"""Tables and lines on a terminal, word for word: brackets in names of files and classes are no markup."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def open_console(*, stderr: bool = False) -> "Console":
    """Return the terminal, or what stands for it."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False)


def print_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], styles: Mapping[str, str] | None = None) -> None:
    """Print a table; what is too long for its column goes on in the next line.

    Args:
        title: Stands above it.
        head: Names of the columns.
        rows: Cells, as many in each row.
        styles: How a cell with exactly this text looks, in rich's words.
    """
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(*(Column(name, overflow="fold") for name in head), title=title, title_justify="left")
    for row in rows:
        table.add_row(*(Text(cell, style=(styles or {}).get(cell, "")) for cell in row))
    open_console().print(table)
