"""``geoseg models``: list, show, measure, adapt, export and import model packages, and write their graphs."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from geoseg.cli import options as o
from geoseg.cli.tables import print_table
from geoseg.errors import AreaError, ConfigError, GeosegError, UsageError

if TYPE_CHECKING:
    from geoseg.io.raster import RasterSource
    from geoseg.model.package import ModelPackage
    from geoseg.model.spec import ModelSpec

models = typer.Typer(help="List, show, measure, adapt, export and import model packages.", no_args_is_help=True, rich_markup_mode=o.HELP)

Wanted = Annotated[str, typer.Argument(metavar="MODEL", help="Shipped model or folder of a model package.", show_default=False)]
Target = Annotated[Path, typer.Option("-o", "--output", help="What is written; it must not exist.", show_default=False)]


@models.command("list")
def list_models(
    folder: Annotated[Path | None, typer.Option("--folder", help="Also list the packages below this folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: name, bands, resolutions, classes of each.")] = False,
) -> None:
    """List the shipped models and, with --folder, those below a folder; what cannot be read there is named and left out."""
    from geoseg.model.card import outline, summarize
    from geoseg.model.package import packages_below, shipped_models
    from geoseg.model.source import find_model

    found: dict[str, ModelPackage] = {}
    for model in (*shipped_models(), *(packages_below(folder) if folder else ())):
        try:
            found[str(model)] = find_model(model)
        except GeosegError as exc:
            print(f"{model} is left out: {exc}", file=sys.stderr)
    if as_json:
        import json

        print(json.dumps([{"model": model, **outline(package)} for model, package in found.items()], indent=2, ensure_ascii=False))
        return
    head = ("model", "version", "bands", "resolution", "classes", "size", "halo", "accuracy")
    print_table("Models", head, [(model, *summarize(package)) for model, package in found.items()])


@models.command("info")
def show_model(model: Wanted, as_json: Annotated[bool, typer.Option("--json", help="Print the card itself.")] = False) -> None:
    """Show the card of MODEL."""
    from geoseg.model.card import card_rows
    from geoseg.model.package import CARD_NAME
    from geoseg.model.source import find_model

    package = find_model(model)
    if as_json:
        print((package.folder / CARD_NAME).read_text(encoding="utf-8"), end="")
    else:
        print_table(f"{package.spec.name} {package.spec.version}", ("what", "value"), card_rows(package))


@models.command("probe")
def probe_model(
    model: Wanted,
    raster: Annotated[list[str] | None, typer.Option("--raster", help="Raster to measure the halo on; may be given again.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Folder that the paths of the recipe start from.")] = None,
    recipe: Annotated[Path | None, typer.Option("--recipe", help="Training configuration; the halo is measured on its sites.")] = None,
    batches: Annotated[str, typer.Option("--batches", metavar="LIST", help="Batch sizes to time.")] = "1,2,4",
    device: o.Device = None,
    write: Annotated[bool, typer.Option("--write", help="Write what was measured into the card.")] = False,
    bands: o.Bands = None,
    assume_crs: o.AssumeCrs = None,
    warp: o.Warp = None,
    trust_vrt: o.TrustVrt = None,
    stac_sign: o.StacSign = None,
    aoi: o.Aoi = None,
    bbox: o.Bbox = None,
    exclude: o.Exclude = None,
    collar: o.Collar = None,
) -> None:
    """Measure receptive field, halo, speed and memory of MODEL on this machine."""
    from geoseg import probe
    from geoseg.model.device import pick_device
    from geoseg.model.execution import Execution
    from geoseg.model.load import load_predictor
    from geoseg.model.package import find_package, write_card
    from geoseg.model.ports import largest_tile_px

    sizes = _parse_batches(batches)
    package = find_package(model)
    if (data is None) != (recipe is None):
        raise UsageError("--data and --recipe belong together: the recipe names its sites below the data folder.")
    how = {"bands": bands, "assume_crs": assume_crs, "warp": warp, "trust_vrt": trust_vrt, "stac_sign": stac_sign}
    sources = _open_rasters(package, raster or [], {**how, "aoi": aoi, "bbox": bbox, "exclude": exclude, "collar": collar})
    if data is not None and recipe is not None:
        sources += _open_sites(package, data, recipe)
    half = probe.half_tile(package.spec)
    large = [source for source in sources if min(source.wanted().height, source.wanted().width) > half]
    if sources and not large:
        given = ", ".join(f"{s.wanted().width} x {s.wanted().height}" for s in sources[:3])
        raise UsageError(f"The halo is measured on rasters larger than half a tile, {half} px; given were {given} px of the model's grid.")
    where = pick_device(device or "auto")
    found: dict[str, Any] = {}
    if probe.knows_field(package.spec):
        radius, is_global = probe.measure_field(package.spec)
        found = {"receptive_field_px": radius, "network": package.spec.network.model_copy(update={"global_context": is_global})}
    if sources and largest_tile_px(package.spec) is not None:
        raise UsageError(
            "The halo is measured against inference of a whole raster; this network takes tiles of one size. Leave --raster out."
        )
    predictor = load_predictor(replace(package, spec=package.spec.model_copy(update=found)), Execution(device=where))
    # memory first: what earlier passes leave behind would hide what this one takes
    if where == "cpu":
        found["memory_bytes_per_px"] = probe.measure_memory(predictor)
    if large:
        believed = package.spec.model_copy(update=found)
        pieces = [piece for source in large if (piece := probe.find_piece(source, believed)) is not None]
        found["halo"] = probe.measure_halo(predictor, pieces, typer.echo)
    speeds = probe.measure_throughput(predictor, probe.describe_machine(where), probe.tile_sizes_of(package.spec), sizes)
    spec = probe.keep_measurements(package.spec.model_copy(update=found), speeds)
    _print_probe(spec, found, speeds)
    if write:
        typer.echo(f"Written to {write_card(package.folder, type(spec).model_validate(spec.model_dump())).folder}")


@models.command("adapt")
def adapt_model(
    model: Wanted,
    rasters: Annotated[list[str], typer.Argument(metavar="RASTER...", help="Imagery to fit it to, without labels.", show_default=False)],
    output: Target,
    strength: Annotated[
        float, typer.Option("--strength", help="Share of the imagery's statistics; the rest are those of the training data.")
    ] = 0.5,
    name: Annotated[str | None, typer.Option("--name", help="Name of the copy; MODEL-adapted if left out.", show_default=False)] = None,
    bands: o.Bands = None,
    assume_crs: o.AssumeCrs = None,
    warp: o.Warp = None,
    trust_vrt: o.TrustVrt = None,
    stac_sign: o.StacSign = None,
    aoi: o.Aoi = None,
    bbox: o.Bbox = None,
    exclude: o.Exclude = None,
    collar: o.Collar = None,
) -> None:
    """Fit the batch statistics of MODEL to imagery of another place, season or sensor: a new package, in a minute, without labels."""
    from geoseg.adapt import AdaptOptions, adapt_package
    from geoseg.model.source import find_model

    options = AdaptOptions(strength=strength)
    package = find_model(model)
    how = {"bands": bands, "assume_crs": assume_crs, "warp": warp, "trust_vrt": trust_vrt, "stac_sign": stac_sign}
    sources = _open_rasters(package, rasters, {**how, "aoi": aoi, "bbox": bbox, "exclude": exclude, "collar": collar})
    adapted = adapt_package(package, sources, output, options, typer.echo, name=name)
    _tell_package(adapted)


def _parse_batches(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ConfigError(f"--batches {text}: whole numbers above 0 were expected, for example 1,2,4.")
    return [int(part) for part in parts]


def _open_rasters(package: "ModelPackage", rasters: list[str], options: dict[str, Any]) -> "list[RasterSource]":
    """Open rasters on the model's grid; those that lie outside the wanted area are named and left out, while one is left."""
    from geoseg.config import make_config
    from geoseg.inference.opening import open_source

    given = o.collect(output="out", model=str(package.folder), **options)
    sources, outside = list["RasterSource"](), list[AreaError]()
    for raster in rasters:
        try:
            sources.append(open_source(make_config({**given, "raster": raster}), package.spec))
        except AreaError as exc:
            outside.append(exc)
    if outside and not sources:
        raise outside[0]
    for left_out in outside:
        print(f"A raster is left out: {left_out}", file=sys.stderr)
    return sources


def _open_sites(package: "ModelPackage", data: Path, recipe: Path) -> "list[RasterSource]":
    from geoseg.labels.targets import open_sources
    from geoseg.training.recipe import read_recipe

    return [source for site in read_recipe(recipe).sites for source in open_sources(site, package.spec, data)]


def _print_probe(spec: "ModelSpec", found: dict[str, Any], speeds: Any) -> None:
    rows: list[tuple[str, str]] = []
    if "network" in found:
        rows += [("receptive field", "the whole tile" if spec.receptive_field_px is None else f"{spec.receptive_field_px} px")]
        rows += [("global context", "yes: tiles are blended" if spec.network.global_context else "no: halos are cropped")]
    if "halo" in found:
        rows += [("halo, 0.5 % of labels", f"{spec.halo.default_px} px"), ("halo, 0.05 % of labels", f"{spec.halo.exact_px} px")]
    if "memory_bytes_per_px" in found:
        rows += [("memory", f"{spec.memory_bytes_per_px} bytes per pixel of a batch")]
    rows += [("machine", f"{speeds[0].machine}, {speeds[0].threads} threads")]
    rows += [(f"tile {s.tile_size_px} px, batch {s.batch_size}", f"{s.mpx_per_s:.3g} Mpx/s") for s in speeds]
    print_table(f"{spec.name} {spec.version} on this machine", ("what", "measured"), rows)


@models.command("export")
def export_model(
    model: Wanted,
    output: Target,
    form: Annotated[
        Literal["torch-export", "onnx", "deepness", "mlm", "package"], typer.Option("--format", help="What others can run.")
    ] = "package",
) -> None:
    """Export MODEL as a package (a folder, or a .zip), for ONNX runtimes, for Deepness, GeoDeep and WebODM, for catalogs, or for torch."""
    from geoseg.model.source import find_model

    package = find_model(model)
    if form == "package":
        from geoseg.model.exchange import export_package

        typer.echo(f"Package: {export_package(package, output)}, checksum verified")
        return
    if package.spec.network.library == "sklearn":
        raise UsageError(f"Model '{model}' is a per-pixel model: its weights are ONNX already, of pixel features. Use --format package.")
    typer.echo(f"{output}: {_export(package, output, form)}")


def _export(package: "ModelPackage", output: Path, form: str) -> str:
    from geoseg.model.export import export_deepness, export_onnx, export_torch
    from geoseg.model.mlmexport import export_mlm

    if form in ("deepness", "mlm"):
        difference = (export_mlm if form == "mlm" else export_deepness)(package, output)
        return f"probabilities differ from torch by at most {difference:.1e}. It takes value / 255."
    difference = (export_onnx if form == "onnx" else export_torch)(package, output)
    return f"logits differ from torch by at most {difference:.1e}. It takes scaled pixels: (value - mean) / std."


@models.command("graph")
def write_graph(
    folder: Annotated[Path, typer.Argument(help="Folder of a model package; its card is written anew.", show_default=False)],
) -> None:
    """Write the ONNX graph of a package beside its weights: onnxruntime then runs it without torch."""
    from geoseg.model.export import add_graph
    from geoseg.model.package import find_package

    package, difference = add_graph(find_package(folder))
    typer.echo(f"{package.graph}: logits differ from torch by at most {difference:.1e}.")


@models.command("import")
def import_model(
    source: Annotated[
        str,
        typer.Argument(
            help="Package (folder or .zip), folder of SMP's save_pretrained, hf:ORG/NAME, .onnx, .pt2 of torch.export, or STAC item "
            "(.json); files also as addresses.",
            show_default=False,
        ),
    ],
    output: Target,
    name: Annotated[str | None, typer.Option("--name", help="New name of the model.")] = None,
    sheet: Annotated[Path | None, typer.Option("--sheet", help="TOML or JSON file with what the model does not say.")] = None,
    interactive: Annotated[bool, typer.Option("--interactive", help="Ask for what the model does not say.")] = False,
    bands: Annotated[str | None, typer.Option("--bands", metavar="LIST", help="Names of the bands, in order.")] = None,
    mean: Annotated[str | None, typer.Option("--mean", metavar="LIST", help="Mean of each band, in the raster's values.")] = None,
    std: Annotated[str | None, typer.Option("--std", metavar="LIST", help="Standard deviation of each band.")] = None,
    classes: Annotated[str | None, typer.Option("--classes", metavar="LIST", help="Names of the classes, in channel order.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", metavar="CLASS=KIND", help="Class that is a building or a road; may be given again.")
    ] = None,
    tile_size: Annotated[int | None, typer.Option("--tile-size", metavar="PX", help="Side of a tile.")] = None,
    resolution: Annotated[float | None, typer.Option("--resolution", metavar="M", help="Pixel size that it was trained for.")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="Pixel values that it was trained for, for example uint8.")] = None,
    gives: Annotated[
        Literal["logits", "softmax", "sigmoid", "labels"] | None, typer.Option("--gives", help="What its outputs hold.", show_default=False)
    ] = None,
    take: Annotated[str | None, typer.Option("--take", metavar="OUTPUT", help="Output that counts, where there are several.")] = None,
    decoder: Annotated[
        str | None, typer.Option("--decoder", help="Of a detector: mask-rcnn, yolo-seg or a plugin of geoseg.decoders.")
    ] = None,
) -> None:
    """Take in a model from elsewhere as a package of geoseg."""
    from geoseg.model.sheet import ask_sheet, merge, read_sheet, sheet_of_words
    from geoseg.model.source import import_model as take_in

    words = {"bands": bands, "mean": mean, "std": std, "classes": classes, "tile_size_px": tile_size, "resolution_m": resolution}
    ports = {"gives": gives, "outputs": [take] if take else None, "decoder": decoder}
    given = merge(read_sheet(sheet), sheet_of_words({**words, "dtype": dtype}, ports, kind or []))
    package = take_in(source, output, given, name=name, complete=(lambda told: ask_sheet(told, _ask)) if interactive else None)
    _tell_package(package)


def _tell_package(package: "ModelPackage") -> None:
    if package.spec.halo.measured_on == "":
        seen = package.spec.network.global_context or package.spec.receptive_field_px is not None
        typer.echo(
            f"Its halo {'is' if seen else 'and context are'} not measured yet: geoseg models probe {package.folder} --raster ... --write"
        )
    typer.echo(f"Model package: {package.folder}")


def _ask(question: str, default: str) -> str:
    answer: str = typer.prompt(question, default=default, show_default=bool(default))
    return answer
