"""Tiles: cores and chunks partition the raster, halos surround every inner core."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from geoseg.errors import ConfigError
from geoseg.tiling import Tile, TilePlan, TilingOptions, halo_step, partition, plan_tiles


@st.composite
def plans(draw: st.DrawFn) -> TilePlan:
    stride = draw(st.sampled_from([1, 2, 3, 8, 32]))
    halo = draw(st.integers(0, 6)) * halo_step(stride)
    return TilePlan(
        height=draw(st.integers(1, 600)),
        width=draw(st.integers(1, 600)),
        tile_size_px=2 * halo + max(stride, draw(st.integers(8, 200)) // stride * stride),
        halo_px=halo,
        stride_px=stride,
        tiles_per_chunk=draw(st.integers(1, 5)),
        fit=draw(st.booleans()),
    )


def plan_of(height: int, width: int) -> TilePlan:
    return plan_tiles((height, width), TilingOptions(tile_size_px=128, halo_px=32, stride_px=32, chunk_size_px=256))


def tiles_of(plan: TilePlan) -> list[Tile]:
    return [tile for chunk in plan.chunks() for tile in chunk.tiles]


def cover(shape: tuple[int, int], windows: list[Window]) -> np.ndarray:
    times = np.zeros(shape, int)
    for w in windows:
        assert w.width > 0
        assert w.height > 0
        times[w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width] += 1
    assert sum(w.width * w.height for w in windows) == times.sum(), "a window reaches past the raster"
    return times


def sides(tile: Tile) -> list[tuple[int, int, int, int]]:
    """Start and end of the window, start and end of the core, for rows and for columns."""
    w, c = tile.window, tile.core
    rows = (w.row_off, w.row_off + w.height, c.row_off, c.row_off + c.height)
    return [rows, (w.col_off, w.col_off + w.width, c.col_off, c.col_off + c.width)]


@settings(deadline=None, max_examples=80)
@given(plan=plans())
@example(plan=plan_of(300, 2000))
@example(plan=plan_of(1, 1))
@example(plan=plan_of(127, 129))
def test_cores_and_chunks_partition_the_raster(plan: TilePlan) -> None:
    tiles = tiles_of(plan)
    assert (cover((plan.height, plan.width), [t.core for t in tiles]) == 1).all()
    assert (cover((plan.height, plan.width), [c.window for c in plan.chunks()]) == 1).all()
    assert len(tiles) == plan.tile_count
    assert len({c.name for c in plan.chunks()}) == plan.chunk_count == plan.chunk_shape[0] * plan.chunk_shape[1]


@settings(deadline=None, max_examples=80)
@given(plan=plans())
@example(plan=plan_of(300, 2000))
@example(plan=plan_of(100, 4000))
def test_tiles_hang_on_the_stride_and_end_where_the_padded_raster_ends(plan: TilePlan) -> None:
    padded = [-(-n // plan.stride_px) * plan.stride_px for n in (plan.height, plan.width)]
    tiles = tiles_of(plan)
    for tile in tiles:
        assert tile.window.row_off % plan.stride_px == tile.window.col_off % plan.stride_px == 0
        assert (tile.window.height, tile.window.width) == plan.tile_shape
    for axis, end in enumerate(padded):
        assert min(sides(t)[axis][0] for t in tiles) == 0
        assert max(sides(t)[axis][1] for t in tiles) == end


@settings(deadline=None, max_examples=80)
@given(plan=plans())
@example(plan=plan_of(300, 2000))
def test_every_core_keeps_its_halo_but_at_the_edge_of_the_raster(plan: TilePlan) -> None:
    for tile in tiles_of(plan):
        for (begin, end, core_begin, core_end), length in zip(sides(tile), (plan.height, plan.width), strict=True):
            assert core_begin == 0 or core_begin - begin >= plan.halo_px
            assert core_end == length or end - core_end >= plan.halo_px


@settings(deadline=None, max_examples=40)
@given(plan=plans())
def test_a_footprint_is_the_smallest_window_of_its_tiles(plan: TilePlan) -> None:
    for chunk in plan.chunks():
        spans = [[sides(t)[axis] for t in chunk.tiles] for axis in (0, 1)]
        (top, bottom), (left, right) = ((min(s[0] for s in axis), max(s[1] for s in axis)) for axis in spans)
        assert chunk.footprint == Window(left, top, right - left, bottom - top)
        assert len(chunk.tiles) <= plan.tiles_per_chunk**2


@settings(deadline=None, max_examples=40)
@given(plan=plans())
def test_halo_work_is_what_the_tiles_hold_per_pixel(plan: TilePlan) -> None:
    inferred = sum(t.window.width * t.window.height for t in tiles_of(plan))
    assert plan.halo_work == pytest.approx(inferred / (plan.height * plan.width))
    assert plan.halo_work >= 1


def test_halo_work_of_a_known_plan() -> None:
    plan = plan_of(256, 256)
    assert plan.tile_count == 9
    assert plan.halo_work == pytest.approx(9 * 128**2 / 256**2)


def test_sizes_are_rounded_up_to_the_stride_and_chunks_to_whole_tiles() -> None:
    plan = plan_tiles((5000, 5000), TilingOptions(tile_size_px=500, halo_px=33, stride_px=32, chunk_size_px=1000))
    assert (plan.tile_size_px, plan.halo_px) == (512, 48)
    assert plan.tiles_per_chunk == 1000 // (512 - 2 * 64)
    assert plan_tiles((5000, 5000), TilingOptions(tile_size_px=512, halo_px=64, stride_px=32, chunk_size_px=1)).tiles_per_chunk == 1


@settings(deadline=None, max_examples=80)
@given(plan=plans())
@example(plan=plan_of(300, 2000))
def test_fitted_tiles_are_no_more_and_no_larger(plan: TilePlan) -> None:
    loose, fitted = replace(plan, fit=False), replace(plan, fit=True)
    assert fitted.tile_count <= loose.tile_count
    assert max(fitted.tile_shape) <= plan.tile_size_px
    assert fitted.halo_work <= loose.halo_work


def test_fitting_takes_what_the_last_tiles_overlap_too_much() -> None:
    loose = plan_tiles((4352, 5632), TilingOptions(tile_size_px=768, halo_px=48, stride_px=16))
    fitted = replace(loose, fit=True)
    assert (loose.tile_count, fitted.tile_count) == (63, 63)
    assert fitted.tile_shape == (704, 720)
    assert loose.halo_work > 1.5
    assert fitted.halo_work < 1.31


def test_a_raster_smaller_than_a_tile_is_one_tile_of_its_padded_size() -> None:
    plan = plan_tiles((400, 1), TilingOptions(tile_size_px=512, halo_px=128, stride_px=32))
    assert plan.tile_count == 1
    assert plan.tile_shape == (416, 32)


@settings(deadline=None, max_examples=40)
@given(height=st.integers(1, 90), width=st.integers(1, 90), block_px=st.integers(1, 100))
def test_blocks_partition_the_raster_row_major(height: int, width: int, block_px: int) -> None:
    blocks = list(partition((height, width), block_px))
    assert (cover((height, width), blocks) == 1).all()
    assert [(b.row_off, b.col_off) for b in blocks] == sorted((b.row_off, b.col_off) for b in blocks)
    assert max(max(b.width, b.height) for b in blocks) <= block_px


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({"height": 0}, "0 rows"),
        ({"width": -3}, "-3 columns"),
        ({"tile_size_px": 100}, "100"),
        ({"halo_px": 20}, "20"),
        ({"halo_px": 32, "tile_size_px": 64}, "above 64"),
        ({"tiles_per_chunk": 0}, "0"),
        ({"stride_px": 0}, "0"),
        ({"halo_px": -16}, "-16"),
    ],
)
def test_a_plan_refuses_sizes_that_do_not_fit_and_names_them(change: dict[str, Any], number: str) -> None:
    sizes = {"height": 500, "width": 500, "tile_size_px": 128, "halo_px": 16, "stride_px": 16, "tiles_per_chunk": 2}
    with pytest.raises(ConfigError, match=number):
        TilePlan(**{**sizes, **change})


@pytest.mark.parametrize(
    ("change", "number"),
    [({"tile_size_px": -5}, "-5"), ({"halo_px": -7}, "-7"), ({"chunk_size_px": 0}, "0"), ({"halo_px": 64}, "above 128")],
)
def test_planning_refuses_options_that_do_not_fit_and_names_them(change: dict[str, Any], number: str) -> None:
    sizes = {"tile_size_px": 128, "halo_px": 32, "stride_px": 32, "chunk_size_px": 512}
    with pytest.raises(ConfigError, match=number):
        plan_tiles((500, 500), TilingOptions(**{**sizes, **change}))
