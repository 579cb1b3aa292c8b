"""``geoseg vectorize``: polygons of any class raster."""

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

ClassMap = Annotated[str, typer.Argument(metavar="CLASSMAP", help="Raster of class values: any file that GDAL reads.", show_default=False)]
File = Annotated[Path, typer.Option("-o", "--output", help="File to write: .gpkg, .fgb, .geojson or .shp.", show_default=False)]
Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance", metavar="M", help="How far borders may move, metres on the ground; 0 keeps pixel edges.  [default: 1.5 pixels]"
    ),
]
Method = Annotated[
    Literal["douglas-peucker", "visvalingam"],
    typer.Option("--method", help="visvalingam takes out triangles smaller than the tolerance squared."),
]
Smooth = Annotated[int, typer.Option("--smooth", metavar="N", help="Rounds of corner cutting, 0 to 5; each doubles the vertices.")]
MinArea = Annotated[
    float, typer.Option("--min-area", metavar="M2", help="Merge smaller patches into the neighbor with the longest border.")
]
Connectivity = Annotated[Literal["4", "8"], typer.Option("--connectivity", help="8 joins pixels that touch diagonally.")]
Band = Annotated[int, typer.Option("--band", metavar="N", help="Band of class values, from 1.")]
Nodata = Annotated[int | None, typer.Option("--nodata", metavar="V", help="Value without polygons, beside the raster's own nodata.")]
Names = Annotated[
    list[str] | None, typer.Option("--classes", metavar="NAME=VALUE", help="Name of a value; repeat it.  [default: the raster's names]")
]
Layer = Annotated[str | None, typer.Option("--layer", metavar="NAME", help="Layer in the file.  [default: the file's name]")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]


def vectorize(
    class_map: ClassMap,
    output: File,
    tolerance: Tolerance = None,
    method: Method = "douglas-peucker",
    smooth: Smooth = 0,
    min_area: MinArea = 0.0,
    connectivity: Connectivity = "4",
    band: Band = 1,
    nodata: Nodata = None,
    classes: Names = None,
    layer: Layer = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw polygons around the patches of CLASSMAP, as a coverage without gaps and overlaps."""
    from geoseg.objects.vectorize import VectorizeOptions
    from geoseg.products.classmap import ClassMapOptions, parse_names, vectorize_class_map

    drawing = VectorizeOptions(
        simplify_m=tolerance or 0.0,
        method=method,
        smooth_rounds=smooth,
        min_area_m2=min_area,
        connectivity=cast(Literal[4, 8], int(connectivity)),
    )
    options = ClassMapOptions(
        drawing=drawing,
        default_tolerance=tolerance is None,
        band=band,
        nodata=nodata,
        names=parse_names(classes or []),
        layer=layer,
        overwrite=overwrite,
    )
    typer.echo(f"{vectorize_class_map(class_map, output, options)} polygons: {output}")
