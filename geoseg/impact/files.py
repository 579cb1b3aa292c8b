"""The files of an impact: GeoPackage, tables, totals and report."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from geoseg import __version__
from geoseg.errors import UsageError
from geoseg.impact.flood import Flood
from geoseg.impact.metric import move
from geoseg.impact.options import ImpactInputs, ImpactOptions
from geoseg.impact.report import FLOOD_COLORS, ROAD_COLORS, STATE_COLORS, Sketch, write_report
from geoseg.impact.tables import Impact
from geoseg.io.files import write_error, write_whole
from geoseg.io.vector import open_layers
from geoseg.products.formats.styles import Look, tabulate_looks
from geoseg.redact import redact_all

_SUMMARY, _FEATURES, _REPORT = "impact.json", "impact.gpkg", "impact.html"
_TABLES = ("buildings", "roads", "cuts", "places", "zones")
_SHAPES = {
    "flood": "Polygon",
    "buildings": "MultiPolygon",
    "roads": "LineString",
    "cuts": "LineString",
    "places": "Polygon",
    "zones": "MultiPolygon",
}
_SKETCH_PX = 1000
"""Longest side of an overview; smaller patches of water are left out of it."""


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse a folder that cannot take an impact.

    Raises:
        UsageError: If it is a file, a run folder, or holds an impact that may not be replaced.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; expected a folder. Name another -o.")
    if (output / "run.toml").exists():
        raise UsageError(f"{output} holds a run of geoseg; an impact goes into a folder of its own. Name another -o.")
    if (output / _SUMMARY).exists() and not overwrite:
        raise UsageError(f"{output} holds an impact already. Name another -o, or replace it with --overwrite.")
    names = (_FEATURES, _REPORT, *(f"{name}.csv" for name in _TABLES))
    there = [name for name in names if (output / name).exists()]
    if there and not overwrite:
        raise UsageError(
            f"{output} holds {', '.join(there)}, of an impact that was broken off or of your own. Name another -o, or replace every "
            "file of these names with --overwrite."
        )


def write_impact(impact: Impact, flood: Flood, inputs: ImpactInputs, options: ImpactOptions, output: Path) -> None:
    """Write everything into a folder, ``impact.json`` last.

    Raises:
        WriteError: If the disk does not take it.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / _SUMMARY).unlink(missing_ok=True)
    except OSError as exc:
        raise write_error(output / _SUMMARY, exc) from exc
    tables = {name: table for name in _TABLES if (table := getattr(impact, name)) is not None}
    water = _write_features(tables, flood, output / _FEATURES)
    for name in _TABLES:
        path = output / f"{name}.csv"
        if name in tables:
            write_whole(path, _tabulate(tables[name]).to_csv(index=False).encode())
        else:
            path.unlink(missing_ok=True)
    write_report(impact, water, inputs, options, output / _REPORT)
    write_whole(output / _SUMMARY, _describe(impact, flood, inputs, options))


def _write_features(tables: dict[str, gpd.GeoDataFrame], flood: Flood, path: Path) -> Sketch:
    """Write layers as they come, and keep of the water what an overview shows."""
    sketch = Sketch(crs=flood.crs, bounds=_bounds(tables, flood), step=0.0, parts=[])
    left, bottom, right, top = sketch.bounds
    sketch.step = max(right - left, top - bottom) / _SKETCH_PX
    with open_layers(path, _SHAPES) as add:
        for patches in flood.patches():
            add("flood", patches)
            sketch.add(patches)
        for name, table in tables.items():
            add(name, table)
        add("layer_styles", tabulate_looks({name: _LOOKS[name] for name in ("flood", *tables)}))
    return sketch


def _bounds(tables: dict[str, gpd.GeoDataFrame], flood: Flood) -> tuple[float, float, float, float]:
    shown = [tables[name] for name in ("buildings", "roads") if name in tables] or list(tables.values())
    corners = np.array([table.total_bounds for table in shown])
    left, bottom = (float(low) for low in corners[:, :2].min(axis=0))
    right, top = (float(high) for high in corners[:, 2:].max(axis=0))
    # a single road may have no height at all
    margin = 0.05 * max(right - left, top - bottom)
    return left - margin, bottom - margin, right + margin, top + margin


def _tabulate(table: gpd.GeoDataFrame) -> pd.DataFrame:
    """Return a table with the place of each feature in degrees instead of its shape."""
    points = move(shapely.point_on_surface(table.geometry.to_numpy()), table.crs, "EPSG:4326")
    place = shapely.get_coordinates(points).round(7) if len(table) else np.zeros((0, 2))
    return pd.DataFrame(table.drop(columns=table.geometry.name)).assign(lon=place[:, 0], lat=place[:, 1])


def _describe(impact: Impact, flood: Flood, inputs: ImpactInputs, options: ImpactOptions) -> bytes:
    left, bottom, right, top = flood.bounds
    content: dict[str, Any] = {
        "geoseg_version": __version__,
        "inputs": asdict(inputs),
        "options": asdict(options),
        "crs": flood.crs,
        "flood_bounds": [left, bottom, right, top],
        **impact.totals,
        "warnings": list(impact.warnings),
    }
    return json.dumps(redact_all(json.loads(json.dumps(content, default=str))), indent=2, ensure_ascii=False).encode()


def _look(kind: str, colors: dict[str, str]) -> Look:
    return Look(kind=kind, column="state", rows=tuple((value, value, color) for value, color in colors.items()))


_LOOKS = {
    "flood": _look("fill", FLOOD_COLORS),
    "buildings": _look("fill", STATE_COLORS),
    "roads": _look("line", ROAD_COLORS),
    "cuts": Look(kind="line", column=None, rows=((0, "cut", ROAD_COLORS["cut"]),)),
    "places": Look(kind="fill", column=None, rows=((0, "cut off", "#8e44ad"),)),
    "zones": Look(kind="fill", column=None, rows=((0, "zones", "#9aa5b1"),)),
}
