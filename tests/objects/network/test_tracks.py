"""Road lines split, joined and put in order."""

import numpy as np
import pytest
import shapely

from geoseg.objects.network.tracks import Tracks, drop_short, join_runs, node_crossings, put_in_order, split_tracks


def make_tracks(lines: list[list[tuple[float, float]]], bridged_m: list[float] | None = None) -> Tracks:
    """Lines whose equal ends are one node."""
    ends = np.array([[line[0], line[-1]] for line in lines], float)
    nodes, index = np.unique(ends.reshape(-1, 2), axis=0, return_inverse=True)
    from_node, to_node = index.reshape(-1, 2).T
    return Tracks(
        node_xy=nodes,
        from_node=from_node,
        to_node=to_node,
        xy=np.concatenate([np.array(line, float) for line in lines]),
        starts=np.concatenate([[0], np.cumsum([len(line) for line in lines])]),
        width_m=np.arange(1.0, len(lines) + 1),
        score=np.linspace(0.4, 0.8, len(lines)),
        bridged_m=np.array(bridged_m or [0.0] * len(lines)),
    )


def test_lines_that_cross_get_a_node_there() -> None:
    tracks = node_crossings(make_tracks([[(0, 0), (100, 0)], [(40, -30), (40, 30), (60, 30), (60, -30)]]))
    assert len(tracks.from_node) == 3 + 3
    assert sorted(tracks.degree) == [1, 1, 1, 1, 4, 4]
    assert sorted(map(tuple, tracks.node_xy[tracks.degree == 4])) == [(40, 0), (60, 0)]
    assert tracks.length_m.sum() == pytest.approx(100 + 140)
    for line, start, end in zip(tracks.lines, tracks.node_xy[tracks.from_node], tracks.node_xy[tracks.to_node], strict=True):
        assert (line.coords[0], line.coords[-1]) == (tuple(start), tuple(end))


def test_lines_that_cross_and_share_a_node_keep_it() -> None:
    tracks = node_crossings(make_tracks([[(0, 0), (100, 0)], [(0, 0), (50, 30), (50, -30)], [(0, 0), (-20, 0)]]))
    assert sorted(tracks.degree) == [1, 1, 1, 3, 4]
    assert len(tracks.node_xy) == len(np.unique(tracks.node_xy, axis=0))


def test_cuts_fall_where_they_were_asked_for_and_joining_undoes_them() -> None:
    whole = make_tracks([[(0, 0), (60, 0), (60, 80)], [(200, 0), (200, 50)]])
    cut, nodes = split_tracks(whole, np.array([0, 0, 1]), np.array([30.0, 60.0, 10.0]))
    assert cut.node_xy[nodes].tolist() == [[30, 0], [60, 0], [200, 10]]
    assert sorted(cut.length_m) == [10, 30, 30, 40, 80]
    joined = join_runs(cut)
    assert sorted(shapely.get_num_coordinates(joined.lines)) == [3, 4]
    assert sorted(joined.length_m) == [50, 140]


def test_pieces_of_a_line_share_what_was_bridged_by_length_and_all_of_it_is_kept() -> None:
    whole = make_tracks([[(0, 0), (60, 0), (60, 40)], [(200, 0), (200, 50)], [(300, 0), (300, 9)]], [40.0, 20.0, 7.0])
    cut, _ = split_tracks(whole, np.array([0, 0, 1]), np.array([25.0, 60.0, 12.0]))
    assert dict(zip(cut.length_m.tolist(), cut.bridged_m.tolist(), strict=True)) == pytest.approx(
        {9: 7, 25: 10, 35: 14, 40: 16, 12: 4.8, 38: 15.2}
    )
    assert join_runs(cut).bridged_m.sum() == pytest.approx(67)


def test_joined_lines_have_the_means_of_what_was_seen() -> None:
    joined = join_runs(make_tracks([[(0, 0), (30, 0)], [(30, 0), (40, 0)], [(100, 0), (40, 0)]], [0.0, 10.0, 0.0]))
    assert joined.length_m.tolist() == [100]
    assert joined.bridged_m.tolist() == [10]
    assert joined.width_m[0] == pytest.approx((1 * 30 + 3 * 60) / 90)
    assert joined.score[0] == pytest.approx((0.4 * 30 + 0.6 * 10 + 0.8 * 60) / 100)


def test_a_ring_of_pieces_becomes_one_line() -> None:
    ring = join_runs(make_tracks([[(0, 0), (10, 0)], [(10, 10), (10, 0)], [(10, 10), (0, 0)]]))
    assert len(ring.from_node) == 1
    assert ring.lines[0].is_ring


def test_what_was_bridged_does_not_count_as_seen() -> None:
    tracks = make_tracks([[(0, 0), (50, 0)], [(50, 0), (100, 0)], [(50, 0), (50, 20)]], [0.0, 0.0, 8.0])
    assert len(drop_short(tracks, 12.0, 12.0).from_node) == 3
    assert drop_short(tracks, 12.5, 12.5).length_m.tolist() == [100]
    assert len(drop_short(tracks, 150.0, 150.0).from_node) == 0


def test_order_is_by_row_then_column_and_lines_run_from_the_lower_node() -> None:
    ordered = put_in_order(make_tracks([[(50, 90), (10, 5)], [(10, 5), (90, 5)], [(90, 5), (50, 90)]]))
    assert ordered.node_xy.tolist() == [[10, 5], [90, 5], [50, 90]]
    assert list(zip(ordered.from_node.tolist(), ordered.to_node.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 2)]
    assert [line.coords[0] for line in ordered.lines] == [(10, 5), (10, 5), (90, 5)]
