"""Road layers as graphs."""

import io

import geopandas as gpd
import networkx as nx
import pytest
import shapely

from geoseg.products.roadgraph import describe_graph, to_networkx, to_osmnx

CRS = "EPSG:32640"


@pytest.fixture
def layers() -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Two roads between the same nodes, one that ends, one that returns to its node, and a part of its own."""
    points = shapely.points([(0, 0), (100, 0), (180, 0), (0, 500), (60, 500)])
    nodes = gpd.GeoDataFrame({"node_id": [1, 2, 3, 4, 5], "degree": [4, 3, 1, 1, 1]}, geometry=points, crs=CRS)
    lines = [
        shapely.LineString([(0, 0), (100, 0)]),
        shapely.LineString([(0, 0), (50, 40), (100, 0)]),
        shapely.LineString([(100, 0), (180, 0)]),
        shapely.LineString([(0, 0), (-30, 30), (-30, -30), (0, 0)]),
        shapely.LineString([(0, 500), (60, 500)]),
    ]
    columns = {
        "edge_id": [1, 2, 3, 4, 5],
        "from_node": [1, 1, 2, 1, 4],
        "to_node": [2, 2, 3, 1, 5],
        "length_m": [line.length for line in lines],
        "width_m": [6.5] * 5,
        "score": [0.9] * 5,
        "bridged_m": [0.0, 12.5, 0.0, 0.0, 0.0],
    }
    return gpd.GeoDataFrame(columns, geometry=lines, crs=CRS), nodes


def test_the_graph_holds_every_road_with_its_attributes(layers: tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]) -> None:
    graph = to_networkx(*layers)
    assert graph.graph["crs"] == CRS
    assert sorted(graph.edges(keys=True)) == [(1, 1, 4), (1, 2, 1), (1, 2, 2), (2, 3, 3), (4, 5, 5)]
    assert dict(graph.degree) == {1: 4, 2: 3, 3: 1, 4: 1, 5: 1}
    assert graph.edges[1, 2, 2]["bridged_m"] == 12.5
    assert nx.shortest_path_length(graph, 1, 3, weight="length") == pytest.approx(180)
    assert not nx.has_path(graph, 1, 4)
    assert (graph.nodes[2]["x"], graph.nodes[2]["y"]) == (100, 0)


def test_the_directed_graph_leads_both_ways_along_lines_in_its_direction(layers: tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]) -> None:
    graph = to_osmnx(*layers)
    assert graph.number_of_edges() == 2 * 4 + 1
    assert nx.get_node_attributes(graph, "street_count") == {1: 4, 2: 3, 3: 1, 4: 1, 5: 1}
    for one, other, edge in graph.edges(data=True):
        assert edge["geometry"].coords[0] == (graph.nodes[one]["x"], graph.nodes[one]["y"])
        assert edge["geometry"].coords[-1] == (graph.nodes[other]["x"], graph.nodes[other]["y"])
        assert edge["length"] == pytest.approx(edge["geometry"].length)
        assert (edge["from_node"], edge["to_node"]) == (one, other)
    assert sum(edge["reversed"] for *_, edge in graph.edges(data=True)) == 4


def test_graphml_is_read_back_as_the_same_graph(layers: tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]) -> None:
    told = describe_graph(*layers)
    read = nx.read_graphml(io.BytesIO(told), node_type=int, force_multigraph=True)
    graph = to_osmnx(*layers)
    assert read.graph["crs"] == CRS
    assert nx.utils.graphs_equal(nx.MultiDiGraph(read.edges()), nx.MultiDiGraph(graph.edges()))
    for one, other, key, edge in graph.edges(keys=True, data=True):
        found = read.edges[one, other, key]
        assert float(found["length"]) == edge["length"]
        assert int(found["osmid"]) == edge["osmid"]
        assert (found["oneway"], found["reversed"]) == ("False", str(edge["reversed"]))
        assert shapely.equals_exact(shapely.from_wkt(found["geometry"]), edge["geometry"], tolerance=1e-7)
    assert told == describe_graph(*layers)


def test_osmnx_reads_the_file(layers: tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]) -> None:
    osmnx = pytest.importorskip("osmnx", reason="osmnx is not installed")
    graph = osmnx.load_graphml(graphml_str=describe_graph(*layers).decode())
    stats = osmnx.basic_stats(graph)
    assert stats["n"] == 5
    assert stats["street_segment_count"] == 5
    assert stats["street_length_total"] == pytest.approx(layers[0]["length_m"].sum())


def test_no_roads_are_an_empty_graph(layers: tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]) -> None:
    roads, nodes = (layer.iloc[:0] for layer in layers)
    assert len(to_networkx(roads, nodes)) == 0
    assert len(nx.read_graphml(io.BytesIO(describe_graph(roads, nodes)))) == 0
