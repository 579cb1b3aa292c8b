"""Objects on the ground: every building stays, valid in the raster's CRS and inside the raster."""

from collections.abc import Iterable

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.affinity import rotate, translate

from geoseg.io.ground import pixel_step_m
from geoseg.objects.instances import InstanceTable
from geoseg.objects.outlines.cut import cut_off as outlines_cut_off
from geoseg.objects.regularize import RegularizeMethod, RegularizeOptions
from geoseg.objects.roads import RoadNetwork
from geoseg.objects.vectorize import Patches
from geoseg.products import features
from geoseg.products.features import building_features, to_ground

SIDE = 64
MERCATOR = GeoBox((SIDE, SIDE), Affine(0.3, 0, 9_520_000, 0, -0.3, 3_203_000), "EPSG:3857")


def patches_of(polygons: NDArray[np.object_]) -> Patches:
    count = np.arange(len(polygons))
    return Patches(values=count + 1, polygons=polygons, pixels=count, first=count)


def make_buildings(polygons: NDArray[np.object_], method: RegularizeMethod, nodata: Iterable[Patches] = ()) -> gpd.GeoDataFrame:
    none = np.zeros(len(polygons), np.bool_)
    table = InstanceTable(area_px=np.ones(len(polygons), np.int64), score=np.ones(len(polygons)), touches_edge=none, touches_nodata=none)
    names = np.array(["house", "shed"] * len(polygons), object)[: len(polygons)]
    return building_features(patches_of(polygons), table, names, nodata, MERCATOR, RegularizeOptions(method=method))


def test_what_the_rounding_of_coordinates_breaks_is_repaired_and_named() -> None:
    """The corner of a court lies on a wall, which no double precision map keeps so."""
    house = shapely.Polygon([(0, 0), (10, 4), (10, 14), (0, 14)], [[(5, 2), (7, 6), (3, 6)]])
    houses = np.array([translate(house, 10 * (k % 5), 2 + 12 * (k // 5)) for k in range(20)])
    assert shapely.is_valid(houses).all()
    made = make_buildings(houses, RegularizeMethod.NONE)
    assert made.is_valid.all()
    assert set(made.geom_type) == {"Polygon"}
    assert set(made.status) == {"simplified", "unchanged"}
    np.testing.assert_allclose(made.area, shapely.area(to_ground(houses, MERCATOR)), rtol=1e-6)


@pytest.mark.parametrize("degrees", [20, 45])
def test_regularized_outlines_stay_in_the_raster(degrees: float) -> None:
    houses = np.array(
        [rotate(shapely.box(x - 8, y - 5, x + 8, y + 5), degrees) for x, y in [(1, 20), (30, 62), (62, 30), (30, 2), (34, 34)]]
    )
    raster = shapely.box(0, 0, SIDE, SIDE)
    made = make_buildings(shapely.intersection(houses, raster), RegularizeMethod.RIGHT_ANGLES)
    assert "regularized" in made.status.tolist()
    (ground,) = to_ground(np.array([raster]), MERCATOR)
    assert made.difference(ground).area.max() <= 1e-6
    assert (np.abs(made.bounds.to_numpy() - ground.bounds) <= 1e-6).sum() >= 4


def test_of_nodata_in_batches_only_what_lies_near_buildings_is_held_and_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def cut_off(outlines: NDArray[np.object_], forbidden: NDArray[np.object_], shape: tuple[int, int]) -> NDArray[np.object_]:
        held.append(len(forbidden))
        return outlines_cut_off(outlines, forbidden, shape)

    monkeypatch.setattr(features, "cut_off", cut_off)
    across = np.arange(0, SIDE, 2)
    batches = (patches_of(shapely.box(across, y, across + 1, y + 1)) for y in across)
    made = make_buildings(np.array([shapely.box(4, 4, 11, 11)]), RegularizeMethod.NONE, batches)
    assert held == [16]
    (ground,) = to_ground(np.array([shapely.box(4, 4, 11, 11)]), MERCATOR)
    assert made.area[0] == pytest.approx(ground.area * 33 / 49)
    assert make_buildings(np.empty(0, object), RegularizeMethod.NONE, [patches_of(np.empty(0, object))]).empty


def test_roads_far_from_the_middle_row_have_their_own_metres() -> None:
    geobox = GeoBox((40_000, 100), Affine(20, 0, 1_300_000, 0, -20, 7_000_000), "EPSG:3857")
    rows = np.array([100.0, 20_000.0, 39_900.0])
    lines = np.array([shapely.LineString([(10, row), (60, row)]) for row in rows], object)
    middle_m = pixel_step_m(geobox)[0]
    same, ends = np.full(3, 5 * middle_m), np.arange(3)
    network = RoadNetwork(
        lines=lines, from_node=ends, to_node=ends, width_m=same, score=np.ones(3), bridged_m=50 * same / 5, node_xy=np.zeros((3, 2))
    )
    made = features.road_features(network, geobox)
    widths = [5 * pixel_step_m(geobox, row)[0] for row in rows]
    assert widths[0] < 0.92 * widths[2]
    np.testing.assert_allclose(made["width_m"], widths, rtol=1e-3)
    np.testing.assert_allclose(made["bridged_m"], made["length_m"], rtol=1e-3)
