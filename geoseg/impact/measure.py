"""What a flood does: the straight line from inputs to tables and files."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.errors import UsageError
from geoseg.events import Finished, Listener, StageDone, Warned, ignore_events
from geoseg.impact.depth import find_surface, measure_depths
from geoseg.impact.districts import measure_zones_hit
from geoseg.impact.files import check_output, write_impact
from geoseg.impact.flood import Flood
from geoseg.impact.houses import measure_buildings
from geoseg.impact.metric import find_metric_crs
from geoseg.impact.network import Network, join_lines, read_lines
from geoseg.impact.opening import LEFT_OUT, find_features, open_flood, read_polygons
from geoseg.impact.options import ImpactInputs, ImpactOptions
from geoseg.impact.people import count_people, place_people
from geoseg.impact.reach import find_spots
from geoseg.impact.streets import CutNetwork, cut_network, list_places, reach_buildings, read_origins
from geoseg.impact.tables import Impact, summarize
from geoseg.io.columns import replace_columns
from geoseg.io.raster import RasterSource, open_raster
from geoseg.io.vector import list_layers


def measure_impact(
    inputs: ImpactInputs,
    output: Path | None = None,
    options: ImpactOptions | None = None,
    *,
    overwrite: bool = False,
    listener: Listener = ignore_events,
) -> Impact:
    """Measure what a flood does to buildings, roads, places and people.

    Memory holds the features and a block of each raster; a flood in polygons is held whole.

    Args:
        inputs: The water, and what stands in it.
        output: Folder for ``impact.gpkg``, tables, ``impact.json`` and ``impact.html``; None writes nothing.
        options: What counts as flooded, cut and cut off.
        overwrite: Replace an earlier impact.
        listener: Takes events as they come.

    Returns:
        The tables, in the CRS of the flood, and the totals.

    Raises:
        MissingFileError: If an input is not there.
        UsageError: If inputs do not fit, or the output is there already; nothing was written.
        RunError: If a raster could not be read, or a result not be written.
    """
    began = time.monotonic()
    if output is not None:
        check_output(output, overwrite)
    log = _Log(listener)
    inputs = _leave_out_empty(inputs, log)
    with open_flood(inputs.flood) as flood:
        given = _read(inputs, flood, options or ImpactOptions(), log)
        impact = _measure(given, flood, log)
        if output is not None:
            with log.stage("files"):
                write_impact(impact, flood, inputs, given.options, output)
            listener(Finished(output=str(output), elapsed_s=time.monotonic() - began))
    return impact


@dataclass(slots=True)
class _Log:
    listener: Listener
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.listener(StageDone(stage=name, elapsed_s=round(time.monotonic() - began, 3)))

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        self.listener(Warned(message=message))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """Inputs that were opened."""

    inputs: ImpactInputs
    options: ImpactOptions
    metric: CRS
    buildings: gpd.GeoDataFrame | None
    roads: Any
    zones: gpd.GeoDataFrame | None
    dem: RasterSource | None
    population: RasterSource | None
    origins: Any


def _leave_out_empty(inputs: ImpactInputs, log: _Log) -> ImpactInputs:
    """Leave out layers of a run that found nothing of the kind: that there are no roads is an answer, and no mistake."""
    for name, of_them in (("buildings", {"dem": None, "population": None}), ("roads", {"origins": ()})):
        path = getattr(inputs, name)
        file = None if path is None or not path.is_dir() else find_features(path)
        if file is None or not file.is_file() or list_layers(file).get(name) != 0:
            continue
        if all(getattr(inputs, other) is None for other in {"buildings", "roads", "zones"} - {name}):
            raise UsageError(f"The run in {path} found no {name}, so there is nothing that a flood could reach. Name other --{name}.")
        log.warn(f"The run in {path} found no {name}, so that nothing is told of them.")
        inputs = replace(inputs, **{name: None}, **of_them)  # type: ignore[arg-type]
    return inputs


def _read(inputs: ImpactInputs, flood: Flood, options: ImpactOptions, log: _Log) -> _Given:
    """Open everything, so that what cannot work is refused before work starts."""
    buildings = None if inputs.buildings is None else read_polygons(inputs.buildings, "buildings", flood.crs)
    zones = None if inputs.zones is None else read_polygons(inputs.zones, "zones", flood.crs)
    lines = None if inputs.roads is None else read_lines(inputs.roads, flood.crs)
    tables = {name: table for name, table in (("buildings", buildings), ("roads", lines), ("zones", zones)) if table is not None}
    for name, table in tables.items():
        _check_near(name, table, flood)
        if left_out := table.attrs.get(LEFT_OUT, 0):
            kind = "line" if name == "roads" else "polygon"
            log.warn(f"{left_out} of the {left_out + len(table)} features given with --{name} have no {kind} and are left out.")
    metric = find_metric_crs(_find_place(tables, flood), flood.crs)
    roads = None if lines is None else join_lines(lines, metric, options.snap_m, options.bridge_column)
    return _Given(
        inputs=inputs,
        options=options,
        metric=metric,
        buildings=buildings,
        roads=roads,
        zones=zones,
        dem=None if inputs.dem is None else open_raster(inputs.dem).choose((1,)),
        population=None if inputs.population is None else open_raster(inputs.population).choose((1,)),
        origins=np.zeros(0, object) if roads is None else _find_origins(inputs, roads, metric, options.reach_m, log),
    )


def _find_place(tables: dict[str, gpd.GeoDataFrame], flood: Flood) -> tuple[float, float, float, float]:
    """Return bounds of the features in the flood: either may reach much farther than the other."""
    inner = [tables[name] for name in ("buildings", "roads") if name in tables] or list(tables.values())
    around = shapely.union_all([shapely.box(*table.total_bounds) for table in inner])
    both = shapely.intersection(shapely.box(*flood.bounds), around)
    left, bottom, right, top = (around if shapely.is_empty(both) else both).bounds
    return left, bottom, right, top


def _find_origins(inputs: ImpactInputs, roads: Network, metric: CRS, reach_m: float, log: _Log) -> NDArray[np.object_]:
    """Return the places that must stay within reach, in metres, as far as a road is near."""
    points = read_origins(inputs.origins, metric)
    if not len(points):
        return points
    is_near = find_spots(points, roads, reach_m).edge >= 0
    if not is_near.any():
        raise UsageError(
            f"None of the {len(points)} places given with --from has a road within {reach_m:g} m. Longitude comes first, as in "
            "85.52,27.63; --reach-m takes roads that are farther off."
        )
    if not is_near.all():
        log.warn(f"{(~is_near).sum()} of the {len(points)} places given with --from have no road within {reach_m:g} m and are left out.")
    return points[is_near]


def _check_near(name: str, table: gpd.GeoDataFrame, flood: Flood) -> None:
    """Refuse features far from the flood: their CRS is wrong, or a file is."""
    left, bottom, right, top = flood.bounds
    around = shapely.buffer(shapely.box(left, bottom, right, top), max(right - left, top - bottom))
    if not shapely.intersects(shapely.box(*table.total_bounds), around):
        raise UsageError(
            f"The {name} lie far from the flood: they span {np.round(table.total_bounds, 3).tolist()} in its CRS, the flood "
            f"{np.round(flood.bounds, 3).tolist()}. Check --{name}, and the CRS of both."
        )


def _measure(given: _Given, flood: Flood, log: _Log) -> Impact:
    buildings, roads, places, zones = given.buildings, None, None, given.zones
    elsewhere: float | None = None
    if buildings is not None:
        with log.stage("buildings"):
            buildings = measure_buildings(buildings, flood, given.options, given.metric)
        if given.dem is not None:
            with log.stage("depth"):
                buildings = _add_depths(buildings, flood, given.dem, given.metric, log)
        if given.population is not None:
            with log.stage("people"):
                buildings, elsewhere = _add_people(buildings, flood, given.population, given.options, log)
    if given.roads is not None:
        with log.stage("roads"):
            roads = cut_network(given.roads, flood, given.options, given.origins)
            _warn_of_roads(roads, given, log)
        with log.stage("places"):
            spots = None
            if buildings is not None:
                buildings, spots = reach_buildings(buildings, roads, given.options, given.metric)
            places, place_of = list_places(roads, buildings, spots, given.options.min_place_m, given.metric)
            if buildings is not None:
                buildings = replace_columns(buildings, {"place_id": place_of})
    if zones is not None:
        with log.stage("zones"):
            zones = measure_zones_hit(zones, flood, buildings, roads)
            if given.population is not None:
                people_there = count_people(zones.geometry.to_numpy(), flood.crs, given.population, given.options.population_unit)
                zones = replace_columns(zones, {"people": people_there.round(2)})
    if buildings is not None and (buildings["unknown_share"] == 1).all():
        log.warn("Nothing is known of the water at any of the buildings: the flood has no data there. Check --flood and --buildings.")
    totals = summarize(buildings, roads, places, elsewhere)
    return Impact(
        buildings=buildings,
        roads=None if roads is None else roads.table,
        cuts=None if roads is None else roads.cuts,
        places=places,
        zones=zones,
        totals=totals,
        warnings=tuple(log.warnings),
        network=roads,
    )


def _add_depths(buildings: gpd.GeoDataFrame, flood: Flood, dem: RasterSource, metric: CRS, log: _Log) -> gpd.GeoDataFrame:
    surface = find_surface(flood, dem, metric)
    if not len(surface.heights):
        log.warn("The depth of the water is not known: nowhere does the flood end on dry ground for which --dem has a height.")
    wet = np.flatnonzero((buildings["state"] == "flooded").to_numpy())
    columns = {name: np.full(len(buildings), np.nan) for name in ("depth_max_m", "depth_mean_m")}
    if len(wet):
        found = measure_depths(buildings.geometry.to_numpy()[wet], flood.crs, surface, dem, metric)
        for values, depths in zip(columns.values(), found, strict=True):
            values[wet] = depths.round(2)
    return replace_columns(buildings, columns)


def _add_people(
    buildings: gpd.GeoDataFrame, flood: Flood, population: RasterSource, options: ImpactOptions, log: _Log
) -> tuple[gpd.GeoDataFrame, float]:
    people = place_people(buildings.geometry.to_numpy(), flood.crs, population, options.population_unit)
    if people.is_beyond.any():
        log.warn(
            f"{people.is_beyond.sum()} of the {len(buildings)} buildings lie beyond the population raster and count no people. "
            "Check --population."
        )
    return replace_columns(buildings, {"people": people.in_buildings.round(3)}), people.without_building


def _warn_of_roads(roads: CutNetwork, given: _Given, log: _Log) -> None:
    if roads.is_cut.any() and not roads.network.knows_bridges and given.inputs.flood.before is None:
        log.warn(
            f"Nothing tells bridges: the roads have no column '{given.options.bridge_column}', and no water of before was given, so every "
            "road over water counts as cut. Give --flood-before, or name the column with --bridge-column."
        )
    if len(given.origins) and not (roads.pieces.access == "reached").any():
        log.warn("All places given with --from stand on roads that are under water, so that nothing is within reach.")
