"""Road networks: the graph that was drawn, whatever the blocks."""

import math
from itertools import pairwise, product

import networkx as nx
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage
from skimage.morphology import thin as skimage_thin

from geoseg.errors import ConfigError
from geoseg.objects.network.skeleton import Thinning, thin
from geoseg.objects.roads import RoadNetwork, RoadOptions, extract_roads

NARROW = RoadOptions(max_width_m=12.0, min_length_m=10.0)


def cut(shape: tuple[int, int], rows: list[int], cols: list[int]) -> list[Window]:
    """Windows between the given faces, last first: the order must not matter."""
    row_spans = list(pairwise(sorted({0, shape[0], *rows})))
    col_spans = list(pairwise(sorted({0, shape[1], *cols})))
    return [Window(left, top, right - left, bottom - top) for (top, bottom), (left, right) in product(row_spans, col_spans)][::-1]


def extract(
    raster: NDArray[np.uint8],
    options: RoadOptions = NARROW,
    pixel_m: tuple[float, float] = (1.0, 1.0),
    rows: list[int] | None = None,
    cols: list[int] | None = None,
) -> RoadNetwork:
    def read(window: Window) -> NDArray[np.uint8]:
        return raster[window.row_off : window.row_off + window.height, window.col_off : window.col_off + window.width]

    return extract_roads(read, raster.shape, cut(raster.shape, rows or [], cols or []), pixel_m, options)


def bytes_of(network: RoadNetwork) -> list[bytes]:
    arrays = (network.node_xy, network.from_node, network.to_node, network.width_m, network.score, network.bridged_m)
    return [*(a.tobytes() for a in arrays), *shapely.to_wkb(network.lines)]


def draw_roads(size: int, lines: list[tuple[tuple[float, float], tuple[float, float]]], width: float) -> NDArray[np.uint8]:
    y, x = np.mgrid[:size, :size] + 0.5
    distance = shapely.distance(shapely.points(x, y), shapely.MultiLineString(lines))
    return np.where(distance <= width / 2, 255, 0).astype(np.uint8)


STREET_ROWS, STREET_COLS, STREET = (40, 110, 170), (45, 120, 205), 7
GRID_SHAPE = (220, 260)


@pytest.fixture
def streets() -> NDArray[np.uint8]:
    raster = np.zeros(GRID_SHAPE, np.uint8)
    for row in STREET_ROWS:
        raster[row : row + STREET, 6:-6] = 255
    for col in STREET_COLS:
        raster[6:-6, col : col + STREET] = 255
    return raster


@pytest.mark.parametrize(
    ("rows", "cols"),
    [
        ([], []),
        ([110], [130]),
        ([64, 128, 192], [64, 128, 192]),
        ([43, 113, 173], [48, 123, 208]),
        (list(range(0, 220, 37)), list(range(0, 260, 11))),
        ([1, 2, 3, 219], [44, 45, 46, 47, 259]),
    ],
)
def test_streets_that_cross_block_faces_give_the_graph_that_was_drawn(streets: NDArray[np.uint8], rows: list[int], cols: list[int]) -> None:
    network = extract(streets, rows=rows, cols=cols)
    middle_y = [6, *(r + STREET / 2 for r in STREET_ROWS), GRID_SHAPE[0] - 6]
    middle_x = [6, *(c + STREET / 2 for c in STREET_COLS), GRID_SHAPE[1] - 6]
    drawn = nx.grid_2d_graph(middle_x, middle_y)
    drawn.remove_edges_from(
        [(a, b) for a, b in list(drawn.edges) if min(drawn.degree(a), drawn.degree(b)) <= 3 >= max(map(drawn.degree, (a, b)))]
    )
    drawn.remove_nodes_from(list(nx.isolates(drawn)))

    known = np.array(drawn.nodes)
    offset = np.abs(network.node_xy[:, None] - known[None]).max(axis=2)
    match = offset.argmin(axis=1)
    assert len(network.node_xy) == len(known) == len(set(match)) == 9 + 12
    assert offset.min(axis=1).max() <= 0.5
    found = {frozenset((tuple(known[match[a]]), tuple(known[match[b]]))) for a, b in zip(network.from_node, network.to_node, strict=True)}
    assert len(network.lines) == 24
    assert found == {frozenset(edge) for edge in drawn.edges}
    assert [drawn.degree(tuple(known[m])) for m in match] == network.degree.tolist()
    expected = [np.abs(known[match[a]] - known[match[b]]).sum() for a, b in zip(network.from_node, network.to_node, strict=True)]
    assert shapely.length(network.lines) == pytest.approx(expected, rel=0.01)
    assert network.component.max() == 0
    assert bytes_of(network) == bytes_of(extract(streets))


TOWN_SIZE, TOWN_WIDTH = 360, 7
QUARTER = math.pi / 2 * 30
TOWN = [
    # north street, middle street, west street, east street
    ((20, 60), (80, 60), 60),
    ((80, 60), (180, 60), 100),
    ((180, 60), (280, 60), 100),
    ((280, 60), (340, 60), 60),
    ((20, 180), (80, 180), 60),
    ((80, 180), (180, 180), 100),
    ((180, 180), (280, 180), 100),
    ((280, 180), (340, 180), 60),
    ((80, 20), (80, 60), 40),
    ((80, 60), (80, 180), 120),
    ((80, 180), (80, 240), 60),
    ((280, 20), (280, 60), 40),
    ((280, 60), (280, 160), 100),
    ((280, 160), (280, 180), 20),
    ((280, 180), (280, 300), 120),
    # a diagonal, a street that turns a corner, a roundabout
    ((180, 60), (280, 160), 100 * math.sqrt(2)),
    ((180, 180), (110, 270), 90 + 70),
    ((80, 240), (110, 270), QUARTER),
    ((80, 240), (110, 270), 3 * QUARTER),
]


@pytest.fixture(scope="module")
def town() -> NDArray[np.uint8]:
    straight = [shapely.LineString(ends[:2]) for ends in TOWN[:-3]]
    corner = shapely.LineString([(180, 180), (180, 270), (110, 270)])
    streets = shapely.union_all([*straight, corner, shapely.Point(80, 270).buffer(30, quad_segs=64).exterior])
    shapely.prepare(streets)
    y, x = np.mgrid[:TOWN_SIZE, :TOWN_SIZE] + 0.5
    return np.where(shapely.dwithin(streets, shapely.points(x, y), TOWN_WIDTH / 2), 230, 0).astype(np.uint8)


faces = st.lists(st.integers(0, 80), max_size=8)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    smooth_px=st.sampled_from([0.0, 0.7, 1.5, 3.0]),
    options=st.builds(
        RoadOptions,
        threshold=st.sampled_from([0.3, 0.45, 0.6]),
        max_width_m=st.floats(0.5, 6),
        min_length_m=st.sampled_from([0.0, 5.0, 15.0]),
        simplify_m=st.sampled_from([0.0, 0.5, 4.0]),
        min_hole_m=st.sampled_from([0.0, 3.0, 9.0]),
        smooth_m=st.sampled_from([0.0, 1.0, 3.0]),
        max_gap_m=st.sampled_from([0.0, 6.0, 20.0]),
        min_gap_score=st.sampled_from([0.0, 0.4]),
        parallel_m=st.sampled_from([0.0, 6.0]),
        max_way_m=st.sampled_from([0.0, 12.0, 40.0]),
        min_way_score=st.sampled_from([0.0, 0.3]),
        min_part_m=st.sampled_from([0.0, 20.0]),
    ),
    pixel_m=st.sampled_from([(1.0, 1.0), (0.5, 0.8)]),
    rows=faces,
    cols=faces,
)
def test_any_roads_give_the_same_network_for_any_blocks(
    seed: int, smooth_px: float, options: RoadOptions, pixel_m: tuple[float, float], rows: list[int], cols: list[int]
) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((60, 80)), smooth_px)
    raster = (255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)
    whole = extract(raster, options, pixel_m)
    parts = extract(raster, options, pixel_m, [r for r in rows if r <= 60], cols)
    assert bytes_of(parts) == bytes_of(whole)
    for line, start, end in zip(whole.lines, whole.node_xy[whole.from_node], whole.node_xy[whole.to_node], strict=True):
        assert line.coords[0] == tuple(start)
        assert line.coords[-1] == tuple(end)
        assert line.is_valid
    assert (whole.from_node <= whole.to_node).all()
    assert (whole.degree > 0).all()
    assert ((whole.score > 0) & (whole.score <= 1)).all()
    widest_m = options.max_width_m + (np.hypot(*np.multiply(raster.shape, pixel_m)) if options.parallel_m else 1e-6)
    assert ((whole.width_m > 0) & (whole.width_m <= widest_m)).all()
    assert ((whole.bridged_m >= 0) & (whole.bridged_m <= shapely.length(whole.lines) * max(pixel_m) + 1e-6)).all()
    assert options.max_gap_m > 0 or options.max_way_m > 0 or not whole.bridged_m.any()


@settings(deadline=None, max_examples=6)
@given(block_px=st.tuples(st.integers(70, 360), st.integers(70, 360)))
def test_a_town_gives_its_graph_for_any_blocks(town: NDArray[np.uint8], block_px: tuple[int, int]) -> None:
    network = extract(town, rows=list(range(0, TOWN_SIZE, block_px[0])), cols=list(range(0, TOWN_SIZE, block_px[1])))
    drawn = sorted({end for *ends, _ in TOWN for end in ends})
    offset = np.hypot(*np.moveaxis(network.node_xy[:, None] - np.array(drawn), 2, 0))
    place = offset.argmin(axis=1)
    assert sorted(place) == list(range(len(drawn)))
    assert offset.min(axis=1).max() < TOWN_WIDTH
    assert network.degree.tolist() == [sum(ends.count(drawn[i]) for *ends, _ in TOWN) for i in place]

    wanted = sorted((*sorted((drawn.index(a), drawn.index(b))), length) for a, b, length in TOWN)
    ends = np.sort(place[np.column_stack([network.from_node, network.to_node])], axis=1).tolist()
    found = sorted((*pair, float(line.length)) for pair, line in zip(ends, network.lines, strict=True))
    assert [f[:2] for f in found] == [w[:2] for w in wanted]
    assert sum(f[2] for f in found) == pytest.approx(sum(w[2] for w in wanted), rel=0.01)
    # Where roads meet at an acute angle, the middle of what they share lies outside the point where their axes meet.
    assert [f[2] for f in found] == pytest.approx([w[2] for w in wanted], rel=0.01, abs=1.5 * TOWN_WIDTH)
    assert network.component.max() == 0


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), smooth_px=st.floats(0, 4), share=st.floats(0, 1), iterations=st.integers(1, 12))
def test_thinning_equals_that_of_scikit_image(seed: int, smooth_px: float, share: float, iterations: int) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((40, 50)), smooth_px)
    road = noise <= np.quantile(noise, share)
    np.testing.assert_array_equal(thin(road, iterations), skimage_thin(road, max_num_iter=iterations))


def test_a_ring_is_one_edge_that_returns_to_its_node() -> None:
    y, x = np.mgrid[:120, :120] + 0.5
    raster = np.where(np.abs(np.hypot(x - 60, y - 60) - 45) <= 3, 200, 0).astype(np.uint8)
    network = extract(raster, rows=[33, 60], cols=[59])
    assert network.from_node.tolist() == network.to_node.tolist() == [0]
    assert network.degree.tolist() == [2]
    assert network.lines[0].is_ring
    assert network.lines[0].length == pytest.approx(2 * np.pi * 45, rel=0.02)
    assert network.score[0] == pytest.approx(200 / 255)


@pytest.mark.parametrize("width_px", [4, 7, 10])
@pytest.mark.parametrize("pixel_m", [(0.5, 0.8), (1.2, 0.6)])
def test_a_straight_road_has_its_width_and_length_on_the_ground(width_px: int, pixel_m: tuple[float, float]) -> None:
    raster = np.zeros((140, 150), np.uint8)
    raster[20 : 20 + width_px, 15:135] = 255
    along_x = extract(raster, pixel_m=pixel_m)
    along_y = extract(raster.T.copy(), pixel_m=pixel_m)
    for network, length_m, width_m, across_m in (
        (along_x, 120 * pixel_m[0], width_px * pixel_m[1], pixel_m[1]),
        (along_y, 120 * pixel_m[1], width_px * pixel_m[0], pixel_m[0]),
    ):
        (line,) = network.lines
        assert shapely.transform(line, lambda xy: xy * pixel_m).length == pytest.approx(length_m, rel=0.05)
        assert network.width_m[0] == pytest.approx(width_m, abs=across_m)
        assert network.degree.tolist() == [1, 1]


@pytest.mark.parametrize("degrees", [0, 20, 45, 70, 100, 160])
def test_a_road_as_wide_as_allowed_is_a_line_in_every_direction(degrees: int) -> None:
    direction = 70 * np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    raster = draw_roads(200, [(tuple(100 - direction), tuple(100 + direction))], 12)
    network = extract(raster)
    assert len(network.lines) == 1
    assert network.width_m[0] == pytest.approx(12, abs=1)
    assert network.lines[0].length == pytest.approx(152, abs=12)


def test_nothing_at_all_is_an_empty_network() -> None:
    for raster in (np.zeros((50, 40), np.uint8), np.full((50, 40), 100, np.uint8)):
        network = extract(raster, rows=[20])
        assert network.node_xy.shape == (0, 2)
        assert len(network.lines) == len(network.from_node) == len(network.width_m) == len(network.degree) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (40, 50)])
def test_a_raster_full_of_road_and_a_single_pixel_make_no_error(shape: tuple[int, int]) -> None:
    network = extract(np.full(shape, 255, np.uint8), rows=[20], cols=[7])
    assert len(network.lines) <= 1
    dot = np.zeros(shape, np.uint8)
    dot[0, 0] = 255
    assert len(extract(dot, RoadOptions(min_length_m=0), rows=[20]).lines) == 0


def test_pixels_of_probability_zero_are_never_road() -> None:
    assert len(extract(np.zeros((50, 40), np.uint8), RoadOptions(threshold=0)).lines) == 0


def test_short_dead_ends_leave_no_trace_and_long_ones_stay() -> None:
    raster = np.zeros((100, 200), np.uint8)
    raster[40:45, 10:190] = 255
    raster[45:52, 60:64] = 255
    assert extract(raster).degree.tolist() == [1, 1]
    raster[45:90, 120:124] = 255
    network = extract(raster)
    assert sorted(network.degree) == [1, 1, 1, 3]
    assert network.lines[0].length == pytest.approx(122 - 10, abs=2)


def test_isolated_pieces_shorter_than_the_limit_are_removed() -> None:
    raster = np.zeros((60, 100), np.uint8)
    raster[10:13, 10:20] = 255
    raster[30:33, 10:60] = 255
    assert len(extract(raster, RoadOptions(max_width_m=12, min_length_m=5, min_part_m=0)).lines) == 2
    assert len(extract(raster, RoadOptions(max_width_m=12, min_length_m=15, min_part_m=0)).lines) == 1
    assert len(extract(raster, RoadOptions(max_width_m=12, min_length_m=60, min_part_m=0)).lines) == 0


@pytest.mark.parametrize("faces_at", [[], [100], [70, 95, 96, 130]])
def test_a_place_wider_than_any_road_is_one_node_in_which_roads_meet(faces_at: list[int]) -> None:
    raster = np.zeros((200, 200), np.uint8)
    raster[70:130, 70:130] = 255
    raster[97:103, 5:195] = 255
    raster[5:100, 97:103] = 255
    network = extract(raster, rows=faces_at, cols=faces_at)
    assert sorted(network.degree) == [1, 1, 1, 3]
    assert network.node_xy[network.degree == 3][0] == pytest.approx([100, 100], abs=1.5)


@pytest.mark.parametrize("degrees", [90, 75, 60])
def test_roads_that_cross_meet_in_one_node(degrees: int) -> None:
    slope = 80 * np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    raster = draw_roads(200, [((15, 100), (185, 100)), (tuple(100 - slope), tuple(100 + slope))], 9)
    network = extract(raster)
    assert sorted(network.degree) == [1, 1, 1, 1, 4]
    assert network.node_xy[network.degree == 4][0] == pytest.approx([100, 100], abs=1.5)


def test_a_road_goes_round_an_island_but_not_round_a_car() -> None:
    raster = draw_roads(160, [((10, 80), (150, 80))], 12)
    raster[79:81, 70:73] = 0
    assert len(extract(raster).lines) == 1
    raster[50:110, 60:100] = 255
    raster[60:100, 70:90] = 0
    assert sorted(extract(raster).degree) == [1, 1, 3, 3]


def test_every_read_stays_within_a_block_and_its_margin() -> None:
    seen: list[Window] = []

    def read(window: Window) -> NDArray[np.uint8]:
        seen.append(window)
        return np.zeros((window.height, window.width), np.uint8)

    shape = (900, 1000)
    extract_roads(read, shape, cut(shape, list(range(0, 900, 100)), list(range(0, 1000, 100))), (1.0, 1.0), NARROW)
    margin = Thinning(cut=1, iterations=10, hole_px=(6, 6), max_width_m=12.0, pixel_m=(1.0, 1.0)).margin_px
    assert len(seen) == 90
    assert max(w.height for w in seen) == max(w.width for w in seen) == 100 + 2 * margin
    assert min(w.row_off for w in seen) == min(w.col_off for w in seen) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", -0.1),
        ("threshold", 1.5),
        ("threshold", float("nan")),
        ("max_width_m", 0.0),
        ("max_width_m", float("inf")),
        ("min_length_m", -15.0),
        ("simplify_m", -0.5),
        ("min_hole_m", -3.0),
        ("smooth_m", -1.5),
        ("max_gap_m", float("inf")),
        ("max_turn_deg", 91.0),
        ("min_gap_score", 1.25),
        ("max_way_m", -60.0),
        ("min_way_score", -0.3),
        ("min_part_m", float("nan")),
        ("parallel_m", -10.0),
    ],
)
def test_options_refuse_nonsense_and_name_the_number(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=str(value)):
        RoadOptions(**{name: value})


def test_a_traffic_island_where_three_roads_meet_is_one_node_and_a_city_block_is_not() -> None:
    def meet(island_px: int) -> RoadNetwork:
        raster = draw_roads(240, [((10, 100), (230, 100)), ((120, 100), (120, 230))], 12)
        y, x = np.mgrid[:240, :240] + 0.5
        island = shapely.Polygon([(120 - island_px, 97), (120 + island_px, 97), (120, 97 + 1.5 * island_px)])
        away = shapely.distance(island, shapely.points(x, y))
        raster[away <= 13] = 255
        raster[away <= 1] = 0
        return extract(raster, RoadOptions(max_width_m=24, min_length_m=10, min_hole_m=3))

    small, large = meet(4), meet(30)
    assert sorted(small.degree) == [1, 1, 1, 3]
    assert np.abs(small.node_xy[small.degree == 3][0] - (120, 100)).max() < 12
    assert sorted(large.degree) == [1, 1, 1, 3, 3, 3]
