"""Roads as a network: as a run made it, or built from any lines."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree
from shapely import STRtree
from shapely.ops import substring

from geoseg.errors import UsageError
from geoseg.impact.metric import move
from geoseg.impact.opening import LEFT_OUT, read_features
from geoseg.io.ground import measure_lines

_SAME_M = 1e-3
"""Corners of two lines that are nearer are one."""
_NO = {"", "no", "false", "none", "nan", "f", "n"}
"""Words of a road that is no bridge; so are zeros, and what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Roads between nodes."""

    roads: gpd.GeoDataFrame
    """Lines in the flood's CRS with ``edge_id`` from 1, ``from_node``, ``to_node``, ``length_m`` and the columns of their file."""
    metric: NDArray[np.object_]
    """(n,) the same lines in metres."""
    from_node: NDArray[np.int64]
    """(n,) node from 0 where each line begins."""
    to_node: NDArray[np.int64]
    """(n,) node where it ends."""
    node_count: int
    """Number of nodes."""
    is_bridge: NDArray[np.bool_]
    """(n,) whether the file says that the line is a bridge."""
    knows_bridges: bool
    """Whether the file tells bridges at all."""

    @property
    def length_m(self) -> NDArray[np.float64]:
        """(n,) lengths on the ground."""
        return np.asarray(self.roads["length_m"].to_numpy(), np.float64)

    def __len__(self) -> int:
        return len(self.metric)


def read_lines(path: Path, crs: str) -> gpd.GeoDataFrame:
    """Read the lines of a vector file, or of a run folder, into a CRS, and in ``LEFT_OUT`` how many features are none.

    Raises:
        UsageError: If there are none.
    """
    table = read_features(path, "roads", crs)
    lines = table[table.geom_type.isin(["LineString", "MultiLineString"]) & (shapely.length(table.geometry.to_numpy()) > 0)]
    if lines.empty:
        raise UsageError(f"{path} holds {len(table)} features and no line; roads are lines. Check --roads.")
    lines.attrs[LEFT_OUT] = len(table) - len(lines)
    return lines


def join_lines(lines: gpd.GeoDataFrame, metric: object, snap_m: float, bridge_column: str) -> Network:
    """Make a network of lines.

    Lines that already have ``from_node`` and ``to_node`` are taken as they are. Others are joined where they share a corner, where ends
    lie within ``snap_m`` of each other, and where an end lies within it of another line. Lines that merely cross are not joined:
    maps draw bridges and tunnels so.

    Args:
        lines: Lines in the flood's CRS.
        metric: CRS in metres.
        snap_m: Tolerance in metres.
        bridge_column: Column that tells bridges; files need not have it.
    """
    crs = str(lines.crs.to_wkt())
    single = lines.explode(index_parts=False, ignore_index=True)
    single = single[shapely.length(single.geometry.to_numpy()) > 0].reset_index(drop=True)
    drawn = move(single.geometry.to_numpy(), crs, metric)
    if _has_nodes(single) and len(single) == len(lines):
        nodes, ends = np.unique(single[["from_node", "to_node"]].to_numpy(), return_inverse=True)
        ends, count = ends.reshape(-1, 2), len(nodes)
    else:
        row, drawn = _split_lines(drawn, snap_m)
        ends, count = _join_ends(drawn, snap_m)
        single = single.iloc[row].reset_index(drop=True).set_geometry(gpd.GeoSeries(move(drawn, metric, crs), crs=crs))
    kept = single.drop(columns=[name for name in single.columns if name.lower() in _OWN])
    length = measure_lines(kept.geometry.to_numpy(), crs)
    roads = kept.assign(edge_id=np.arange(1, len(kept) + 1), from_node=ends[:, 0] + 1, to_node=ends[:, 1] + 1, length_m=length)
    is_bridge = _find_bridges(single, bridge_column)
    return Network(
        roads=roads,
        metric=drawn,
        from_node=ends[:, 0],
        to_node=ends[:, 1],
        node_count=count,
        is_bridge=np.zeros(len(roads), bool) if is_bridge is None else is_bridge,
        knows_bridges=is_bridge is not None,
    )


_OWN = {"fid", "geom", "edge_id", "from_node", "to_node", "length_m"}


def _has_nodes(table: gpd.GeoDataFrame) -> bool:
    """Tell whether every line names its nodes."""
    names = ["from_node", "to_node"]
    return set(names) <= set(table.columns) and bool(table[names].notna().all(axis=None))


def _find_bridges(table: gpd.GeoDataFrame, column: str) -> NDArray[np.bool_] | None:
    if column not in table.columns:
        return None
    words = table[column].astype(str).str.strip().str.lower()
    # a column of 0 and 1 that lacks some is read as fractions
    is_zero = pd.to_numeric(words, errors="coerce") == 0
    return np.asarray((table[column].notna() & ~words.isin(_NO) & ~is_zero).to_numpy(), bool)


def _split_lines(lines: NDArray[np.object_], snap_m: float) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Cut lines where others join them; return the row of each piece, and the pieces."""
    cuts = [*_find_shared_corners(lines), *_find_side_roads(lines, snap_m)]
    by_line: dict[int, list[float]] = {}
    for line, along in cuts:
        by_line.setdefault(line, []).append(along)
    rows: list[int] = []
    pieces: list[shapely.Geometry] = []
    for row, line in enumerate(lines):
        places = np.unique(np.clip(by_line.get(row, []), 0.0, line.length))
        places = places[(places > _SAME_M) & (places < line.length - _SAME_M)]
        places = np.concatenate([[0.0], places[np.append(True, np.diff(places) > _SAME_M)[: len(places)]], [line.length]])
        parts = [line] if len(places) == 2 else [substring(line, a, b) for a, b in pairwise(places)]
        rows += [row] * len(parts)
        pieces += parts
    return np.array(rows, np.int64), np.array(pieces, dtype=object)


def _find_shared_corners(lines: NDArray[np.object_]) -> list[tuple[int, float]]:
    """Return lines and metres along them where a corner is also a corner of another line, or of the same one again."""
    points, line = shapely.get_coordinates(lines, return_index=True)
    _, place, count = np.unique(np.round(points / _SAME_M).astype(np.int64), axis=0, return_inverse=True, return_counts=True)
    step = np.hypot(*np.diff(points, axis=0).T)
    step[line[1:] != line[:-1]] = 0.0
    total = np.concatenate([[0.0], np.cumsum(step)])
    along = total - total[np.searchsorted(line, line)]
    shared = count[place.ravel()] > 1
    return list(zip(line[shared].tolist(), along[shared].tolist(), strict=True))


def _find_side_roads(lines: NDArray[np.object_], snap_m: float) -> list[tuple[int, float]]:
    """Return lines and metres along them where the end of another line lies within a tolerance."""
    ends = np.concatenate([shapely.get_point(lines, 0), shapely.get_point(lines, -1)])
    owner = np.tile(np.arange(len(lines)), 2)
    end, line = STRtree(lines).query(ends, predicate="dwithin", distance=snap_m)
    other = owner[end] != line
    end, line = end[other], line[other]
    along = shapely.line_locate_point(lines[line], ends[end])
    # near an end of that line the two ends are joined, and nothing is cut
    inside = np.minimum(*(shapely.distance(ends[end], shapely.get_point(lines[line], k)) for k in (0, -1))) > snap_m
    return list(zip(line[inside].tolist(), along[inside].tolist(), strict=True))


def _join_ends(lines: NDArray[np.object_], snap_m: float) -> tuple[NDArray[np.int64], int]:
    """Return the nodes (n, 2) of lines, and how many there are."""
    points = shapely.get_coordinates(np.concatenate([shapely.get_point(lines, 0), shapely.get_point(lines, -1)]))
    pairs = cKDTree(points).query_pairs(max(snap_m, _SAME_M), output_type="ndarray")
    graph = sparse.coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(len(points), len(points)))
    count, node = csgraph.connected_components(graph, directed=False)
    return node.reshape(2, -1).T.astype(np.int64), int(count)
