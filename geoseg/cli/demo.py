"""``geoseg demo``: the main job on a drawn scene."""

import time
from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli import options as o
from geoseg.cli.tables import print_table


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the demo.")] = Path("demo"),
    size: Annotated[int, typer.Option(help="Side of the scene in pixels of 0.3 m.")] = 2048,
    seed: Annotated[int, typer.Option(help="Another number draws another scene.")] = 1,
    progress: o.Progress = "auto",
) -> None:
    """Draw an orthophoto, segment it with the shipped model, and compare the result with the truth."""
    from geoseg.cli.progress import show_progress
    from geoseg.demo import run_demo
    from geoseg.scene import SceneOptions

    began = time.monotonic()
    with show_progress(progress) as listener:
        result = run_demo(output, SceneOptions(height_px=size, width_px=size, seed=seed), listener)
    buildings = f"{result.buildings_drawn} / {result.buildings_found} / {result.buildings_matched}"
    rows = [(f"IoU {name}", f"{value:.2f}") for name, value in result.iou.items()]
    rows.append(("buildings drawn / found / matched (IoU 0.5)", buildings))
    rows.append(("road centrelines found", f"{result.road_length_m / 1000:.1f} km"))
    print_table("geoseg demo", ("against the truth of the drawing", ""), rows)
    typer.echo("The model has seen other drawn scenes: the numbers show that the line works, not how good it is elsewhere.")
    for what, path in (("Scene", result.raster), ("Run folder", result.run), ("Overview picture", result.picture)):
        typer.echo(f"{what}: {path}")
    typer.echo(f"{time.monotonic() - began:.0f} s. Now a raster of your own: geoseg segment city.tif -o out/")
