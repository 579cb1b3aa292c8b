"""Two tracks of one road become one line."""

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from geoseg.objects.network.parallels import merge_parallels
from geoseg.objects.network.tracks import Tracks
from geoseg.objects.roads import RoadOptions, extract_roads
from geoseg.tiling import partition


def draw_island(apart_px: int) -> NDArray[np.uint8]:
    """A road of 8 px that parts round an island 120 px long and comes together again."""
    raster = np.zeros((200, 320), np.uint8)
    raster[96:104, 10:310] = 255
    half = apart_px // 2
    raster[100 - half - 4 : 100 + half + 4, 90:230] = 255
    raster[100 - half + 4 : 100 + half - 4, 100:220] = 0
    return raster


def lines_of(raster: NDArray[np.uint8], parallel_m: float) -> tuple[list[shapely.LineString], list[float]]:
    options = RoadOptions(max_width_m=20.0, min_length_m=10.0, min_hole_m=3.0, parallel_m=parallel_m)
    network = extract_roads(
        lambda w: raster[w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width],
        raster.shape,
        partition(raster.shape, 128),
        (1.0, 1.0),
        options,
    )
    return list(network.lines), network.width_m.tolist()


@pytest.mark.parametrize(("apart_px", "parallel_m", "count"), [(16, 20, 1), (16, 0, 4), (40, 20, 4), (40, 60, 1)])
def test_tracks_between_the_same_nodes_become_one_where_they_stay_near(apart_px: int, parallel_m: float, count: int) -> None:
    lines, widths = lines_of(draw_island(apart_px), parallel_m)
    assert len(lines) == count
    if count == 1:
        assert lines[0].length == pytest.approx(300, rel=0.02)
        assert max(abs(y - 100) for _, y in lines[0].coords) < 2
        assert 8 < widths[0] < 8 + apart_px


def make_tracks(lines: list[list[tuple[float, float]]], ends: list[tuple[int, int]], nodes: list[tuple[float, float]]) -> Tracks:
    from_node, to_node = np.array(ends).T
    return Tracks(
        node_xy=np.array(nodes, float),
        from_node=from_node,
        to_node=to_node,
        xy=np.concatenate([np.array(line, float) for line in lines]),
        starts=np.concatenate([[0], np.cumsum([len(line) for line in lines])]),
        width_m=np.full(len(lines), 6.0),
        score=np.linspace(0.5, 0.9, len(lines)),
        bridged_m=np.zeros(len(lines)),
    )


NODES = [(0.0, 0.0), (100.0, 0.0), (-50.0, 0.0), (150.0, 0.0)]
ARMS = [[NODES[2], NODES[0]], [NODES[1], NODES[3]]]


def test_three_tracks_become_one_and_the_road_goes_on() -> None:
    tracks = make_tracks(
        [*ARMS, [NODES[0], (50, 4), NODES[1]], [NODES[1], (50, -4), NODES[0]], [NODES[0], (50, 0), NODES[1]]],
        [(2, 0), (1, 3), (0, 1), (1, 0), (0, 1)],
        NODES,
    )
    merged = merge_parallels(tracks, 12.0, 1.0)
    assert merged.length_m.tolist() == pytest.approx([200], abs=1)
    assert merged.degree.tolist() == [1, 1]
    assert merged.score[0] == pytest.approx(np.average([0.5, 0.6, 0.8], weights=[50, 50, 100]), abs=0.03)


def test_tracks_with_another_road_between_them_stay() -> None:
    island = [(30.0, 3.0), (30.0, -3.0)]
    tracks = make_tracks(
        [[NODES[0], (50, 5), NODES[1]], [NODES[0], (50, -5), NODES[1]], island], [(0, 1), (0, 1), (2, 3)], [*NODES[:2], *island]
    )
    assert len(merge_parallels(tracks, 12.0, 1.0).from_node) == 3
