"""Batches: full wherever they can be, padded where not, halved where memory is short, and what comes back is each tile's own."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geoseg.errors import DeviceMemoryError, ModelError, RunError
from geoseg.inference.batching import LAYERS, PROBABILITIES, Batcher, Immediate, TileInput, Wanted
from geoseg.model.predictor import Keep, NeighborhoodPredictor, Predictor, double_spec
from geoseg.model.spec import ModelSpec

RADIUS = 4
SPEC = double_spec(stride_px=8, tile_size_px=64, halo_px=8)
NEAR = NeighborhoodPredictor(spec=SPEC, radius_px=RADIUS)
WHOLE = (slice(0, 64), slice(0, 64))


@dataclass
class Watched:
    """A predictor that notes the batches it gets, and has memory for so many pixels."""

    inner: Predictor = NEAR
    most_px: int = 10**9
    batches: list[tuple[int, ...]] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    wait: Callable[[], Any] = lambda: None

    @property
    def spec(self) -> ModelSpec:
        return self.inner.spec

    def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
        self._note(valid)
        return self.inner.predict(pixels, valid, keep)

    def predict_probabilities(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        self._note(valid)
        return self.inner.predict_probabilities(pixels, valid)

    def _note(self, valid: NDArray[np.bool_]) -> None:
        self.wait()
        self.threads.add(threading.current_thread().name)
        if valid.size > self.most_px:
            raise DeviceMemoryError(f"no memory for {valid.size} px")
        self.batches.append(valid.shape)


def draw_tile(seed: int, shape: tuple[int, int] = (64, 64), keep: Keep | None = None, wanted: Wanted = LAYERS) -> TileInput:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (3, *shape), dtype=np.uint8)
    valid = rng.random(shape) < 0.95
    return TileInput(pixels=pixels, valid=valid, keep=keep or (slice(0, shape[0]), slice(0, shape[1])), wanted=wanted)


def expect(tile: TileInput) -> NDArray[Any]:
    if tile.wanted == PROBABILITIES:
        return NEAR.predict_probabilities(tile.pixels[None], tile.valid[None])[0][:, *tile.keep]
    return NEAR.predict(tile.pixels[None], tile.valid[None])[0][:, *tile.keep]


def infer(batcher: Batcher, tiles: list[TileInput]) -> list[NDArray[Any]]:
    with batcher.feed():
        results = [batcher.submit(tile) for tile in tiles]
    return [result.result(timeout=20) for result in results]


def assert_each_its_own(found: list[NDArray[Any]], tiles: list[TileInput]) -> None:
    for output, tile in zip(found, tiles, strict=True):
        np.testing.assert_array_equal(output, expect(tile))


@pytest.mark.parametrize("wanted", [LAYERS, PROBABILITIES])
@pytest.mark.parametrize(("size", "batches"), [(1, [1] * 5), (2, [2, 2, 2]), (4, [4, 4]), (8, [8])])
def test_batches_are_full_and_the_last_one_is_padded(wanted: Wanted, size: int, batches: list[int]) -> None:
    watched = Watched()
    batcher = Batcher(lambda: watched, size)
    tiles = [draw_tile(seed, wanted=wanted) for seed in range(5)]
    assert_each_its_own(infer(batcher, tiles), tiles)
    assert [shape[0] for shape in watched.batches] == batches
    batcher.close()


def test_tiles_keep_each_its_own_part() -> None:
    batcher = Batcher(lambda: NEAR, 3)
    keeps = [(slice(0, 56), slice(8, 56)), (slice(8, 56), slice(8, 56)), (slice(8, 61), slice(8, 64))]
    tiles = [draw_tile(seed, keep=keep) for seed, keep in enumerate(keeps)]
    found = infer(batcher, tiles)
    assert [out.shape[1:] for out in found] == [(56, 48), (48, 48), (53, 56)]
    assert_each_its_own(found, tiles)


def test_tiles_of_several_chunks_share_batches() -> None:
    watched = Watched()
    batcher = Batcher(lambda: watched, 4)
    both_feed = threading.Barrier(2)

    def do(first: int) -> None:
        tiles = [draw_tile(first), draw_tile(first + 1)]
        with batcher.feed():
            both_feed.wait(timeout=20)
            results = [batcher.submit(tile) for tile in tiles]
        assert_each_its_own([result.result(timeout=20) for result in results], tiles)

    with ThreadPoolExecutor(2) as chunks:
        list(chunks.map(do, [0, 10]))
    assert [shape[0] for shape in watched.batches] == [4]


def test_a_batch_waits_for_those_who_feed_and_for_nobody_else() -> None:
    watched = Watched()
    batcher = Batcher(lambda: watched, 4)
    with batcher.feed():
        with batcher.feed():
            result = batcher.submit(draw_tile(1))
        time.sleep(0.1)
        assert not result.done()
    result.result(timeout=20)
    assert len(watched.batches) == 1


def test_tiles_of_other_shapes_dtypes_and_wishes_go_in_batches_of_their_own() -> None:
    watched = Watched()
    batcher = Batcher(lambda: watched, 4)
    wide = [draw_tile(seed, (32, 96)) for seed in (1, 2)]
    deep = [
        TileInput(pixels=tile.pixels.astype(np.uint16), valid=tile.valid, keep=tile.keep, wanted=tile.wanted)
        for tile in (draw_tile(3), draw_tile(4, wanted=PROBABILITIES))
    ]
    tiles = [draw_tile(0), *wide, *deep]
    assert_each_its_own(infer(batcher, tiles), tiles)
    assert sorted(watched.batches) == [(4, 32, 96), (4, 64, 64), (4, 64, 64), (4, 64, 64)]


def test_the_network_always_runs_in_the_same_threads() -> None:
    watched = Watched(wait=lambda: time.sleep(0.01))
    batcher = Batcher(lambda: watched, 1, lanes=2)
    tiles = [draw_tile(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as chunks:
        found = [out for part in chunks.map(lambda i: infer(batcher, tiles[2 * i : 2 * i + 2]), range(4)) for out in part]
    assert_each_its_own(found, tiles)
    assert watched.threads == {"network 0", "network 1"}
    batcher.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("network") and thread in batcher.threads]


def test_a_batch_that_does_not_fit_is_halved_for_good_and_that_is_said_once() -> None:
    watched = Watched(most_px=2 * 64 * 64)
    batcher = Batcher(lambda: watched, 8)
    tiles = [draw_tile(seed) for seed in range(11)]
    assert_each_its_own(infer(batcher, tiles), tiles)
    assert {shape[0] for shape in watched.batches} == {2}
    notes = batcher.take_notes()
    assert [note.split("; ")[1] for note in notes] == ["going on with 4.", "going on with 2."]
    assert batcher.take_notes() == ()


@pytest.mark.parametrize("wanted", [LAYERS, PROBABILITIES])
@pytest.mark.parametrize("keep", [WHOLE, (slice(8, 56), slice(8, 56)), (slice(0, 56), slice(8, 63))])
@pytest.mark.parametrize("most_px", [48 * 48, 32 * 32])
def test_a_tile_that_does_not_fit_is_inferred_in_quarters_with_the_same_result(wanted: Wanted, keep: Keep, most_px: int) -> None:
    watched = Watched(most_px=most_px)
    batcher = Batcher(lambda: watched, 2)
    tiles = [draw_tile(seed, keep=keep, wanted=wanted) for seed in range(3)]
    assert_each_its_own(infer(batcher, tiles), tiles)
    assert max(n * h * w for n, h, w in watched.batches) <= most_px
    assert "quarters" in batcher.take_notes()[1]


@pytest.mark.parametrize(("asked_px", "side"), [(0, 16), (8, 32), (16, 48), (None, 32)])
def test_quarters_have_the_halo_that_was_asked_for(asked_px: int | None, side: int) -> None:
    watched = Watched(most_px=48 * 48)
    infer(Batcher(lambda: watched, 1, halo_px=asked_px), [draw_tile(1, keep=(slice(16, 48), slice(16, 48)))])
    assert watched.batches == [(1, side, side)] * 4


def test_a_tile_that_does_not_fit_however_small_is_an_error_with_numbers() -> None:
    batcher = Batcher(lambda: Watched(most_px=100), 1)
    with batcher.feed():
        result = batcher.submit(draw_tile(1))
    with pytest.raises(DeviceMemoryError, match=r"no memory for a tile of \d+ x \d+ px, the smallest that halos of 8 px allow"):
        result.result(timeout=20)


def test_an_error_reaches_the_tiles_of_its_batch_and_no_others() -> None:
    class Picky(Watched):
        def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
            if (pixels == 255).all():
                raise ZeroDivisionError("white")
            return super().predict(pixels, valid, keep)

    batcher = Batcher(Picky, 1)
    white = TileInput(pixels=np.full((3, 64, 64), 255, np.uint8), valid=np.ones((64, 64), bool), keep=WHOLE)
    with batcher.feed():
        bad, good = batcher.submit(white), batcher.submit(draw_tile(1))
    with pytest.raises(ZeroDivisionError, match="white"):
        bad.result(timeout=20)
    assert_each_its_own([good.result(timeout=20)], [draw_tile(1)])


def test_a_network_that_has_worked_is_not_the_fault_of_the_model() -> None:
    """A tile on which a graph fails may be missing from a run; a graph that never runs ends it."""

    @dataclass
    class Choosy(Watched):
        def predict(self, pixels: NDArray[Any], valid: NDArray[np.bool_], keep: Keep | None = None) -> NDArray[np.uint8]:
            if (pixels == 7).all():
                raise ModelError("nothing was found in it")
            return self.inner.predict(pixels, valid, keep)

    poison = replace(draw_tile(1), pixels=np.full((3, 64, 64), 7, np.uint8))
    batcher = Batcher(Choosy)
    with pytest.raises(ModelError, match="nothing was found"):
        infer(batcher, [poison])
    assert_each_its_own(infer(batcher, [draw_tile(2)]), [draw_tile(2)])
    with pytest.raises(RunError, match="nothing was found"):
        infer(batcher, [poison])
    batcher.close()


def test_a_predictor_that_cannot_be_loaded_says_why() -> None:
    def load() -> Predictor:
        raise ModelError("no such weights")

    batcher = Batcher(load, 4, lanes=2)
    with pytest.raises(ModelError, match="no such weights"):
        batcher.submit(draw_tile(0))
    with pytest.raises(ModelError, match="no such weights"):
        _ = batcher.spec
    batcher.close()


def test_a_predictor_that_could_not_be_loaded_for_once_is_loaded_when_a_tile_comes_again() -> None:
    tries: list[int] = []

    def load() -> Predictor:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("the share flickers")
        return NEAR

    batcher = Batcher(load, 1, lanes=2)
    with pytest.raises(OSError, match="flickers"):
        batcher.submit(draw_tile(0))
    assert_each_its_own([batcher.submit(draw_tile(0)).result(timeout=20)], [draw_tile(0)])
    assert (len(tries), len(batcher.threads)) == (2, 2)
    batcher.close()


def test_nobody_waits_for_a_network_until_a_tile_comes() -> None:
    goes_on = threading.Event()

    def load() -> Predictor:
        goes_on.wait(20)
        return NEAR

    began = time.time()
    batcher = Batcher(load, 1)
    with batcher.feed():
        goes_on.set()
        result = batcher.submit(draw_tile(3))
    assert_each_its_own([result.result(timeout=20)], [draw_tile(3)])
    assert began <= batcher.ready <= time.time()
    batcher.close()


def test_closing_ends_what_waits_first() -> None:
    watched = Watched(wait=lambda: time.sleep(0.05))
    batcher = Batcher(lambda: watched, 2)
    results = [batcher.submit(draw_tile(seed)) for seed in range(3)]
    batcher.close()
    assert all(result.done() for result in results)


def test_a_tile_that_comes_after_the_end_is_refused_and_not_waited_for_in_vain() -> None:
    batcher = Batcher(Watched, 1)
    batcher.close()
    with pytest.raises(RunError, match="let go"):
        batcher.submit(draw_tile(0))


def test_in_memory_a_tile_is_inferred_at_once() -> None:
    tile = draw_tile(5, keep=(slice(8, 56), slice(0, 56)))
    runner = Immediate(NEAR)
    with runner.feed():
        assert_each_its_own([runner.submit(tile).result(timeout=0)], [tile])
