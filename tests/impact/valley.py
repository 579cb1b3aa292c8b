"""A drawn valley in a flood, with exact truth: where water stands is a formula, and so is how deep."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
import shapely.affinity
from affine import Affine
from numpy.typing import NDArray

from tests.doubles import write_raster

CRS = "EPSG:32645"
LEFT, TOP = 337_000.0, 3_058_400.0
WIDE_M, HIGH_M = 600, 400
REACH_M, RIVER_M, SLOPE = 40.0, 10.0, 0.1
"""The flood reaches so far from the river's middle, the river itself so far, and banks rise so steeply."""


def away_m(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far from the river: a winding one, and a side valley whose bottom lies as high as a bank 25 m off."""
    river = np.abs(x - (300 + 40 * np.sin(y / 60)))
    side = 25 + np.hypot(x - 485, np.minimum(y - 250, 0))
    return np.minimum(river, side)


def ground_m(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return 100 + SLOPE * away_m(x, y) + 0.002 * y


def depth_m(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """The water falls along the valley as the ground does."""
    return np.maximum(SLOPE * (REACH_M - away_m(x, y)), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Valley:
    flood: Path
    before: Path
    dem: Path
    buildings: Path
    roads: Path
    zones: Path
    population: Path
    houses: gpd.GeoDataFrame
    """``name, share`` (of water on the footprint), ``deepest`` and ``hamlet``."""


ROADS = {
    "west": [(150, 0), (150, 200), (150, 400)],
    "cross": [(150, 200), (440, 200)],
    "east": [(440, 20), (440, 200), (440, 340)],
    "hamlet": [(440, 340), (520, 340)],
    "lane": [(520, 340), (590, 340), (590, 300)],
    "approach west": [(150, 20), (220, 20)],
    "high bridge": [(220, 20), (400, 20)],
    "approach east": [(400, 20), (440, 20)],
    "mill": [(150, 100), (320, 100)],
    # never joined to the others
    "forest": [(20, 300), (100, 300), (100, 380)],
}
CUT = {"cross", "hamlet", "mill"}


def place(shape: shapely.Geometry) -> shapely.Geometry:
    return shapely.transform(shape, lambda points: points + np.array([LEFT, TOP - HIGH_M]))


def place_xy(x: float, y: float) -> tuple[float, float]:
    return LEFT + x, TOP - HIGH_M + y


def draw_houses() -> gpd.GeoDataFrame:
    rng = np.random.default_rng(8)
    rows: list[dict[str, Any]] = []
    spots = [(x, y) for x in range(200, 460, 20) for y in range(30, 390, 24) if min(abs(y - 200), abs(y - 100), abs(y - 340)) > 8]
    spots += [(x, y) for x in (530, 550, 570) for y in (325, 355)]
    # not halfway between roads, nor in line with pixels
    for x, y in np.array(spots) + np.array([1.3, 0.7]):
        turned = partial(shapely.affinity.rotate, angle=rng.uniform(0, 90), origin=(x, y))
        box = turned(shapely.box(x - 5, y - 4, x + 5, y + 4))
        inside = np.stack(np.meshgrid(x + np.linspace(-4.95, 4.95, 100), y + np.linspace(-3.95, 3.95, 80)), -1).reshape(-1, 2)
        points = shapely.get_coordinates(turned(shapely.MultiPoint(inside)))
        share = float((away_m(*points.T) < REACH_M).mean())
        wall = shapely.get_coordinates(shapely.segmentize(box.exterior, 0.05))
        # what lies at the threshold is no test of it
        if not 0.07 < share < 0.13 and away_m(*points.T).min() > RIVER_M + 1:
            rows.append(
                {
                    "name": f"{x:.0f}/{y:.0f}",
                    "share": share,
                    "deepest": float(depth_m(*wall.T).max()),
                    "hamlet": bool(x > 520),
                    "geometry": place(box),
                }
            )
    return gpd.GeoDataFrame(rows, crs=CRS)


def draw_valley(folder: Path, *, pixel_m: float = 1.0, reach_m: float = REACH_M) -> Valley:
    shape = (round(HIGH_M / pixel_m), round(WIDE_M / pixel_m))
    grid = Affine(pixel_m, 0, LEFT, 0, -pixel_m, TOP)
    x, y = np.meshgrid((np.arange(shape[1]) + 0.5) * pixel_m, HIGH_M - (np.arange(shape[0]) + 0.5) * pixel_m)
    away = away_m(x, y)
    write_raster(folder / "flood.tif", (away < reach_m).astype(np.uint8)[None], transform=grid, crs=CRS)
    write_raster(folder / "before.tif", (away < RIVER_M).astype(np.uint8)[None], transform=grid, crs=CRS)
    coarse = np.meshgrid(np.arange(WIDE_M // 2) * 2 + 1.0, HIGH_M - (np.arange(HIGH_M // 2) * 2 + 1.0))
    write_raster(folder / "dem.tif", ground_m(*coarse).astype(np.float32)[None], transform=Affine(2, 0, LEFT, 0, -2, TOP), crs=CRS)
    write_raster(folder / "people.tif", np.full((1, 8, 12), 10, np.float32), transform=Affine(50, 0, LEFT, 0, -50, TOP), crs=CRS)
    houses = draw_houses()
    houses.to_file(folder / "houses.gpkg")
    roads = {"name": [*ROADS], "bridge": ["yes" if "bridge" in name else "no" for name in ROADS]}
    lines = [place(shapely.LineString(points)) for points in ROADS.values()]
    gpd.GeoDataFrame(roads, geometry=lines, crs=CRS).to_file(folder / "roads.gpkg")
    halves = [place(shapely.box(0, 0, 300, HIGH_M)), place(shapely.box(300, 0, WIDE_M, HIGH_M))]
    gpd.GeoDataFrame({"district": ["west", "east"]}, geometry=halves, crs=CRS).to_file(folder / "zones.gpkg")
    return Valley(
        flood=folder / "flood.tif",
        before=folder / "before.tif",
        dem=folder / "dem.tif",
        buildings=folder / "houses.gpkg",
        roads=folder / "roads.gpkg",
        zones=folder / "zones.gpkg",
        population=folder / "people.tif",
        houses=houses,
    )
