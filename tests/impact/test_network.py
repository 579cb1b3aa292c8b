"""Lines become a network as maps mean them, and what a flood leaves of it is what networkx says."""

from itertools import pairwise
from pathlib import Path

import geopandas as gpd
import networkx as nx
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import UsageError
from geoseg.impact.flood import FLOODED, Stretches
from geoseg.impact.network import Network, join_lines, read_lines
from geoseg.impact.reach import Access, Spots, find_spots, split_network
from tests.doubles import CRS

LEFT, BOTTOM = 337_000.0, 3_058_000.0


def write_roads(path: Path, lines: list[list[tuple[float, float]]], **columns: list[object]) -> Path:
    shapes = [shapely.LineString([(LEFT + x, BOTTOM + y) for x, y in line]) for line in lines]
    gpd.GeoDataFrame(columns, geometry=shapes, crs=CRS).to_file(path, layer="roads")
    return path


def read(path: Path, snap_m: float = 1.0) -> Network:
    return join_lines(read_lines(path, CRS), CRS, snap_m, "bridge")


def ends(network: Network) -> set[frozenset[int]]:
    return {frozenset(pair) for pair in zip(network.from_node.tolist(), network.to_node.tolist(), strict=True)}


def test_a_side_road_that_ends_near_a_road_joins_it_and_its_columns_stay(tmp_path: Path) -> None:
    network = read(write_roads(tmp_path / "t.gpkg", [[(0, 0), (100, 0)], [(40, 0.6), (40, 50)]], name=["main", "side"]))
    assert network.roads["name"].tolist() == ["main", "main", "side"]
    assert network.node_count == 4
    assert network.length_m == pytest.approx([40, 60, 49.4], abs=0.05)
    # without a tolerance it stays apart
    assert len(read(tmp_path / "t.gpkg", 0.1)) == 2


def test_a_side_road_that_ends_near_a_corner_of_a_road_joins_it_too(tmp_path: Path) -> None:
    # 0.9 m beside the road and 1.3 m from its end
    network = read(write_roads(tmp_path / "t.gpkg", [[(0, 0), (100, 0)], [(0.9, 0.9), (0.9, 50)]]))
    side = network.from_node[-1]
    assert side in {*network.from_node[:-1].tolist(), *network.to_node[:-1].tolist()}


def test_lines_that_cross_are_joined_only_where_they_share_a_corner(tmp_path: Path) -> None:
    over = read(write_roads(tmp_path / "over.gpkg", [[(0, 0), (100, 0)], [(50, -50), (50, 50)]]))
    level = read(write_roads(tmp_path / "level.gpkg", [[(0, 0), (50, 0), (100, 0)], [(50, -50), (50, 0), (50, 50)]]))
    assert (len(over), over.node_count) == (2, 4)
    assert (len(level), level.node_count) == (4, 5)


def test_a_ring_and_multilines_keep_their_length(tmp_path: Path) -> None:
    ring = [(0.0, 0.0), (60.0, 0.0), (60.0, 60.0), (0.0, 60.0), (0.0, 0.0)]
    network = read(write_roads(tmp_path / "ring.gpkg", [ring, [(60, 60), (90, 90)]]))
    assert network.length_m.sum() == pytest.approx(240 + 30 * np.sqrt(2), abs=0.2)
    assert network.node_count == 3
    assert not network.knows_bridges


def test_nodes_of_a_run_are_taken_as_they_are_and_bridges_are_told(tmp_path: Path) -> None:
    columns = {"from_node": [7, 9], "to_node": [9, 30], "bridge": ["viaduct", "no"]}
    network = read(write_roads(tmp_path / "run.gpkg", [[(0, 0), (50, 0)], [(50, 0), (90, 0)]], **columns))
    assert ends(network) == {frozenset({0, 1}), frozenset({1, 2})}
    assert network.is_bridge.tolist() == [True, False]
    gpd.GeoDataFrame(geometry=[shapely.Point(LEFT, BOTTOM)], crs=CRS).to_file(tmp_path / "points.gpkg")
    with pytest.raises(UsageError, match="1 features and no line"):
        read(tmp_path / "points.gpkg")


@pytest.mark.parametrize("told", [[1, None, 0, 2], ["yes", None, "0.0", "viaduct"]])
def test_zeros_and_what_is_missing_are_no_bridges(told: list[object], tmp_path: Path) -> None:
    lines: list[list[tuple[float, float]]] = [[(0, 10 * k), (100, 10 * k)] for k in range(4)]
    network = read(write_roads(tmp_path / "t.gpkg", lines, bridge=told))
    assert network.is_bridge.tolist() == [True, False, False, True]


def test_a_spot_is_the_nearest_place_on_a_road_within_reach(tmp_path: Path) -> None:
    network = read(write_roads(tmp_path / "one.gpkg", [[(0, 0), (100, 0)]]))
    points = np.array([shapely.Point(LEFT + 30, BOTTOM + 20), shapely.Point(LEFT + 30, BOTTOM + 300)], object)
    spots = find_spots(points, network, 250)
    assert spots.edge.tolist() == [0, -1]
    assert spots.along_m[0] == pytest.approx(30, abs=0.05)
    assert spots.away_m[0] == pytest.approx(20, abs=0.01)
    pieces = split_network(network, stretches([]), None)
    assert pieces.judge(spots).tolist() == [Access.REACHED, Access.NO_ROAD]


SIDE = 4
STREETS = [((i, j), (i + 1, j)) for i in range(SIDE - 1) for j in range(SIDE)]
STREETS += [((i, j), (i, j + 1)) for i in range(SIDE) for j in range(SIDE - 1)]
CUTS = st.lists(
    st.tuples(st.integers(0, len(STREETS) - 1), st.sampled_from([0.0, 20.0, 60.0]), st.sampled_from([40.0, 80.0, 100.0])), max_size=14
)


def grid(kept: list[bool]) -> Network:
    """Streets of 100 m between 4 x 4 crossings, some of them missing."""
    edges = [street for street, is_there in zip(STREETS, kept, strict=True) if is_there]
    lines = [shapely.LineString([(100 * x, 100 * y) for x, y in edge]) for edge in edges]
    number = np.array([[SIDE * x + y for x, y in edge] for edge in edges]).reshape(-1, 2)
    return Network(
        roads=gpd.GeoDataFrame({"length_m": [100.0] * len(lines)}, geometry=lines, crs=CRS),
        metric=np.array(lines, dtype=object),
        from_node=number[:, 0],
        to_node=number[:, 1],
        node_count=SIDE * SIDE,
        is_bridge=np.zeros(len(lines), bool),
        knows_bridges=True,
    )


def stretches(cuts: list[tuple[int, float, float]]) -> Stretches:
    """Stretches as a flood gives them: those of an edge in order, none touching another."""
    joined: list[list[float]] = []
    for line, start, end in sorted(cut for cut in cuts if cut[1] < cut[2]):
        if joined and joined[-1][0] == line and joined[-1][2] >= start:
            joined[-1][2] = max(joined[-1][2], end)
        else:
            joined.append([line, start, end])
    table = np.array(joined, np.float64).reshape(-1, 3)
    state = np.full(len(table), FLOODED, np.uint8)
    return Stretches(line=table[:, 0].astype(np.int64), from_m=table[:, 1], to_m=table[:, 2], state=state)


def every_ten_metres(network: Network) -> Spots:
    along = np.tile(np.arange(5.0, 100, 10), len(network))
    edge = np.repeat(np.arange(len(network)), 10)
    return Spots(edge=edge, along_m=along, away_m=np.zeros(len(edge)))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=len(STREETS), max_size=len(STREETS)).filter(any), CUTS, st.data())
def test_what_is_reached_is_what_a_graph_of_ten_metre_steps_says(
    kept: list[bool], cuts: list[tuple[int, float, float]], data: st.DataObject
) -> None:
    network = grid(kept)
    cuts = [(line % len(network), start, end) for line, start, end in cuts]
    origin = data.draw(st.integers(0, len(network) - 1))
    at = Spots(edge=np.array([origin]), along_m=np.array([5.0]), away_m=np.zeros(1))
    spots = every_ten_metres(network)
    access = split_network(network, stretches(cuts), at).judge(spots)
    wet = {(line, along) for line, start, end in cuts for along in range(5, 100, 10) if start < along < end}
    before, after = nx.Graph(), nx.Graph()
    for edge, (one, other) in enumerate(zip(network.from_node, network.to_node, strict=True)):
        way = [("node", int(one)), *((edge, along) for along in range(5, 100, 10)), ("node", int(other))]
        nx.add_path(before, way)
        after.add_nodes_from(way)
        after.add_edges_from((a, b) for a, b in pairwise(way) if a not in wet and b not in wet)
    source = (origin, 5)
    once, now = nx.node_connected_component(before, source), nx.node_connected_component(after, source)
    if source in wet:
        now = set()
    for place, found in zip(zip(spots.edge.tolist(), spots.along_m.astype(int).tolist(), strict=True), access, strict=True):
        if place in wet:
            assert found == (Access.ROAD_FLOODED if place in once else Access.NEVER)
        else:
            assert found == (Access.REACHED if place in now else Access.CUT_OFF if place in once else Access.NEVER)


@settings(max_examples=30, deadline=None)
@given(CUTS, CUTS, st.integers(0, len(STREETS) - 1))
def test_more_water_never_reconnects(cuts: list[tuple[int, float, float]], more: list[tuple[int, float, float]], origin: int) -> None:
    network = grid([True] * len(STREETS))
    at = Spots(edge=np.array([origin]), along_m=np.array([50.0]), away_m=np.zeros(1))
    spots = every_ten_metres(network)
    less, worse = (split_network(network, stretches(all_cuts), at).judge(spots) for all_cuts in (cuts, cuts + more))
    assert ((worse != Access.REACHED) | (less == Access.REACHED)).all()


def test_without_an_origin_the_largest_part_is_the_one_that_counts() -> None:
    network = grid([True] * len(STREETS))
    column = [number for number, (one, other) in enumerate(STREETS) if (one[0], other[0]) == (2, 3)]
    pieces = split_network(network, stretches([(line, 40.0, 60.0) for line in column]), None)
    far = (network.metric[pieces.edge] == network.metric[pieces.edge]) & (shapely.bounds(network.metric[pieces.edge])[:, 0] == 300)
    assert (pieces.access[far] == Access.CUT_OFF).all()
    assert (pieces.access[pieces.from_m == 0] != Access.NEVER).all()
    assert (pieces.access[shapely.bounds(network.metric[pieces.edge])[:, 2] <= 200] == Access.REACHED).all()
