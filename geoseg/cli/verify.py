"""``geoseg verify``: is a run folder what it was when it was made?"""

from pathlib import Path
from typing import Annotated

import typer


def verify(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Run folder.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the run in OUT: checksums, COGs, grids, legend, counts, ids, shapes, coverage. Exit code 1 if something is wrong."""
    import json
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from geoseg.runfolder.verify import verify_run

    verdict = verify_run(output)
    if as_json:
        print(json.dumps(asdict(verdict) | {"ok": not verdict.failed}, indent=2, ensure_ascii=False))
    else:
        colors = {"ok": "green", "failed": "bold red", "skipped": "dim"}
        table = Table(Column("check"), Column("result"), Column("what", overflow="fold"), title=f"Run in {output}", title_justify="left")
        for check in verdict.checks:
            table.add_row(check.name, Text(check.state, style=colors[check.state]), Text(check.message))
        Console().print(table)
        for check in verdict.failed:
            print(f"{check.name}: {check.message}")
    if verdict.failed:
        raise typer.Exit(1)
