"""Ways along weak evidence: followed round curves to the next road, never over one, the same for any blocks."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.windows import Window
from skimage.graph import route_through_array

from geoseg.objects.network.leastcost import Ground, find_way, price_probability
from geoseg.objects.roads import RoadNetwork, RoadOptions, extract_roads
from geoseg.tiling import partition

FAINT = 95
"""A probability of 0.37: no road by itself."""


def with_options(**changes: float) -> RoadOptions:
    return RoadOptions(**{"max_width_m": 12.0, "min_length_m": 10.0, "min_part_m": 0.0, **changes})


def extract(raster: NDArray[np.uint8], options: RoadOptions, block_px: int = 512) -> RoadNetwork:
    def read(window: Window) -> NDArray[np.uint8]:
        return raster[window.row_off : window.row_off + window.height, window.col_off : window.col_off + window.width]

    return extract_roads(read, raster.shape, partition(raster.shape, block_px), (1.0, 1.0), options)


def draw(seen: shapely.Geometry, faint: shapely.Geometry, size: int = 200) -> NDArray[np.uint8]:
    y, x = np.mgrid[:size, :size] + 0.5
    points = shapely.points(x, y)
    raster = np.where(shapely.dwithin(faint, points, 3), FAINT, 0)
    return np.where(shapely.dwithin(seen, points, 3.5), 240, raster).astype(np.uint8)


def arc(start_deg: float, end_deg: float) -> shapely.LineString:
    angle = np.radians(np.linspace(start_deg, end_deg, 80))
    return shapely.LineString(np.column_stack([30 + 120 * np.cos(angle), 30 + 120 * np.sin(angle)]))


@pytest.fixture(scope="module")
def bend() -> NDArray[np.uint8]:
    """A road that turns by 86 degrees, of which the 40 m in the middle are faint."""
    return draw(shapely.union_all([arc(2, 35.5), arc(54.5, 88)]), arc(30, 60))


def test_a_faint_road_is_followed_round_a_curve(bend: NDArray[np.uint8]) -> None:
    assert len(extract(bend, with_options(max_way_m=0.0)).lines) == 2
    network = extract(bend, with_options())
    (line,) = network.lines
    assert network.degree.tolist() == [1, 1]
    assert line.length == pytest.approx(arc(2, 88).length + 7, rel=0.02)
    assert line.hausdorff_distance(arc(2, 88)) < 5
    assert network.bridged_m[0] == pytest.approx(120 * np.radians(19) - 7, abs=4)
    assert network.score[0] == pytest.approx((240 - 33 / 187 * (240 - FAINT)) / 255, abs=0.03)


@pytest.mark.parametrize("refused", [{"max_way_m": 25.0}, {"min_way_score": 0.45}, {"threshold": 0.98}])
def test_a_way_that_is_too_long_or_too_faint_is_not_taken(bend: NDArray[np.uint8], refused: dict[str, float]) -> None:
    network = extract(bend, with_options(**refused))
    assert not network.bridged_m.any()


def test_where_nothing_is_seen_there_is_no_way(bend: NDArray[np.uint8]) -> None:
    assert len(extract(np.where(bend == FAINT, 10, bend).astype(np.uint8), with_options()).lines) == 2


def test_a_faint_side_road_meets_the_first_road_and_does_not_cross_it() -> None:
    roads = shapely.MultiLineString([[(20, 60), (180, 60)], [(20, 30), (180, 30)], [(100, 180), (100, 110)]])
    raster = draw(roads, shapely.LineString([(100, 110), (112, 90), (112, 30)]))
    network = extract(raster, with_options(max_gap_m=0.0))
    assert sorted(network.degree) == [1, 1, 1, 1, 1, 3]
    assert network.node_xy[network.degree == 3][0] == pytest.approx([112, 60], abs=4)


def test_two_side_roads_opposite_each_other_meet_in_one_node() -> None:
    roads = shapely.MultiLineString([[(20, 100), (180, 100)], [(100, 190), (100, 125)], [(100, 10), (100, 75)]])
    network = extract(draw(roads, shapely.LineString([(100, 20), (100, 180)])), with_options(max_gap_m=0.0))
    assert sorted(network.degree) == [1, 1, 1, 1, 4]


def test_a_dead_end_does_not_turn_back_to_its_own_road() -> None:
    roads = shapely.MultiLineString([[(20, 100), (190, 100)], [(100, 100), (100, 130), (125, 130)]])
    raster = draw(roads, shapely.LineString([(125, 130), (150, 118), (165, 100)]))
    assert sorted(extract(raster, with_options(max_gap_m=0.0)).degree) == [1, 1, 1, 3]
    raster[:, :96] = 0
    assert extract(raster, with_options(max_gap_m=0.0)).degree.tolist() == [1, 1]
    raster[90:110, :130] = 0
    assert sorted(extract(raster, with_options(max_gap_m=0.0)).degree) == [1, 1, 1, 3]


def test_a_horseshoe_is_closed_where_it_faints() -> None:
    y, x = np.mgrid[:200, :200] + 0.5
    away, angle = np.hypot(x - 100, y - 100), np.degrees(np.arctan2(y - 100, x - 100))
    raster = np.where(np.abs(away - 60) <= 3.5, np.where(np.abs(angle) < 20, FAINT, 240), 0).astype(np.uint8)
    network = extract(raster, with_options(max_gap_m=0.0))
    assert len(network.lines) == 1
    assert network.lines[0].is_ring


def test_short_parts_go_only_after_ways_have_tied_them_to_others() -> None:
    raster = draw(shapely.MultiLineString([[(20, 40), (60, 40)], [(90, 52), (130, 52)], [(20, 150), (60, 150)]]), shapely.Point(0, 0))
    faint = draw(shapely.Point(0, 0), shapely.LineString([(60, 40), (90, 52)]))
    network = extract(np.maximum(raster, faint), with_options(max_gap_m=0.0, min_part_m=60.0))
    (line,) = network.lines
    assert line.length > 100
    assert len(extract(raster, with_options(max_gap_m=0.0, min_part_m=60.0)).lines) == 0


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_way_costs_what_that_of_scikit_image_costs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probability = rng.integers(0, 256, (30, 40)).astype(np.uint8)
    start, goal = (int(rng.integers(0, 30)), 0), (int(rng.integers(0, 30)), 39)
    spot = np.array([goal[1] + 0.5, goal[0] + 0.5])
    lines = np.array([shapely.LineString([spot, spot + 0.01])], dtype=object)
    ground = Ground.lay(probability, (0, 0), (lines, np.array([7])), (1.0, 1.0), 50)
    path = find_way(ground, start, (1.0, 0.0), (3, 0.0, 3.0), np.inf)
    price = price_probability(probability)
    _, least = route_through_array(price, start, goal, fully_connected=True, geometric=True)
    step = np.hypot(*np.diff(path, axis=0).T)
    values = price[path[:, 0], path[:, 1]]
    assert (tuple(path[0]), tuple(path[-1])) == (start, goal)
    assert (step * (values[1:] + values[:-1]) / 2).sum() == pytest.approx(least)
    assert len(find_way(ground, start, (1.0, 0.0), (3, 0.0, 3.0), 0.99 * least)) == 0


def test_a_way_does_not_slip_through_a_diagonal_line() -> None:
    probability = np.full((40, 40), 200, np.uint8)
    lines = np.array([shapely.LineString([(0.5, 39.5), (39.5, 0.5)]), shapely.LineString([(30.5, 38.5), (38.5, 30.5)])], dtype=object)
    ground = Ground.lay(probability, (0, 0), (lines, np.array([4, 9])), (1.0, 1.0), 60)
    path = find_way(ground, (5, 5), (0.7, 0.7), (0, 0.0, 3.0), np.inf)
    assert ground.edge[tuple(path[-1])] == 4


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 2**32 - 1), block_px=st.integers(30, 120))
def test_faint_roads_are_followed_alike_for_any_blocks_and_nothing_crosses(seed: int, block_px: int) -> None:
    rng = np.random.default_rng(seed)
    turns = [shapely.LineString(rng.uniform(5, 155, (3, 2))).buffer(20).exterior for _ in range(2)]
    roads = shapely.union_all([*turns, *shapely.linestrings(rng.uniform(5, 155, (4, 2, 2)))])
    holes = shapely.union_all(shapely.buffer(shapely.points(rng.uniform(0, 160, (10, 2))), 14))
    raster = draw(roads - holes, roads, 160)
    whole, parts = (extract(raster, with_options(min_length_m=8.0), size) for size in (160, block_px))
    assert shapely.to_wkb(whole.lines).tolist() == shapely.to_wkb(parts.lines).tolist()
    assert whole.bridged_m.tolist() == parts.bridged_m.tolist()
    one, _ = shapely.STRtree(whole.lines).query(whole.lines, predicate="crosses")
    assert len(one) == 0


def test_ways_in_tiny_pixels_are_looked_for_in_so_many_of_them_at_most() -> None:
    raster = np.zeros((60, 6000), np.uint8)
    raster[20:40, :2000] = 240
    seen: list[Window] = []

    def read(window: Window) -> NDArray[np.uint8]:
        seen.append(window)
        return raster[window.row_off : window.row_off + window.height, window.col_off : window.col_off + window.width]

    options = with_options(max_gap_m=0.0, max_width_m=0.5)
    extract_roads(read, raster.shape, partition(raster.shape, 1000), (0.01, 0.01), options)
    assert max(w.width for w in seen[6:]) <= 2 * 1200 + 1


def test_only_the_surroundings_of_dead_ends_are_read(bend: NDArray[np.uint8]) -> None:
    raster = np.zeros((200, 4000), np.uint8)
    raster[:, 1500:1700] = bend
    seen: list[Window] = []

    def read(window: Window) -> NDArray[np.uint8]:
        seen.append(window)
        return raster[window.row_off : window.row_off + window.height, window.col_off : window.col_off + window.width]

    network = extract_roads(read, raster.shape, partition(raster.shape, 1000), (1.0, 1.0), with_options(max_gap_m=0.0))
    assert len(network.lines) == 1
    assert len(seen) <= 4 + 2
    assert max(w.width for w in seen[4:]) <= 200 + 2 * 61
