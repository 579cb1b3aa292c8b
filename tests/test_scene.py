"""A drawn scene is reproducible, and its truth is what was drawn."""

import numpy as np
import pytest
import shapely
from rasterio.features import rasterize
from scipy.ndimage import binary_dilation

from geoseg.errors import ConfigError
from geoseg.scene import Scene, SceneOptions, draw_scene

LAND, WATER, VEGETATION, ROAD, BUILDING, NODATA = 0, 1, 2, 3, 4, 255


def _draw(height_px: int, width_px: int, seed: int = 1, **options: float) -> Scene:
    return draw_scene(SceneOptions(height_px=height_px, width_px=width_px, seed=seed, **options))


@pytest.fixture(scope="module", params=[1, 2, 5])
def town(request: pytest.FixtureRequest) -> Scene:
    return _draw(1024, 1024, seed=request.param)


def _touching_buildings(scene: Scene) -> list[tuple[int, int]]:
    tree = shapely.STRtree(scene.buildings)
    # Outlines of shared walls are turned by the same angle, so they may differ in the last bit.
    first, second = tree.query(scene.buildings, predicate="dwithin", distance=1e-6)
    return [(a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True) if a < b]


def test_the_same_options_give_the_same_scene() -> None:
    one, two = _draw(200, 230), _draw(200, 230)
    for name in ("pixels", "valid", "classes", "instances"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert one.buildings == two.buildings
    assert one.road_lines == two.road_lines


def test_another_seed_gives_another_scene() -> None:
    one, two = _draw(200, 200, seed=1), _draw(200, 200, seed=2)
    assert not np.array_equal(one.pixels, two.pixels)
    assert not np.array_equal(one.classes, two.classes)


def test_the_plan_does_not_depend_on_the_resolution() -> None:
    fine, coarse = _draw(512, 512, resolution_m=0.3), _draw(256, 256, resolution_m=0.6)
    assert len(fine.buildings) == len(coarse.buildings)
    agreement = (fine.classes[::2, ::2] == ROAD) == (coarse.classes == ROAD)
    assert agreement.mean() > 0.98


def test_every_class_is_present(town: Scene) -> None:
    assert set(np.unique(town.classes).tolist()) == {LAND, WATER, VEGETATION, ROAD, BUILDING, NODATA}


def test_instances_are_exactly_the_building_pixels(town: Scene) -> None:
    np.testing.assert_array_equal(town.instances > 0, town.classes == BUILDING)


def test_ids_are_ranks_of_first_pixels(town: Scene) -> None:
    ids, first = np.unique(town.instances, return_index=True)
    np.testing.assert_array_equal(ids, np.arange(len(town.buildings) + 1))
    assert (np.diff(first[1:]) > 0).all()


def test_polygons_rasterize_to_their_instances(town: Scene) -> None:
    drawn = rasterize(zip(town.buildings, range(1, len(town.buildings) + 1), strict=True), out_shape=town.instances.shape, dtype="uint32")
    differs = drawn != town.instances
    right, down = (np.diff(town.instances, axis=axis) != 0 for axis in (1, 0))
    edges = np.pad(right, ((0, 0), (0, 1))) | np.pad(down, ((0, 1), (0, 0)))
    assert differs.mean() < 1e-4
    assert not (differs & ~binary_dilation(edges)).any()


def test_polygons_are_valid_and_do_not_overlap(town: Scene) -> None:
    assert all(isinstance(p, shapely.Polygon) and p.is_valid for p in town.buildings)
    for a, b in _touching_buildings(town):
        assert town.buildings[a].intersection(town.buildings[b]).area < 1e-3


def test_some_buildings_share_a_wall(town: Scene) -> None:
    walls = [town.buildings[a].buffer(0.01).intersection(town.buildings[b].buffer(0.01)).length / 2 for a, b in _touching_buildings(town)]
    assert sum(length > 10 for length in walls) >= 3


def test_streets_cross_and_lie_on_road_pixels(town: Scene) -> None:
    lines = town.road_lines
    assert any(a.crosses(b) for n, a in enumerate(lines) for b in lines[:n])
    points = np.concatenate([shapely.get_coordinates(line.segmentize(5)) for line in lines])
    cols, rows = np.clip(points.astype(int), 0, 1023).T
    on_road = np.isin(town.classes[rows, cols], [ROAD, NODATA])
    assert on_road.mean() > 0.99


def test_one_corner_has_no_data(town: Scene) -> None:
    corners = town.valid[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.sum() == 3
    np.testing.assert_array_equal(town.classes == NODATA, ~town.valid)
    np.testing.assert_array_equal((town.pixels == 0).all(axis=0), ~town.valid)
    assert 0.01 < (~town.valid).mean() < 0.08


def test_the_corner_can_be_kept() -> None:
    scene = _draw(128, 128, nodata_corner=False)
    assert scene.valid.all()
    assert NODATA not in scene.classes


def test_it_has_the_tones_of_an_orthophoto(town: Scene) -> None:
    pixels = town.pixels[:, town.valid]
    assert ((pixels.mean(axis=1) > 95) & (pixels.mean(axis=1) < 140)).all()
    assert ((pixels.std(axis=1) > 35) & (pixels.std(axis=1) < 65)).all()


@pytest.mark.parametrize("shape", [(64, 64), (100, 400), (300, 33), (1, 1)])
def test_small_and_thin_scenes_work(shape: tuple[int, int]) -> None:
    scene = _draw(*shape)
    assert scene.pixels.shape == (3, *shape)
    assert scene.valid.shape == scene.classes.shape == scene.instances.shape == shape
    assert len(scene.buildings) == scene.instances.max()


def test_types_and_georeference() -> None:
    scene = _draw(64, 96, resolution_m=0.5)
    assert (scene.pixels.dtype, scene.valid.dtype, scene.classes.dtype, scene.instances.dtype) == (np.uint8, bool, np.uint8, np.uint32)
    assert (scene.transform.a, scene.transform.e, scene.crs) == (0.5, -0.5, "EPSG:32645")


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({"height_px": 0}, "0"),
        ({"width_px": -3}, "-3"),
        ({"resolution_m": -0.3}, "-0.3"),
        ({"resolution_m": 30}, "30"),
        ({"seed": -1}, "-1"),
    ],
)
def test_nonsense_is_refused_with_the_number(options: dict[str, float], number: str) -> None:
    with pytest.raises(ConfigError, match=number):
        SceneOptions(**options)
