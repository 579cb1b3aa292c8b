"""``geoseg view``: a map of runs in the browser, on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.cli import options as o

if TYPE_CHECKING:
    from geoseg.config import RunConfig

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="OUT...",
        help="Run folder, finished or not; a folder of runs; two runs, before and after; or a raster, segmented where one looks at it.",
        show_default=False,
    ),
]
Keep = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Run folder for what is segmented.  [default: the user's cache folder]", show_default=False),
]
Host = Annotated[str, typer.Option("--host", help="Address to answer at; others than this machine's own need the token that is printed.")]
Port = Annotated[
    int | None, typer.Option("--port", metavar="N", min=0, max=65535, help="0 takes a free one.  [default: 8765, or a free one]")
]
Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the map in the browser.")]
Attended = Annotated[bool, typer.Option("--attended", help="End when standard input does: whoever started it is gone.")]


def view(
    paths: Paths,
    model: o.Model = None,
    output: Keep = None,
    bands: o.Bands = None,
    assume_crs: o.AssumeCrs = None,
    warp: o.Warp = None,
    halo: o.HaloSize = None,
    device: o.Device = None,
    memory: o.Memory = None,
    host: Host = "127.0.0.1",
    port: Port = None,
    browser: Browser = True,
    attended: Attended = False,
) -> None:
    """Show runs on a map in the browser: offline, from this machine only. Ctrl-C ends it."""
    given = o.collect(model=model, output=output, bands=bands, assume_crs=assume_crs, warp=warp, halo=halo, device=device, memory=memory)
    folders, config = _sort_out(paths, given)
    from geoseg.cli.stop import leave, leave_signals_to_server
    from geoseg.view import make_app
    from geoseg.view.serve import allowed_hosts, bind, describe_address, describe_elsewhere, end_with_input, make_token, open_browser, serve

    token = make_token(host)
    app = make_app(folders, config, keep=output is not None, token=token, hosts=allowed_hosts(host))
    taken = bind(host, port)
    port = taken.getsockname()[1]
    address, elsewhere = describe_address(host, port, token), describe_elsewhere(host, port, token)

    def tell() -> None:
        print(f"Map at {address}  (Ctrl-C ends it)", flush=True)
        if elsewhere is not None:
            print(f"From other machines: {elsewhere}", flush=True)
        if browser:
            open_browser(address)

    leave_signals_to_server()
    if attended:
        end_with_input()
    try:
        serve(app, taken, tell)
    except KeyboardInterrupt:
        leave(0, "The map is closed.")


def _sort_out(paths: list[str], given: dict[str, object]) -> "tuple[list[str], RunConfig | None]":
    """Tell run folders from rasters.

    Raises:
        UsageError: If both are given, or options of a run without a raster.
    """
    from geoseg.config import make_config
    from geoseg.errors import UsageError

    if all(Path(path).is_dir() for path in paths) and not given:
        return paths, None
    folders = [path for path in paths if (Path(path) / "run.toml").exists()]
    if folders:
        raise UsageError(f"{folders[0]} is a run, which is shown as it is: leave the other rasters and the options of a run out.")
    return [], make_config(o.collect(raster=paths) | {"output": "view", **given})
