"""The report of an impact: numbers, maps and tables on one page."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from PIL import Image

from geoseg.impact.options import ImpactInputs, ImpactOptions
from geoseg.impact.streets import draw_roads
from geoseg.impact.tables import Impact
from geoseg.io.ground import pixel_step_m
from geoseg.redact import redact
from geoseg.runfolder.page import Page

_ZONE = "#7f8a96"
FLOOD_COLORS = {"flooded": "#4a90d9", "permanent": "#1b3f73", "unknown": "#c9ccd1"}
STATE_COLORS = {"flooded": "#c0392b", "dry": "#6b7785", "unknown": "#b3a369"}
ROAD_COLORS = {"cut": "#d6006c", "cut off": "#8e44ad", "open": "#3d3d3d"}
_ROWS = 25
"""Rows of a table in the report; the files hold all."""
_PLACES = 4
"""Places that are shown from near."""
_WHOLE_FROM = 1000
"""Numbers from which no fractions are shown."""
_INCH_PX = 110
_TITLES = {
    "count": "in all",
    "flooded": "flooded",
    "dry": "dry",
    "unknown": "unknown: no data",
    "area_m2": "area, m²",
    "flooded_m2": "under water, m²",
    "cut_off": "cut off",
    "road_flooded": "nearest road under water",
    "deepest_m": "deepest water at a wall, m",
    "cut": "cut",
    "open": "open",
    "length_m": "length, m",
    "flooded_m": "under water, m",
    "permanent_m": "over permanent water, m",
    "unknown_m": "unknown, m",
    "road_m": "their roads, m",
    "in_buildings": "in buildings",
    "without_building": "where no building is",
}


@dataclass(slots=True)
class Sketch:
    """Water as far as an overview shows it, so that it takes no more memory than a picture."""

    crs: str
    """Its CRS."""
    bounds: tuple[float, float, float, float]
    """What is shown: left, bottom, right and top."""
    step: float
    """Side of a pixel of the overview, in units of the CRS."""
    parts: list[gpd.GeoDataFrame]
    """Patches."""

    def add(self, patches: gpd.GeoDataFrame) -> None:
        """Keep the patches that can be seen."""
        near = patches[shapely.intersects(patches.geometry.to_numpy(), shapely.box(*self.bounds))]
        seen = near[shapely.area(near.geometry.to_numpy()) >= self.step**2]
        if len(seen):
            self.parts.append(seen.set_geometry(seen.geometry.simplify(self.step)))


def write_report(impact: Impact, water: Sketch, inputs: ImpactInputs, options: ImpactOptions, path: Path) -> None:
    """Write the page.

    Raises:
        WriteError: If the disk does not take it.
    """
    page = Page(title="Flood impact")
    page.text(redact(_introduce(inputs, options)))
    for warning in impact.warnings:
        page.alert(redact(warning))
    for name, totals in impact.totals.items():
        page.heading(name.capitalize())
        page.table(("what", "value"), [(_TITLES.get(key, key.replace("_", " ")), _plain(value)) for key, value in totals.items()])
    page.heading("Map")
    page.gallery([("Water, buildings, roads and places that are cut off.", draw_map(impact, water, water.bounds))], wide=True)
    if impact.places is not None and len(impact.places):
        page.heading("Places cut off")
        _add_table(page, impact.places)
        page.gallery([_show_place(impact, water, row) for row in range(min(_PLACES, len(impact.places)))])
    if impact.zones is not None:
        page.heading("Zones")
        _add_table(page, impact.zones)
    if impact.buildings is not None and "depth_max_m" in impact.buildings.columns:
        deep = impact.buildings.dropna(subset="depth_max_m").sort_values("depth_max_m", ascending=False)
        page.heading("Deepest water at walls")
        _add_table(page, deep[["building_id", "depth_max_m", "depth_mean_m", "flooded_share"]])
    page.write(path)


def draw_map(impact: Impact, water: Sketch, bounds: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    """Draw everything inside bounds (left, bottom, right, top); returns (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    left, bottom, right, top = bounds
    high = _height_per_width(water.crs, bounds)
    figure = Figure(figsize=(9, float(np.clip(9 * high, 3, 14)) + 0.6), dpi=_INCH_PX, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    ax = figure.subplots()
    legend: dict[str, Patch] = {}
    for table, name, color, style in _list_layers(impact, water):
        inside = table[shapely.intersects(table.geometry.to_numpy(), shapely.box(*bounds))]
        if len(inside):
            inside.plot(ax=ax, aspect=None, **style)
            legend[name] = Patch(color=color, label=name)
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect=high * (right - left) / (top - bottom))
    ax.set_axis_off()
    if legend:
        figure.legend(handles=[*legend.values()], loc="outside lower center", ncols=4, frameon=False)
    buffer = io.BytesIO()
    canvas.print_png(buffer)  # type: ignore[no-untyped-call]  # matplotlib annotates it in part
    return np.asarray(Image.open(buffer).convert("RGB"))


def _list_layers(impact: Impact, water: Sketch) -> Iterator[tuple[gpd.GeoDataFrame, str, str, dict[str, Any]]]:
    """Yield what is drawn, from below: features, their name, color and style."""
    if impact.zones is not None:
        yield impact.zones, "zone", _ZONE, {"facecolor": "none", "edgecolor": _ZONE, "linewidth": 1.2, "linestyle": "--"}
    if water.parts:
        patches = pd.concat(water.parts, ignore_index=True)
        for state, color in FLOOD_COLORS.items():
            name = {"flooded": "flood", "permanent": "permanent water", "unknown": "no data"}[state]
            yield patches[patches["state"] == state], name, color, {"facecolor": color, "edgecolor": "none", "alpha": 0.75}
    if impact.places is not None:
        color = ROAD_COLORS["cut off"]
        yield impact.places, "place cut off", color, {"facecolor": color, "edgecolor": color, "alpha": 0.25, "linewidth": 1.5}
    if impact.network is not None:
        for state, lines in draw_roads(impact.network):
            color = ROAD_COLORS[state]
            yield lines, f"road {state}", color, {"color": color, "linewidth": 2.4 if state == "cut" else 1.4}
    if impact.buildings is not None:
        for state, color in reversed(STATE_COLORS.items()):
            houses = impact.buildings[impact.buildings["state"] == state]
            yield houses, f"building {state}", color, {"facecolor": color, "edgecolor": color, "linewidth": 0.6}


def _height_per_width(crs: str, bounds: tuple[float, float, float, float]) -> float:
    """Return how high bounds are on the ground for their width."""
    left, bottom, right, top = bounds
    grid = GeoBox.from_bbox(bounds, crs=crs, shape=(1, 1))
    width, height = pixel_step_m(grid)
    return height / width if right > left and top > bottom else 1.0


def _show_place(impact: Impact, water: Sketch, row: int) -> tuple[str, NDArray[np.uint8]]:
    assert impact.places is not None, "there are places"
    place = impact.places.iloc[row]
    around = shapely.box(*place.geometry.bounds)
    left, bottom, right, top = shapely.buffer(around, 0.35 * np.sqrt(around.area), join_style="mitre").bounds
    caption = f"Place {place['place_id']}: {place['buildings']} buildings, {place['road_m']:.0f} m of roads."
    return caption, draw_map(impact, water, (left, bottom, right, top))


def _introduce(inputs: ImpactInputs, options: ImpactOptions) -> str:
    flood = inputs.flood
    said = f"Water from {flood.path}"
    said += f", class {flood.water}" if flood.water else ""
    said += f"; water that was in {flood.before} before is permanent and floods nothing" if flood.before else ""
    said += f". A building is flooded from {options.flooded_from:.0%} of its footprint under water; a road is cut by "
    said += f"{options.min_cut_m:g} m of water. "
    origins = "the places given with --from" if inputs.origins else "the largest part of the roads that is left"
    return said + (f"Cut off is what lost its dry way to {origins}; what had none before the flood does not count." if inputs.roads else "")


def _add_table(page: Page, table: pd.DataFrame) -> None:
    columns = [name for name in table.columns if name != "geometry"]
    rows = [tuple(_plain(value) for value in row) for row in table[columns].head(_ROWS).itertuples(index=False, name=None)]
    page.table(tuple(columns), rows)
    if len(table) > _ROWS:
        page.text(f"{_ROWS} of {len(table)}; the files hold all.")


def _plain(value: Any) -> Any:
    """Return what a table shows of a value: no powers of ten for square metres, a dash for what is not known."""
    bare = value.item() if isinstance(value, np.generic) else value
    if isinstance(bare, float) and abs(bare) >= _WHOLE_FROM:
        return round(bare)
    return "-" if bare is None else bare
