"""What a comparison says: ``change.json``, the matrix as a table, and a page with pictures."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import geopandas as gpd

from geoseg import __version__
from geoseg.change.classes import BASE
from geoseg.change.ground import Ground
from geoseg.change.matching import BuildingStatus
from geoseg.change.options import ChangeOptions
from geoseg.change.pictures import draw_overview, draw_places
from geoseg.change.registration import Misregistration
from geoseg.change.surfaces import Limits, Transitions
from geoseg.io.files import write_whole
from geoseg.pixels.classes import ClassScheme
from geoseg.runfolder.page import Page

_PRECISION_M2 = 2
_TOLD_OPTIONS = ("align", "match", "min_growth", "min_evidence", "min_sure_m2", "min_road_m")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Everything that was found."""

    ground: Ground
    """The dates, on one grid."""
    seen: Misregistration
    """How far they lie beside each other."""
    limits: Limits
    """What was too small for a change."""
    options: ChangeOptions
    """What was asked for."""
    transitions: Transitions
    """Areas from class to class."""
    patches: int
    """Polygons of change."""
    tables: Mapping[str, gpd.GeoDataFrame]
    """``buildings`` and ``roads``, if both dates have them."""
    unknown_road_m: float
    """Length of roads of either date where the other one has no data."""
    warnings: tuple[str, ...]
    """What the user should know."""


def describe_change(result: Result, fingerprint: str, timing_s: Mapping[str, float]) -> bytes:
    """Write ``change.json``."""
    ground, scheme, found = result.ground, result.ground.classes.scheme, result.transitions
    sides = {"before": ground.before, "after": ground.after}
    table = {
        "geoseg_version": __version__,
        "fingerprint": fingerprint,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **{name: {"classes": str(side.classes), "run_id": side.run_id} for name, side in sides.items()},
        "grid": {
            "crs": ground.crs if ground.geobox.crs is None or ground.geobox.crs.epsg is None else f"EPSG:{ground.geobox.crs.epsg}",
            "transform": list(ground.geobox.transform)[:6],
            "height_px": ground.shape[0],
            "width_px": ground.shape[1],
            "pixel_m": [round(side, 6) for side in ground.pixel_m],
        },
        "misregistration": result.seen.table(),
        "tolerance_m": result.limits.tolerance_m,
        "min_area_m2": result.limits.min_area_m2,
        "options": {name: getattr(result.options, name) for name in _TOLD_OPTIONS},
        "classes": [
            {
                "value": c.value,
                "name": c.name,
                "color": c.color,
                "before_m2": round(float(found.area_m2[c.value].sum()), _PRECISION_M2),
                "after_m2": round(float(found.area_m2[:, c.value].sum()), _PRECISION_M2),
            }
            for c in scheme
        ],
        "transitions": list_transitions(scheme, found),
        "unknown": {"pixels": found.unknown_px, "area_m2": found.unknown_m2},
        "counts": {"transitions": result.patches, **_count_buildings(result), **_count_roads(result)},
        "roads_m": _measure_roads(result),
        "timing_s": dict(timing_s),
        "warnings": list(result.warnings),
    }
    return (json.dumps(table, indent=2, ensure_ascii=False) + "\n").encode()


def list_transitions(scheme: ClassScheme, found: Transitions) -> list[dict[str, Any]]:
    """Return ``code, from, to, pixels, area_m2`` of all transitions that occur, the largest first; what stayed is left out."""
    rows = [
        {
            "code": one.value * BASE + other.value,
            "from": one.name,
            "to": other.name,
            "pixels": int(found.pixels[one.value, other.value]),
            "area_m2": round(float(found.area_m2[one.value, other.value]), _PRECISION_M2),
        }
        for one in scheme
        for other in scheme
        if one is not other and found.pixels[one.value, other.value]
    ]
    return sorted(rows, key=lambda row: (-float(row["area_m2"]), int(row["code"])))


def write_matrix(path: Path, scheme: ClassScheme, found: Transitions) -> None:
    """Write the matrix of areas in m2 as CSV: a row for each class before, a column for each class after, and their sums.

    Raises:
        WriteError: If the disk does not take it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["from \\ to (m2)", *(c.name for c in scheme), "before"])
    writer.writerows(_matrix_rows(scheme, found, 1.0, _PRECISION_M2))
    write_whole(path, text.getvalue().encode())


def _matrix_rows(scheme: ClassScheme, found: Transitions, unit_m2: float, digits: int) -> list[tuple[Any, ...]]:
    area = found.area_m2 / unit_m2
    rows = [(c.name, *(round(float(n), digits) for n in (*area[c.value], area[c.value].sum()))) for c in scheme]
    return [*rows, ("after", *(round(float(n), digits) for n in (*area.sum(axis=0), area.sum())))]


def _count_buildings(result: Result) -> dict[str, int]:
    if "buildings" not in result.tables:
        return {}
    counts = result.tables["buildings"]["status"].value_counts()
    return {f"buildings_{status}": int(counts.get(str(status), 0)) for status in BuildingStatus}


def _count_roads(result: Result) -> dict[str, int]:
    if "roads" not in result.tables:
        return {}
    counts = result.tables["roads"]["status"].value_counts()
    return {f"roads_{status}": int(counts.get(status, 0)) for status in ("new", "lost")}


def _measure_roads(result: Result) -> dict[str, float]:
    if "roads" not in result.tables:
        return {}
    lengths = result.tables["roads"].groupby("status")["length_m"].sum()
    known = {status: round(float(lengths.get(status, 0.0)), 1) for status in ("new", "lost", "same")}
    return known | {"unknown": round(result.unknown_road_m, 1)}


def write_page(path: Path, result: Result, raster: Path) -> None:
    """Write ``change.html``: maps of both dates and of the change, the matrix, counts, and the largest changes close up.

    Raises:
        WriteError: If the disk does not take it.
    """
    scheme, found = result.ground.classes.scheme, result.transitions
    known, changed = float(found.area_m2.sum()), float(found.area_m2.sum() - found.area_m2.trace())
    share = changed / known if known else 0.0
    page = Page(title="What changed").text(f"Compared: {result.ground.before.name}, {result.ground.after.name}.")
    page.text(f"{_area(changed)} of {_area(known)} that both dates show have changed ({share:.1%}); {_area(found.unknown_m2)} lack data.")
    for message in result.warnings:
        page.text(f"Note: {message}")
    page.heading("Maps").gallery(draw_overview(result.ground, raster))
    page.heading("From class to class").text("Hectares; rows are the classes before, columns those after.")
    page.table(("", *(c.name for c in scheme), "before"), _matrix_rows(scheme, found, 1e4, 4))
    if "buildings" in result.tables:
        page.heading("Buildings").table(("", "count", "before, m2", "after, m2"), _building_rows(result.tables["buildings"]))
    if "roads" in result.tables:
        page.heading("Roads").table(("", "km"), [(name, length / 1000) for name, length in _measure_roads(result).items()])
    places = draw_places(result.ground, raster)
    if places:
        page.heading("The largest changes").text("Imagery where it can still be read, classes before and after, and the change.")
        page.gallery(places)
    page.heading("How it was compared").text(_say_misregistration(result.seen)).text(
        f"Borders that lie up to {result.limits.tolerance_m:g} m apart, patches below {result.limits.min_area_m2:g} m2, and pieces of "
        f"road below {result.options.min_road_m:g} m are no change. Where either date has no data, nothing is said."
    )
    page.write(path)


def _building_rows(table: gpd.GeoDataFrame) -> list[tuple[Any, ...]]:
    rows = []
    for status in BuildingStatus:
        own = table[table["status"] == str(status)]
        rows.append((str(status), len(own), float(own["area_before_m2"].sum()), float(own["area_after_m2"].sum())))
    return rows


def _say_misregistration(seen: Misregistration) -> str:
    if not seen.is_reliable:
        return f"How far the dates lie beside each other cannot be told: {seen.agreeing} of {seen.places} places agree."
    done = "; after was moved by it" if seen.corrected else ""
    return (
        f"After lies {seen.cols_px:+.2f} columns and {seen.rows_px:+.2f} rows beside before, {seen.distance_px:.2f} px or "
        f"{seen.distance_m:.2f} m{done}; measured on {seen.seen_on}, {seen.agreeing} of {seen.places} places agree."
    )


def _area(area_m2: float) -> str:
    return f"{area_m2 / 1e6:.2f} km2" if area_m2 >= 1e6 else f"{area_m2 / 1e4:.2f} ha" if area_m2 >= 1e4 else f"{area_m2:.0f} m2"
