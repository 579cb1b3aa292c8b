"""``geoseg regularize``: building outlines of any vector file, straightened."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Buildings = Annotated[Path, typer.Argument(metavar="POLYGONS", help="Vector file of building outlines, in any CRS.", show_default=False)]
File = Annotated[Path, typer.Option("-o", "--output", help="File to write: .gpkg, .fgb, .geojson or .shp.", show_default=False)]
Method = Annotated[
    Literal["right_angles", "right_angles_and_diagonals", "any_angle", "circle"], typer.Option("--method", help="What outlines become.")
]
Tolerance = Annotated[float, typer.Option("--tolerance", metavar="M", help="How far an outline may move, metres on the ground.")]
MinIou = Annotated[
    float, typer.Option("--min-iou", metavar="SHARE", help="Intersection over union with the input below which an outline stays.")
]
Layer = Annotated[str | None, typer.Option("--layer", metavar="NAME", help="Layer of POLYGONS.  [default: the first]", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]


def regularize(
    polygons: Buildings,
    output: File,
    method: Method = "right_angles",
    tolerance: Tolerance = 1.5,
    min_iou: MinIou = 0.7,
    layer: Layer = None,
    overwrite: Overwrite = False,
) -> None:
    """Straighten the outlines of buildings in POLYGONS; none moves farther than the tolerance or into a neighbor."""
    from geoseg.objects.options import RegularizeMethod, RegularizeOptions
    from geoseg.products.outlines import OutlineOptions, regularize_file

    drawing = RegularizeOptions(method=RegularizeMethod(method), tolerance_m=tolerance, min_iou=min_iou)
    counts = regularize_file(polygons, output, OutlineOptions(drawing=drawing, layer=layer, overwrite=overwrite))
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    typer.echo(f"{sum(counts.values())} outlines ({said}): {output}")
