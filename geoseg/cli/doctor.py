"""``geoseg doctor``: does everything that geoseg stands on work here?"""

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    self_test: Annotated[bool, typer.Option("--self-test/--no-self-test", help="Also run the shipped model on each backend.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Examine this installation and machine, and say what to do about each problem. Exit code 1 if something is broken."""
    import json
    from dataclasses import asdict

    from geoseg.doctor.examine import examine

    findings = []
    for found in examine(Path.cwd(), self_test=self_test):
        findings.append(found)
        if not as_json:
            typer.secho(f"{found.state:<8}", fg={"ok": "green", "warning": "yellow", "failed": "red"}[found.state], nl=False)
            typer.echo(f"{found.name}: {found.message}")
            if found.advice:
                typer.echo(f"{'':<8}-> {found.advice}")
    broken = [found for found in findings if found.state == "failed"]
    if as_json:
        typer.echo(json.dumps({"ok": not broken, "findings": [asdict(found) for found in findings]}, indent=2, ensure_ascii=False))
    elif broken:
        typer.echo(f"{len(broken)} things are broken.")
    else:
        typer.echo("All is well." if all(found.state == "ok" for found in findings) else "It works; see the warnings.")
    if broken:
        raise typer.Exit(1)
