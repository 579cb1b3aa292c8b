"""``geoseg verify``: is a run folder what it was when it was made?"""

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli.tables import print_table


def verify(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Run folder.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the run in OUT: checksums, COGs, grids, legend, counts, ids, shapes, coverage. Exit code 1 if something is wrong."""
    import json
    from dataclasses import asdict

    from geoseg.runfolder.verify import verify_run

    verdict = verify_run(output)
    if as_json:
        print(json.dumps(asdict(verdict) | {"ok": not verdict.failed}, indent=2, ensure_ascii=False))
    else:
        colors = {"ok": "green", "failed": "bold red", "skipped": "dim"}
        rows = [(check.name, check.state, check.message) for check in verdict.checks]
        print_table(f"Run in {output}", ("check", "result", "what"), rows, colors)
        for check in verdict.failed:
            print(f"{check.name}: {check.message}")
    if verdict.failed:
        raise typer.Exit(1)
