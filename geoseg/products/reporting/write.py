"""The page: sections in the order in which a reader asks."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from geoseg.config import RunConfig
from geoseg.io.ground import pixel_step_m
from geoseg.io.tiffs.layers import open_layer
from geoseg.pixels.classes import NODATA_CLASS
from geoseg.products.formats.run import RunProducts
from geoseg.products.reporting.judged import ACCURACY, REPORT, Accuracy, Evaluation, read_accuracy
from geoseg.products.reporting.maps import draw_maps, draw_place
from geoseg.products.reporting.places import find_uncertain
from geoseg.redact import redact_all
from geoseg.runfolder.page import Bar, Page
from geoseg.runfolder.records import describe_missing

_HA_M2 = 1e4
_PLACES = 6
_MOST_ROWS = 40
"""Rows of a table of zones or missing chunks; the files have all."""
_BUILDING_EDGES_M2 = (0, 10, 20, 50, 100, 200, 500, 1000, 5000)
_ROAD_EDGES_M = (0, 2, 3, 4, 5, 6, 8, 10, 15)
_PLACE_KEYS = {"raster", "output", "objects", "cache"}
"""Parts of a configuration that the report tells elsewhere, or that say nothing to others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a report tells beside the products."""

    summary: dict[str, Any]
    """``summary.json``."""
    config: RunConfig
    """What the run was asked for."""
    evaluation: Evaluation | None = None
    """What labels say about it."""


def write_report(products: RunProducts, told: Told, target: Path) -> None:
    """Write ``report.html``: one file that asks for nothing outside.

    Args:
        products: What the run has made. Rasters are read from their overviews, of tables single columns and the lines of roads.
        told: Summary and configuration.
        target: Folder that takes it.

    Raises:
        RunError: If a product cannot be read, or the disk does not take the report.
    """
    page = Page(f"Map of {_last_name(str(told.summary['source']['path']))}")
    _add_introduction(page, products, told.summary)
    _add_missing(page, told.summary)
    page.gallery(draw_maps(products), wide=True, lossy=True)
    accuracy = products.find(ACCURACY)
    judged = read_accuracy(accuracy) if accuracy is not None else None
    _add_classes(page, told.summary, judged)
    if judged is not None:
        _add_accuracy(page, judged)
    if told.evaluation is not None:
        _add_evaluation(page, told.evaluation)
    _add_objects(page, products, told.summary["counts"])
    _add_zones(page, products)
    _add_uncertain(page, products)
    _add_origin(page, told)
    _add_times(page, told.summary)
    page.write(target / REPORT)


def _last_name(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1] or path


def _add_introduction(page: Page, products: RunProducts, summary: dict[str, Any]) -> None:
    height, width = products.geobox.shape
    size = f"{width:,} x {height:,} pixels"
    if products.geobox.crs is not None:
        step = pixel_step_m(products.geobox)
        size += f" of {step[0]:.3g} m, {width * step[0] / 1000:.3g} x {height * step[1] / 1000:.3g} km"
        to_degrees = Transformer.from_crs(products.geobox.crs, "EPSG:4326", always_xy=True)
        west, south, east, north = to_degrees.transform_bounds(*products.geobox.boundingbox)
        size += f", from {south:.5f}, {west:.5f} to {north:.5f}, {east:.5f} (latitude, longitude)"
    model = summary.get("model", {})
    page.text(f"{size}. Made with model {model.get('name')} {model.get('version')} on {summary.get('finished')}.")
    for warning in summary.get("warnings", ()):
        page.alert(warning)


def _add_missing(page: Page, summary: dict[str, Any]) -> None:
    missing = summary.get("missing", ())
    if missing:
        page.alert(
            f"{len(missing)} of {summary['counts'].get('chunks', '?')} chunks could not be made; there is no data in their place. "
            "The same geoseg segment tries them again."
        )
        _add_list(page, [describe_missing(chunk) for chunk in missing])


def _add_list(page: Page, lines: Sequence[str]) -> None:
    page.table(("",), [(line,) for line in lines[:_MOST_ROWS]])
    if len(lines) > _MOST_ROWS:
        page.text(f"and {len(lines) - _MOST_ROWS} more.")


def _add_classes(page: Page, summary: dict[str, Any], judged: Accuracy | None) -> None:
    rows = [row for row in summary["classes"] if row["value"] != NODATA_CLASS]
    total = sum(row["area_m2"] for row in rows)
    longest = max((row["area_m2"] for row in rows), default=0) or 1
    by_name = {row.name: row for row in judged.classes} if judged is not None else {}
    columns = ("class", "mapped ha", "share", "", *(("estimated ha (95 %)",) if judged else ()))
    page.heading("Areas by class").table(
        columns,
        [
            (
                *(row["name"], _hectares(row["area_m2"]), f"{row['area_m2'] / total if total else 0:.1%}"),
                Bar(row["area_m2"] / longest, row["color"]),
                *((_interval(by_name.get(row["name"])),) if judged else ()),
            )
            for row in rows
        ],
    )
    nothing = next((row["area_m2"] for row in summary["classes"] if row["value"] == NODATA_CLASS), 0)
    page.text(f"{_hectares(total)} ha in all, and {_hectares(nothing)} ha without data. Areas are true areas on the ground.")
    if judged is None:
        page.text("Counted pixels, and maps err: geoseg accuracy turns points that you look at into areas with confidence intervals.")


def _hectares(area_m2: float) -> str:
    return f"{area_m2 / _HA_M2:,.2f}"


def _interval(row: Any) -> str:
    if row is None or row.area_m2 is None or row.area_m2_margin is None:
        return "-"
    return f"{_hectares(row.area_m2)} ± {_hectares(row.area_m2_margin)}"


def _add_accuracy(page: Page, judged: Accuracy) -> None:
    page.heading("Accuracy").text(
        f"By {sum(row.points for row in judged.classes)} points that were looked at, {judged.overall_accuracy:.1%} "
        f"± {judged.overall_accuracy_margin:.1%} of the mapped area is right."
    )
    page.table(
        ("class", "points", "of the mapped, right", "of the true, mapped"),
        [
            (row.name, row.points, _share(row.users, row.users_margin), _share(row.producers, row.producers_margin))
            for row in judged.classes
        ],
    )


def _share(value: float | None, margin: float | None) -> str:
    return "-" if value is None or margin is None else f"{value:.1%} ± {margin:.1%}"


def _add_evaluation(page: Page, evaluation: Evaluation) -> None:
    for data in evaluation.data:
        page.heading(f"Against labels: {data.name or evaluation.title}").table(("metric", "value"), list(data.metrics.items()))


def _add_objects(page: Page, products: RunProducts, counts: dict[str, int]) -> None:
    layers = products.layers()
    if not layers.keys() & {"buildings", "roads"}:
        return
    from geoseg.io.vector import read_column

    page.heading("Buildings and roads")
    charts: list[tuple[str, list[str], list[int]]] = []
    if "buildings" in layers:
        areas = read_column(products.features, "buildings", "area_m2")
        middle = f", half of them smaller than {np.median(areas):,.0f} m²" if len(areas) else ""
        page.text(f"{counts.get('buildings', len(areas)):,} buildings cover {areas.sum() / _HA_M2:,.2f} ha{middle}.")
        charts.append(("Buildings by area in m²", *_bin(areas, _BUILDING_EDGES_M2)))
    if "roads" in layers:
        lengths, widths = (read_column(products.features, "roads", column) for column in ("length_m", "width_m"))
        page.text(f"{lengths.sum() / 1000:,.2f} km of road in {counts.get('roads', len(lengths)):,} pieces.")
        charts.append(("Metres of road by width in m", *_bin(widths, _ROAD_EDGES_M, lengths)))
    for chart in charts:
        page.histogram(*chart)


def _bin(values: NDArray[np.float64], edges: Sequence[int], weights: NDArray[np.float64] | None = None) -> tuple[list[str], list[int]]:
    """Return a label and a sum for each bin; the last one is open."""
    known = np.isfinite(values)
    chosen = np.clip(np.searchsorted(edges, values[known], side="right") - 1, 0, len(edges) - 1)
    sums = np.bincount(chosen, None if weights is None else weights[known], minlength=len(edges))
    labels = [f"{low}-{high}" for low, high in pairwise(edges)]
    return [*labels, f"{edges[-1]}+"], [round(float(n)) for n in sums]


def _add_zones(page: Page, products: RunProducts) -> None:
    path = products.find("zones.csv")
    if path is None:
        return
    head, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8")))
    page.heading("Areas by zone").table(tuple(head), [tuple(_number(cell) for cell in row) for row in rows[:_MOST_ROWS]])
    if len(rows) > _MOST_ROWS:
        page.text(f"{len(rows) - _MOST_ROWS} more stand in zones.csv.")


def _number(cell: str) -> str | float:
    try:
        return round(float(cell), 1) if "." in cell else cell
    except ValueError:
        return cell


def _add_uncertain(page: Page, products: RunProducts) -> None:
    path = products.find("confidence.tif")
    if path is None:
        return
    with open_layer(path) as read:
        places = find_uncertain(read, (int(products.geobox.shape[0]), int(products.geobox.shape[1])), _PLACES)
    if places:
        page.heading("Least certain places").text("Where the model is least sure of its classes on average: look there first.")
        page.gallery([draw_place(products, place) for place in places], lossy=True)


def _add_origin(page: Page, told: Told) -> None:
    summary = told.summary
    source, model, tiles = (summary.get(key, {}) for key in ("source", "model", "tiles"))
    page.heading("Where it comes from").table(
        ("", ""),
        [
            ("Imagery", source.get("path")),
            ("Grid", f"{source.get('crs')}, averaged by {source.get('averaged_by')}"),
            ("Model", f"{model.get('name')} {model.get('version')}, license {model.get('license')}, SHA-256 {model.get('sha256')}"),
            ("Tiles", ", ".join(f"{name} {value}" for name, value in tiles.items())),
            ("Network", ", ".join(f"{name} {value}" for name, value in summary.get("performance", {}).items())),
            ("Run", f"{summary.get('run_id')}; geoseg verify compares every file with its checksum in item.json"),
            ("Versions", ", ".join(f"{name} {value}" for name, value in summary.get("versions", {}).items())),
            *(("Attribution", line) for line in summary.get("attribution", ())),
        ],
    )
    page.text("Settings that are not the default, as in run.toml:").table(("", ""), _chosen(told.config))


def _chosen(config: RunConfig) -> list[tuple[str, str]]:
    """Return what a configuration says other than by default."""
    given = redact_all(config.model_dump(mode="json", exclude_defaults=True, exclude=_PLACE_KEYS))
    given |= {f"objects.{name}": value for name, value in config.objects.model_dump(mode="json", exclude_defaults=True).items()}
    return [(name, str(value)) for name, value in given.items() if value is not None] or [("none", "")]


def _add_times(page: Page, summary: dict[str, Any]) -> None:
    stages = {name: float(seconds) for name, seconds in summary["timing_s"].items() if name != "total"}
    longest = max(stages.values(), default=0.0) or 1.0
    page.heading("Time").table(("stage", "seconds", ""), [(name, seconds, Bar(seconds / longest)) for name, seconds in stages.items()])
    page.text(f"{float(summary['timing_s'].get('total', sum(stages.values()))):,.1f} seconds in all.")
