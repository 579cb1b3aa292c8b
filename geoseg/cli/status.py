"""``geoseg status``: what is going on in a run folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.cli.tables import print_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoseg.runfolder.status import Status


def status(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Run folder.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show how far the run in OUT is, whether it is running, and how to go on. Reads only."""
    import json
    from dataclasses import asdict

    from geoseg.runfolder.status import read_status

    found = read_status(output)
    if as_json:
        print(json.dumps(asdict(found), indent=2, ensure_ascii=False))
        return
    print_table(f"Run in {output}", ("what", "value"), _rows(found))


def _rows(found: "Status") -> "Iterator[tuple[str, str]]":
    yield "state", found.state
    if found.chunks_done is not None:
        yield "chunks", f"{found.chunks_done} of {'unknown, its model is gone' if found.chunks is None else found.chunks}"
    if found.chunks_per_min is not None:
        yield "rate", f"{found.chunks_per_min:g} chunks/min"
    if found.left_s is not None:
        yield "time left", f"{found.left_s / 60:.1f} min until all chunks are done"
    for name in ("run_id", "source", "model", "holder", "last_error"):
        if getattr(found, name) is not None:
            yield name.replace("_", " "), getattr(found, name)
    if found.quick is not None:
        yield "first map", f"{found.quick['factor']} times as coarse; {found.quick['chunks_done']} chunks are in it in full"
    if found.products:
        yield "products", ", ".join(found.products)
    yield from (("missing", missing) for missing in found.missing)
    yield from (("warning", warning) for warning in found.warnings)
    if found.next is not None:
        yield "next", found.next
