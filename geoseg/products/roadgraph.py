"""Roads and their nodes as graphs: for networkx, for OSMnx, and as a GraphML file that both read."""

import io
from typing import Any

import geopandas as gpd
import networkx as nx
import numpy as np
import shapely


def to_networkx(roads: gpd.GeoDataFrame, nodes: gpd.GeoDataFrame) -> nx.MultiGraph:
    """Make an undirected graph of the layers ``roads`` and ``road_nodes``.

    Args:
        roads: Lines with ``edge_id, from_node, to_node, length_m``; further columns become attributes of edges.
        nodes: Points with ``node_id``; further columns become attributes of nodes.

    Returns:
        A graph whose nodes are node ids with ``x, y`` in the layers' CRS and whose edges have their id as key; ``crs`` is an
        attribute of the graph. ``length`` in metres, ``osmid`` and ``geometry`` are spelled as OSMnx does; lines run from
        ``from_node`` to ``to_node``.
    """
    graph = nx.MultiGraph(**_describe_place(nodes, roads))
    _add_nodes(graph, nodes)
    for row in _edge_rows(roads):
        graph.add_edge(row["from_node"], row["to_node"], key=row["osmid"], **row)
    return graph


def to_osmnx(roads: gpd.GeoDataFrame, nodes: gpd.GeoDataFrame) -> nx.MultiDiGraph:
    """Make the directed graph that OSMnx works on: every road once in each direction, as imagery does not tell one-way streets.

    Args:
        roads: Lines with ``edge_id, from_node, to_node, length_m``.
        nodes: Points with ``node_id``.

    Returns:
        A graph with ``x, y, lon, lat, street_count`` at nodes, ``osmid, length, geometry, oneway, reversed`` at edges, and ``crs``;
        lines run in the direction of their edge. A road that returns to its node stands there once.
    """
    graph = nx.MultiDiGraph(**_describe_place(nodes, roads))
    _add_nodes(graph, nodes)
    ends = np.concatenate([roads["from_node"], roads["to_node"]])
    ids, counts = np.unique(ends, return_counts=True)
    streets = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    nx.set_node_attributes(graph, {node: streets.get(node, 0) for node in graph}, "street_count")
    for row in _edge_rows(roads):
        one, other = row["from_node"], row["to_node"]
        graph.add_edge(one, other, **row, oneway=False, reversed=False)
        if one != other:
            back = {**row, "geometry": shapely.reverse(row["geometry"]), "from_node": other, "to_node": one}
            graph.add_edge(other, one, **back, oneway=False, reversed=True)
    return graph


def describe_graph(roads: gpd.GeoDataFrame, nodes: gpd.GeoDataFrame) -> bytes:
    """Return the directed graph as GraphML, which ``osmnx.load_graphml`` and ``networkx.read_graphml`` read.

    As in files of OSMnx every value is text, geometries are WKT. The same layers give the same bytes.

    Args:
        roads: As for ``to_osmnx``.
        nodes: As for ``to_osmnx``.
    """
    graph = to_osmnx(roads, nodes)
    for *_, attributes in (*graph.nodes(data=True), *graph.edges(data=True)):
        attributes.update({name: _spell(value) for name, value in attributes.items()})
    file = io.BytesIO()
    # The writer that needs no further package; with lxml networkx would choose another one.
    nx.write_graphml_xml(graph, file)
    return file.getvalue()


def _spell(value: Any) -> str:
    return shapely.to_wkt(value, rounding_precision=8) if isinstance(value, shapely.Geometry) else str(value)


def _describe_place(nodes: gpd.GeoDataFrame, roads: gpd.GeoDataFrame) -> dict[str, str]:
    crs = roads.crs if nodes.crs is None else nodes.crs
    return {"crs": "" if crs is None else crs.to_string(), "created_with": "geoseg"}


def _add_nodes(graph: nx.Graph, nodes: gpd.GeoDataFrame) -> None:
    points = nodes.geometry
    places = {"x": points.x, "y": points.y}
    if nodes.crs is not None:
        on_earth = points.to_crs("EPSG:4326")
        places |= {"lon": on_earth.x, "lat": on_earth.y}
    table = nodes.drop(columns=[points.name, "node_id"]).assign(**places)
    for node, row in zip(nodes["node_id"].tolist(), _rows(table), strict=True):
        graph.add_node(node, **row)


def _edge_rows(roads: gpd.GeoDataFrame) -> list[dict[str, Any]]:
    """Return the attributes of each road, as plain values, with the names that OSMnx knows beside our own."""
    table = roads.drop(columns=[roads.geometry.name, "length_m", "edge_id"])
    table = table.assign(osmid=roads["edge_id"], length=roads["length_m"])
    return [{**row, "geometry": line} for row, line in zip(_rows(table), roads.geometry, strict=True)]


def _rows(table: gpd.GeoDataFrame) -> list[dict[str, Any]]:
    """Return rows of a table as plain Python values, which GraphML has types for."""
    columns = {name: table[name].tolist() for name in table.columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
