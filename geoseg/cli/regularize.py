"""``geoseg regularize``: building outlines of any vector file, straightened."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Buildings = Annotated[Path, typer.Argument(metavar="POLYGONS", help="Vector file of building outlines, in any CRS.", show_default=False)]
File = Annotated[Path, typer.Option("-o", "--output", help="File to write: .gpkg, .fgb, .geojson or .shp.", show_default=False)]
Method = Annotated[
    Literal["right_angles", "right_angles_and_diagonals", "any_angle", "circle"],
    typer.Option("--method", case_sensitive=False, help="What outlines become."),
]
Tolerance = Annotated[float, typer.Option("--tolerance", metavar="M", help="How far an outline may move, metres on the ground.")]
DiagonalPenalty = Annotated[
    float,
    typer.Option(
        "--diagonal-penalty", metavar="X", min=0, help="Extra price of a diagonal wall in prices of a wall; 0 makes diagonals as likely."
    ),
]
CornerPrice = Annotated[
    float, typer.Option("--corner-price", metavar="X", min=0, help="What a further wall must gain; more gives plainer outlines.")
]
MinRadius = Annotated[float, typer.Option("--min-radius", metavar="M", help="Smaller circles are not drawn.")]
MaxRadius = Annotated[float, typer.Option("--max-radius", metavar="M", help="Larger circles are not drawn.")]
MinIou = Annotated[
    float, typer.Option("--min-iou", metavar="SHARE", help="Intersection over union with the input below which an outline stays.")
]
Layer = Annotated[
    str | None, typer.Option("--layer", metavar="NAME", help="Layer of POLYGONS; needed if there are several.", show_default=False)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]


def regularize(
    polygons: Buildings,
    output: File,
    method: Method = "right_angles",
    tolerance: Tolerance = 1.5,
    diagonal_penalty: DiagonalPenalty = 1.5,
    corner_price: CornerPrice = 0.3,
    min_radius: MinRadius = 0.5,
    max_radius: MaxRadius = 100.0,
    min_iou: MinIou = 0.7,
    layer: Layer = None,
    overwrite: Overwrite = False,
) -> None:
    """Straighten the outlines of buildings in POLYGONS; none moves farther than the tolerance or into a neighbor."""
    from geoseg.objects.options import RegularizeMethod, RegularizeOptions
    from geoseg.products.outlines import OutlineOptions, regularize_file

    drawing = RegularizeOptions(
        method=RegularizeMethod(method.lower()),
        tolerance_m=tolerance,
        corner_price=corner_price,
        diagonal_penalty=diagonal_penalty,
        min_radius_m=min_radius,
        max_radius_m=max_radius,
        min_iou=min_iou,
    )
    counts = regularize_file(polygons, output, OutlineOptions(drawing=drawing, layer=layer, overwrite=overwrite))
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    typer.echo(f"{sum(counts.values())} outlines ({said}): {output}")
