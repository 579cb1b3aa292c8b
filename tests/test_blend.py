"""Blending: no frame, no trace of chunks, fewer seams; the same laws as cropping."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special

from geoseg.config import RunConfig
from geoseg.dryrun import estimate
from geoseg.errors import ChunkError, RunFolderError
from geoseg.inference.planning import plan_run
from geoseg.inference.whole import infer_raster, tiles_of
from geoseg.model.predictor import ConstantPredictor, NeighborhoodPredictor, Predictor, ThresholdPredictor, double_spec
from geoseg.model.spec import ModelSpec
from geoseg.pipeline import segment_raster
from geoseg.pixels.stitch import blend_weights
from geoseg.tiling import Stitch, TilePlan, TilingOptions, plan_tiles
from tests.doubles import ArraySource, Logged, Relative, always, bytes_of, configure, draw_blobs, write_package, write_raster

SPEC = double_spec()
GLOBAL = SPEC.model_copy(update={"network": SPEC.network.model_copy(update={"global_context": True})})


def plan(
    shape: tuple[int, int], *, tile: int = 64, halo: int = 16, stride: int = 16, chunk: int = 64, stitch: Stitch = "blend"
) -> TilePlan:
    options = TilingOptions(tile_size_px=tile, halo_px=halo, stride_px=stride, chunk_size_px=chunk, stitch=stitch)
    return plan_tiles(shape, options)


def source_of(pixels: NDArray[Any]) -> ArraySource:
    return ArraySource(pixels, pixels.any(axis=0))


def blend_whole(predictor: Predictor, source: ArraySource, tiles: TilePlan) -> NDArray[np.float64]:
    """The mean of all tiles over the whole raster, in float64 and without chunks."""
    padded = [-(-side // tiles.stride_px) * tiles.stride_px for side in source.shape]
    summed, weight = np.zeros((predictor.spec.channels, *padded)), np.zeros(padded)
    fill = [(0, p - side) for p, side in zip(padded, source.shape, strict=True)]
    pixels, valid = np.pad(source.pixels, [(0, 0), *fill]), np.pad(source.valid, fill)
    whole = plan(source.shape, tile=tiles.tile_size_px, halo=tiles.halo_px, stride=tiles.stride_px, chunk=10**6, stitch="crop")
    for tile in whole.chunk(0, 0).tiles:
        there = tile.window.toslices()
        made = predictor.predict_probabilities(pixels[:, *there][None], valid[there][None])[0]
        summed[:, *there] += blend_weights(tile) * made.astype(float)
        weight[there] += blend_weights(tile)
    return (summed / weight)[:, : source.shape[0], : source.shape[1]]


grids = st.fixed_dictionaries(
    {
        "tile": st.sampled_from([48, 64, 96]),
        "halo": st.sampled_from([0, 8, 16]),
        "stride": st.sampled_from([1, 8]),
        "chunk": st.integers(1, 200),
    }
)
shapes = st.tuples(st.integers(1, 170), st.integers(1, 170))


@settings(deadline=None, max_examples=60)
@given(shape=shapes, grid=grids)
@example(shape=(1, 1), grid={"tile": 48, "halo": 16, "stride": 8, "chunk": 1})
@example(shape=(60, 60), grid={"tile": 20, "halo": 9, "stride": 1, "chunk": 1})
def test_weights_of_a_chunk_leave_no_pixel_out_and_add_up_to_one_or_more(shape: tuple[int, int], grid: dict[str, int]) -> None:
    for chunk in plan(shape, **grid).chunks():
        weight = np.zeros(shape)
        for tile in chunk.tiles:
            rows, cols = (slice(s.start, min(s.stop, side)) for s, side in zip(tile.window.toslices(), shape, strict=True))
            weight[rows, cols] += blend_weights(tile)[: rows.stop - rows.start, : cols.stop - cols.start]
        inside = weight[chunk.window.toslices()]
        assert inside.min() >= 1 - 1e-6, f"lowest weight {inside.min()}"


def test_two_neighbors_share_a_ramp_half_as_wide_as_their_overlap() -> None:
    tile = plan((64, 200), tile=64, halo=16).tile(0, 1)
    row = blend_weights(tile)[30]
    assert row[:8].tolist() == [0] * 8
    assert row[24:40].tolist() == [1] * 16
    np.testing.assert_allclose(row[8:24] + row[8:24][::-1], 1, atol=1e-6)
    assert (np.diff(row[8:24]) > 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (50, 170), (64, 64), (130, 147)])
@pytest.mark.parametrize("channel", [0, 1])
def test_a_constant_stays_constant_up_to_the_frame(shape: tuple[int, int], channel: int) -> None:
    predictor, source = ConstantPredictor(spec=SPEC, channel=channel), source_of(np.full((3, *shape), 9, np.uint8))
    blended = infer_raster(predictor, source, plan(shape))
    single = predictor.predict(source.pixels[None], source.valid[None])[0]
    np.testing.assert_array_equal(blended, single)


@settings(deadline=None, max_examples=30)
@given(shape=shapes, grid=grids, seed=st.integers(0, 9))
def test_neither_chunks_nor_batches_leave_a_trace(shape: tuple[int, int], grid: dict[str, int], seed: int) -> None:
    source, predictor = source_of(draw_blobs(*shape, seed=seed, corner=30)), Relative(SPEC)
    whole = infer_raster(predictor, source, plan(shape, **{**grid, "chunk": 10**6}))
    np.testing.assert_array_equal(infer_raster(predictor, source, plan(shape, **grid)), whole)


@settings(deadline=None, max_examples=15)
@given(shape=shapes, grid=grids, seed=st.integers(0, 9))
def test_layers_are_those_of_the_weighted_mean_of_all_tiles(shape: tuple[int, int], grid: dict[str, int], seed: int) -> None:
    source, predictor = source_of(draw_blobs(*shape, seed=seed)), Relative(SPEC)
    tiles = plan(shape, **grid)
    layers, mean = infer_raster(predictor, source, tiles), blend_whole(predictor, source, tiles)
    clear = np.abs(mean[0] - mean[1]) > 1e-5
    np.testing.assert_array_equal(layers[0][clear], mean[:2].argmax(axis=0)[clear])
    expected = mean[:2].max(axis=0) * 100, mean[2] * 255, mean[3] * 255, mean[1] * 255
    for layer, score in zip(layers[1:], expected, strict=True):
        assert np.abs(layer - score).max() <= 0.5 + 1e-3


@settings(deadline=None, max_examples=30)
@given(shape=shapes, radius=st.sampled_from([0, 3, 8]), tile=st.sampled_from([48, 64, 112]), seed=st.integers(0, 9))
def test_blending_equals_cropping_where_half_the_halo_covers_the_receptive_field(
    shape: tuple[int, int], radius: int, tile: int, seed: int
) -> None:
    source = source_of(draw_blobs(*shape, seed=seed, corner=10))
    predictor = ThresholdPredictor(spec=SPEC) if radius == 0 else NeighborhoodPredictor(spec=SPEC, radius_px=radius)
    cropped = infer_raster(predictor, source, plan(shape, tile=tile, stitch="crop"))
    blended = infer_raster(predictor, source, plan(shape, tile=tile))
    sure = cropped[1] > 50
    np.testing.assert_array_equal(blended[0][sure], cropped[0][sure])
    np.testing.assert_array_equal(blended[0] == 255, cropped[0] == 255)
    assert np.abs(blended.astype(int) - cropped)[1:].max() <= 1


def test_blending_differs_from_cropping_where_the_receptive_field_is_wider() -> None:
    source, predictor = source_of(draw_blobs(130, 150)), NeighborhoodPredictor(spec=SPEC, radius_px=16)
    cropped, blended = (infer_raster(predictor, source, plan((130, 150), stitch=stitch)) for stitch in ("crop", "blend"))
    assert (cropped != blended).any()


def seam_step(evidence: NDArray[np.uint8], seams: list[int]) -> float:
    """Largest mean step between two columns at seams, in probability."""
    steps = np.abs(np.diff(evidence.astype(float), axis=1)).mean(axis=0) / 255
    return float(max(steps[seam - 1] for seam in seams))


def test_seams_of_a_model_that_sees_the_whole_tile_are_smaller_when_blended() -> None:
    ramp = np.linspace(20, 230, 400).astype(np.uint8)
    source = source_of(np.broadcast_to(ramp, (3, 64, 400)).copy())
    tiles = plan((64, 400), stitch="crop")
    seams = [tiles.tile(0, i).core.col_off for i in range(1, tiles.tile_count)]
    cropped, blended = (infer_raster(Relative(SPEC), source, plan((64, 400), stitch=stitch))[-1] for stitch in ("crop", "blend"))
    assert seam_step(cropped, seams) > 0.1
    assert seam_step(blended, seams) < seam_step(cropped, seams) / 5


@settings(deadline=None, max_examples=60)
@given(shape=shapes, grid=grids)
def test_what_is_inferred_twice_is_counted(shape: tuple[int, int], grid: dict[str, int]) -> None:
    tiles = plan(shape, **grid)
    assert tiles.inferred_count == sum(len(chunk.tiles) for chunk in tiles.chunks())
    rows, cols = tiles.tile_shape
    assert tiles.halo_work == pytest.approx(tiles.inferred_count * rows * cols / (shape[0] * shape[1]))
    limit = (tiles.tiles_per_chunk + 2) * np.array(tiles.tile_shape)
    for chunk in tiles.chunks():
        assert chunk.footprint.height <= limit[0]
        assert chunk.footprint.width <= limit[1]


def test_one_chunk_infers_nothing_twice() -> None:
    assert plan((300, 300), chunk=10**6).inferred_count == plan((300, 300), stitch="crop").tile_count


@pytest.mark.parametrize(("spec", "stitch"), [(SPEC, "crop"), (GLOBAL, "blend")])
def test_a_model_with_global_context_is_blended_unless_something_else_is_asked(spec: ModelSpec, stitch: str, tmp_path: Path) -> None:
    assert tiles_of(spec, (200, 200), 16).stitch == stitch
    raster = write_raster(tmp_path / "image.tif", draw_blobs(80, 90))
    config = configure(raster, write_package(tmp_path / "package", spec), tmp_path / "out")
    assert plan_run(config).tiles.stitch == stitch
    for asked in ("crop", "blend"):
        assert plan_run(config.model_copy(update={"stitch": asked})).tiles.stitch == asked


# The whole line


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    raster = write_raster(tmp_path / "blobs.tif", draw_blobs(150, 200, corner=60), nodata=0)
    return configure(raster, write_package(tmp_path / "package", GLOBAL), tmp_path / "out", chunk_size=64)


def test_a_blended_run_that_was_broken_off_ends_as_an_unbroken_one_of_any_chunk_size(config: RunConfig, tmp_path: Path) -> None:
    logged = Logged(Relative(GLOBAL), tmp_path / "calls", fails_from=23)
    with pytest.raises(ChunkError, match="the power is out"):
        segment_raster(config, load=always(logged))
    kept = set((config.output / ".work" / "chunks").rglob("*.tif"))
    assert kept
    run = bytes_of(segment_raster(config, load=always(Relative(GLOBAL))))
    for name, options in {"unbroken": {}, "otherwise": {"chunk_size": 100, "batch_size": 3}}.items():
        again = config.model_copy(update={"output": tmp_path / name, **options})
        assert bytes_of(segment_raster(again, load=always(Relative(GLOBAL)))) == run, name


def test_invalid_pixels_stay_without_data_and_all_others_get_a_class(config: RunConfig) -> None:
    source = plan_run(config).source
    layers = infer_raster(Relative(GLOBAL), source, plan_run(config).tiles)
    _, valid = source.read(plan((150, 200), chunk=10**6).chunk(0, 0).window)
    np.testing.assert_array_equal(layers[0] == 255, ~valid)
    assert 0.05 < (~valid).mean() < 0.95


def test_a_run_does_not_go_on_under_another_way_of_stitching(config: RunConfig) -> None:
    segment_raster(config, load=always(Relative(GLOBAL)))
    segment_raster(config.model_copy(update={"stitch": "blend"}), load=always(Relative(GLOBAL)))
    with pytest.raises(RunFolderError, match="stitch was 'blend', is now 'crop'"):
        segment_raster(config.model_copy(update={"stitch": "crop"}), load=always(Relative(GLOBAL)))


def test_the_plan_says_what_blending_costs(config: RunConfig) -> None:
    crop, blend = (config.model_copy(update={"stitch": stitch}) for stitch in ("crop", "blend"))
    assert plan_run(blend).memory_bytes > plan_run(crop).memory_bytes
    rows = dict(estimate(blend, always(Relative(GLOBAL))).rows())
    assert rows["stitch"].startswith("blend")
    assert float(rows["halo work"].split()[0]) > float(dict(estimate(crop, always(Relative(GLOBAL))).rows())["halo work"].split()[0])


def test_probabilities_of_doubles_are_those_of_scipy() -> None:
    pixels, valid = draw_blobs(16, 16)[None], np.ones((1, 16, 16), bool)
    made = NeighborhoodPredictor(spec=SPEC, radius_px=2).predict_probabilities(pixels, valid)[0]
    logit = special.logit(made[2].astype(float))
    np.testing.assert_allclose(made[1], special.softmax([np.zeros_like(logit), logit], axis=0)[1], atol=1e-6)
    np.testing.assert_allclose(made[0] + made[1], 1, atol=1e-6)
