"""Gaps in roads: closed where distance, direction and evidence say so, never over another road."""

from itertools import combinations, product

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.objects.roads import RoadNetwork, RoadOptions, extract_roads
from geoseg.tiling import partition

BARE = RoadOptions(max_width_m=12.0, min_length_m=10.0, min_gap_score=0.0, max_way_m=0.0)
MIDDLE = 100


def extract(raster: NDArray[np.uint8], options: RoadOptions = BARE, block_px: int = 512) -> RoadNetwork:
    def read(window: Window) -> NDArray[np.uint8]:
        return raster[window.row_off : window.row_off + window.height, window.col_off : window.col_off + window.width]

    return extract_roads(read, raster.shape, partition(raster.shape, block_px), (1.0, 1.0), options)


def with_options(**changes: float) -> RoadOptions:
    return RoadOptions(**{"max_width_m": 12.0, "min_length_m": 10.0, "min_gap_score": 0.0, "max_way_m": 0.0, **changes})


def broken_road(gap_px: int, evidence: int = 0) -> NDArray[np.uint8]:
    """A road of 7 px from column 20 to 280 with a gap after column 140."""
    raster = np.zeros((200, 300), np.uint8)
    raster[MIDDLE - 3 : MIDDLE + 4, 20:280] = 240
    raster[MIDDLE - 3 : MIDDLE + 4, 140 : 140 + gap_px] = evidence
    return raster


def crossings(network: RoadNetwork) -> int:
    """Pairs of lines that cross where there is no node."""
    return sum(bool(shapely.crosses(a, b)) for a, b in combinations(network.lines, 2))


@pytest.mark.parametrize(("gap_px", "max_gap_m"), list(product([2, 8, 20, 30], [0.0, 5.0, 12.0, 25.0])))
def test_a_gap_is_closed_up_to_the_length_that_is_allowed(gap_px: int, max_gap_m: float) -> None:
    network = extract(broken_road(gap_px), with_options(max_gap_m=max_gap_m))
    if gap_px > max_gap_m:
        assert sorted(network.degree) == [1, 1, 1, 1]
        assert network.bridged_m.tolist() == [0, 0]
    else:
        (line,) = network.lines
        assert network.degree.tolist() == [1, 1]
        assert line.length == pytest.approx(260, rel=0.01)
        assert network.bridged_m[0] == pytest.approx(gap_px, abs=1)
        assert network.width_m[0] == pytest.approx(7, abs=1)
        assert network.score[0] == pytest.approx(240 / 255 * (1 - gap_px / 260), abs=0.02)


@pytest.mark.parametrize(("evidence", "closed"), [(0, False), (90, False), (115, True)])
def test_a_gap_stays_where_the_evidence_is_against_it(evidence: int, *, closed: bool) -> None:
    network = extract(broken_road(15, evidence), with_options(min_gap_score=0.4))
    assert len(network.lines) == (1 if closed else 2)


@pytest.mark.parametrize(
    ("aside_px", "degrees", "closed"),
    [(0, 0, True), (0, 20, True), (5, 0, True), (15, 0, False), (15, 20, False), (15, 50, False), (15, 90, False)],
)
def test_a_gap_is_closed_only_if_the_roads_go_the_same_way(aside_px: int, degrees: int, *, closed: bool) -> None:
    start = np.array([157.0, MIDDLE + aside_px])
    ahead = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    lines = shapely.MultiLineString([[(20, MIDDLE), (140, MIDDLE)], [tuple(start), tuple(start + 72 * ahead)]])
    y, x = np.mgrid[:200, :300] + 0.5
    raster = np.where(shapely.distance(lines, shapely.points(x, y)) <= 3.5, 255, 0).astype(np.uint8)
    assert len(extract(raster, with_options(max_turn_deg=30, max_gap_m=25)).lines) == (1 if closed else 2)


def test_roads_that_run_into_each_other_beyond_a_gap_make_a_corner() -> None:
    raster = np.zeros((200, 300), np.uint8)
    raster[97:104, 20:140] = 255
    raster[97:190, 152:159] = 255
    network = extract(raster)
    assert network.degree.tolist() == [1, 1]
    assert network.lines[0].length == pytest.approx(135.5 + 89.5, rel=0.03)


def test_roads_that_lie_side_by_side_are_not_joined_across() -> None:
    raster = np.zeros((200, 300), np.uint8)
    raster[80:87, 20:200] = 255
    raster[95:102, 20:200] = 255
    raster[110:117, 40:280] = 255
    network = extract(raster)
    assert network.degree.tolist() == [1] * 6
    assert not network.bridged_m.any()
    assert network.component.max() == 2


def test_a_dead_end_meets_the_side_of_the_road_ahead() -> None:
    raster = np.zeros((200, 300), np.uint8)
    raster[50:57, 20:280] = 255
    raster[70:180, 146:153] = 255
    network = extract(raster)
    assert sorted(network.degree) == [1, 1, 1, 3]
    assert network.node_xy[network.degree == 3][0] == pytest.approx([149.5, 53.5], abs=1)
    assert sorted(network.bridged_m)[-1] == pytest.approx(70 - 57, abs=1.5)
    assert sorted(network.bridged_m)[:2] == [0, 0]
    assert len(extract(raster, with_options(max_gap_m=10)).lines) == 2


def test_a_road_that_was_cut_by_another_one_crosses_it_in_a_node() -> None:
    raster = np.zeros((200, 300), np.uint8)
    raster[97:104, 20:280] = 255
    raster[10:88, 146:153] = 255
    raster[112:190, 148:155] = 255
    network = extract(raster, with_options(max_gap_m=40))
    assert sorted(network.degree) == [1, 1, 1, 1, 4]
    assert crossings(network) == 0


def test_of_two_ways_on_the_shorter_one_is_taken() -> None:
    raster = broken_road(12)
    raster[MIDDLE - 3 : MIDDLE + 4, 175:] = 0
    raster[20:180, 190:197] = 255
    network = extract(raster, with_options(max_gap_m=60))
    assert sorted(network.degree) == [1, 1, 1, 3]
    assert network.bridged_m.max() == pytest.approx(12 + 15, abs=2)


def test_a_roundabout_with_a_gap_is_closed() -> None:
    y, x = np.mgrid[:200, :200] + 0.5
    away = np.hypot(x - 100, y - 100)
    raster = np.where((np.abs(away - 60) <= 3.5) & ((np.abs(y - 100) > 6) | (x > 100)), 255, 0).astype(np.uint8)
    network = extract(raster)
    assert len(network.lines) == 1
    assert network.lines[0].is_ring
    assert network.lines[0].length == pytest.approx(2 * np.pi * 60, rel=0.01)
    assert network.bridged_m[0] == pytest.approx(12, abs=1.5)


def test_far_parts_stay_apart() -> None:
    raster = np.zeros((200, 300), np.uint8)
    raster[40:47, 20:280] = 255
    raster[150:157, 20:280] = 255
    assert extract(raster).component.tolist() == [0, 0, 1, 1]


def test_noise_beside_a_road_is_not_tied_to_it() -> None:
    raster = np.zeros((200, 300), np.uint8)
    raster[97:104, 20:280] = 255
    raster[112:120, 100:103] = 255
    raster[112:119, 200:203] = 255
    network = extract(raster, with_options(min_length_m=15))
    assert len(network.lines) == 1
    assert network.bridged_m.tolist() == [0]


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), block_px=st.integers(30, 120))
def test_broken_roads_are_joined_alike_for_any_blocks_and_nothing_crosses(seed: int, block_px: int) -> None:
    rng = np.random.default_rng(seed)
    ends = shapely.linestrings(rng.uniform(5, 155, (5, 2, 2)))
    y, x = np.mgrid[:160, :160] + 0.5
    points = shapely.points(x, y)
    road = np.where(shapely.distance(shapely.union_all(ends), points) <= 2.5, 250, 0)
    holes = shapely.union_all(shapely.buffer(shapely.points(rng.uniform(0, 160, (8, 2))), 6))
    raster = np.where(shapely.contains(holes, points), road // 2, road).astype(np.uint8)
    whole, parts = (extract(raster, with_options(min_length_m=8.0), size) for size in (160, block_px))
    assert shapely.to_wkb(whole.lines).tolist() == shapely.to_wkb(parts.lines).tolist()
    assert whole.bridged_m.tolist() == parts.bridged_m.tolist()
    assert crossings(whole) == 0
    assert (whole.degree == 2).sum() <= sum(line.is_ring for line in whole.lines)


def test_evidence_is_read_in_windows_little_larger_than_a_block() -> None:
    raster = np.zeros((40, 5000), np.uint8)
    raster[17:24] = 250
    raster[:, ::300] = 110
    raster[:, 1::300] = 110
    seen: list[Window] = []

    def read(window: Window) -> NDArray[np.uint8]:
        seen.append(window)
        return raster[window.row_off : window.row_off + window.height, window.col_off : window.col_off + window.width]

    network = extract_roads(read, raster.shape, partition(raster.shape, 1000), (1.0, 1.0), with_options(min_gap_score=0.4))
    assert len(network.lines) == 1
    assert max(w.width for w in seen[5:]) <= 1024 + 20
    assert len(seen) <= 5 + 5
