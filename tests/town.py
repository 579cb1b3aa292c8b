"""A drawn town at two times, with edits that are known."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.change.side import Side
from geoseg.io.tiffs.image import write_image
from geoseg.pixels.classes import NODATA_CLASS, ClassKind, ClassScheme, LandClass
from geoseg.products.features import to_ground
from geoseg.scene import Scene, SceneOptions
from geoseg.scene.buildings import Building, Part
from geoseg.scene.drawing import draw_plan
from geoseg.scene.plan import ScenePlan, plan_scene
from geoseg.scene.streets import Street, pave

SCHEME = ClassScheme(
    classes=(
        LandClass(value=0, name="land", color="#c8b48c"),
        LandClass(value=1, name="water", color="#1e78dc"),
        LandClass(value=2, name="vegetation", color="#286e28"),
        LandClass(value=3, name="road", color="#808080", kind=ClassKind.ROAD),
        LandClass(value=4, name="building", color="#dc2828", kind=ClassKind.BUILDING),
    )
)
_LEAST_M2 = 25.0
_EDGE_M = 6.0
_ROAD_M = 5.0
_EDITS = ("new", "gone", "grown", "shrunk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Town:
    """A place at two times."""

    before: Scene
    after: Scene
    edits: tuple[tuple[str, shapely.Polygon], ...]
    """What happened, and the larger footprint, in pixels of the scenes."""
    new_roads: tuple[shapely.LineString, ...]
    lost_roads: tuple[shapely.LineString, ...]


def draw_town(options: SceneOptions, *, edits: int, roads: int = 1) -> Town:
    """Draw a town twice; ``edits`` buildings of each kind differ, and ``roads`` streets are new and as many lost."""
    plan = plan_scene(options)
    rng = np.random.default_rng(options.seed)
    inside = plan.domain.buffer(-_EDGE_M)
    usual = [n for n, b in enumerate(plan.buildings) if inside.contains(b.outline) and b.outline.area >= _LEAST_M2]
    boxes = [n for n in usual if len(plan.buildings[n].parts) == 1]
    sized = rng.permutation(boxes)[: 2 * edits].tolist()
    others = rng.permutation([n for n in usual if n not in set(sized)])[: 2 * edits].tolist()
    kinds = dict(zip((*others, *sized), np.repeat(_EDITS, edits).tolist(), strict=True))
    new, lost = _choose_streets(plan, rng, roads)
    scenes = []
    for absent, small, closed in (("new", "grown", new), ("gone", "shrunk", lost)):
        buildings = [_shrink(b) if kinds.get(n) == small else b for n, b in enumerate(plan.buildings) if kinds.get(n) != absent]
        streets = pave([s for s in plan.streets.streets if s not in closed])
        scenes.append(draw_plan(options, replace(plan, buildings=tuple(buildings), streets=streets)))
    step = options.resolution_m
    return Town(
        before=scenes[0],
        after=scenes[1],
        edits=tuple((kind, _scaled(plan.buildings[n].outline, step)) for n, kind in kinds.items()),
        new_roads=tuple(_scaled(s.line.intersection(plan.domain), step) for s in new),
        lost_roads=tuple(_scaled(s.line.intersection(plan.domain), step) for s in lost),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a comparison found of the edits of a town."""

    edits: int
    found: int
    reported: int
    false: int

    def __add__(self, other: "Score") -> "Score":
        sums = (getattr(self, name) + getattr(other, name) for name in self.__slots__)
        return Score(**dict(zip(self.__slots__, sums, strict=True)))

    @property
    def shares(self) -> tuple[float, float]:
        """Edits that were found, and reports that are false."""
        return self.found / self.edits, self.false / max(self.reported, 1)


def score(town: Town, output: Path) -> dict[str, Score]:
    """Compare what ``change.gpkg`` says with the edits, kind by kind.

    A building is found where a report of the same kind covers half of the smaller of both; a road where half of it is reported within 5 m.
    A report that finds nothing is false.
    """
    geobox = place_of(town.before, (0.0, 0.0))
    told = gpd.read_file(output / "change.gpkg", layer="buildings")
    scores = {}
    for kind in _EDITS:
        edits = to_ground(np.array([*(p for k, p in town.edits if k == kind), None], dtype=object)[:-1], geobox)
        reports = told.geometry[told["status"] == kind].to_numpy()
        one, other = shapely.STRtree(reports).query(edits, predicate="intersects")
        common = shapely.area(shapely.intersection(edits[one], reports[other]))
        hits = common >= 0.5 * np.minimum(shapely.area(edits[one]), shapely.area(reports[other]))
        found = (len(np.unique(rows[hits])) for rows in (one, other))
        scores[kind] = Score(edits=len(edits), found=next(found), reported=len(reports), false=len(reports) - next(found))
    if "roads" in set(gpd.list_layers(output / "change.gpkg")["name"]):
        roads = gpd.read_file(output / "change.gpkg", layer="roads")
        for kind, lines in (("new", town.new_roads), ("lost", town.lost_roads)):
            truth = to_ground(np.array([*lines, None], dtype=object)[:-1], geobox)
            scores[f"road {kind}"] = _score_lines(truth, roads.geometry[roads["status"] == kind].to_numpy())
    return scores


def _score_lines(truth: NDArray[Any], reports: NDArray[Any]) -> Score:
    if len(truth) == 0:
        return Score(edits=0, found=0, reported=len(reports), false=len(reports))
    near_reports = shapely.union_all(shapely.buffer(reports, _ROAD_M))
    near_truth = shapely.union_all(shapely.buffer(truth, _ROAD_M))
    found = shapely.length(shapely.intersection(truth, near_reports)) >= 0.5 * shapely.length(truth)
    right = shapely.length(shapely.intersection(reports, near_truth)) >= 0.5 * shapely.length(reports)
    return Score(edits=len(truth), found=int(found.sum()), reported=len(reports), false=int((~right).sum()))


def sides(town: Town, folder: Path, moved_px: tuple[float, float]) -> tuple[Side, Side]:
    """Write the true class maps of a town, the later one misplaced by some columns and rows, with the true buildings and roads."""
    return tuple(  # type: ignore[return-value]
        _side(scene, folder / f"{name}.tif", name, moved)
        for name, scene, moved in (("before", town.before, (0.0, 0.0)), ("after", town.after, moved_px))
    )


def place_of(scene: Scene, moved_px: tuple[float, float]) -> GeoBox:
    """The grid of a scene, misplaced by some columns and rows."""
    return GeoBox(scene.classes.shape, scene.transform @ Affine.translation(*moved_px), scene.crs)


def _side(scene: Scene, path: Path, name: str, moved_px: tuple[float, float]) -> Side:
    geobox = place_of(scene, moved_px)
    write_image(path, scene.classes[None], geobox, nodata=NODATA_CLASS)
    return Side(
        name=name,
        classes=path,
        geobox=geobox,
        scheme=SCHEME,
        buildings=_table(scene.buildings, geobox),
        roads=_table(scene.road_lines, geobox).assign(width_m=6.0),
        identity=name,
    )


def _table(shapes: tuple[Any, ...], geobox: GeoBox) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(geometry=to_ground(np.array([*shapes, None], dtype=object)[:-1], geobox), crs=geobox.crs.to_wkt())


def _scaled(shape: Any, step_m: float) -> Any:
    return shapely.transform(shape, lambda points: points / step_m)


def _choose_streets(plan: ScenePlan, rng: np.random.Generator, count: int) -> tuple[list[Street], list[Street]]:
    """Streets of which at least 60 m lie on ground that has data."""
    whole = [s for s in plan.streets.streets if not s.is_main and s.line.intersection(plan.domain.buffer(-_EDGE_M)).length > 60]
    chosen = [whole[n] for n in rng.permutation(len(whole))[: 2 * count]]
    return chosen[:count], chosen[count:]


def _shrink(building: Building) -> Building:
    """The building without two fifths of its longer side."""
    part = building.parts[0]
    cut = 0.4 * part.half_length
    along: NDArray[np.float64] = np.array([math.cos(part.angle), math.sin(part.angle)])
    less = Part(
        x=part.x - float(along[0]) * cut,
        y=part.y - float(along[1]) * cut,
        half_length=part.half_length - cut,
        half_width=part.half_width,
        angle=part.angle,
    )
    return replace(building, outline=shapely.Polygon(less.corners), parts=(less,))
