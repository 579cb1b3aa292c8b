"""Tiles of many chunks, and of many rasters, gathered into full batches for a network that runs in threads of its own."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import DeviceMemoryError, RunError, UsageError
from geoseg.model.predictor import Detector, Keep, Predictor
from geoseg.model.spec import ModelSpec
from geoseg.pixels.detections import pack_detections
from geoseg.pixels.quarters import quarter_tile
from geoseg.tiling import place_slice

Wanted = Literal["layers", "probabilities", "detections"]
"""What comes back of the kept part of a tile: uint8 layers, or float32 probabilities; of the whole tile,
what a detector found, as bytes."""
LAYERS: Wanted = "layers"
PROBABILITIES: Wanted = "probabilities"
DETECTIONS: Wanted = "detections"


@dataclass(frozen=True, slots=True, kw_only=True)
class TileInput:
    """One tile on its way through the network."""

    pixels: NDArray[Any]
    """(C, H, W) in the raster's dtype."""
    valid: NDArray[np.bool_]
    """(H, W), True = data."""
    keep: Keep
    """Rows and columns that are wanted."""
    wanted: Wanted = LAYERS
    """What comes back."""

    @property
    def kind(self) -> tuple[Any, ...]:
        """Only tiles of one kind share a batch."""
        return self.wanted, self.pixels.shape, self.pixels.dtype.str


class TileResult(Future[NDArray[Any]]):
    """What becomes of a tile: (L, h, w) layers of the kept part, or (K, h, w) probabilities."""

    network_s: float = 0.0
    """Seconds that the network took for it, its share of a batch; known when it is done."""
    began: float = 0.0
    """Time of day at which the network began with it, in seconds since 1970; known when it did."""


class TileRunner(Protocol):
    """What infers tiles."""

    @property
    def spec(self) -> ModelSpec:
        """The model."""

    @property
    def ready(self) -> float:
        """Time of day at which the network was loaded, in seconds since 1970."""

    @property
    def ahead(self) -> int:
        """Tiles of a chunk that should be under way before the first result is waited for."""

    def feed(self) -> AbstractContextManager[None]:
        """Return a context within which tiles are submitted; batches wait for them to fill."""

    def submit(self, tile: TileInput) -> TileResult:
        """Take a tile."""


class Batcher:
    """Runs a predictor on full batches; the tiles of a batch may come from several chunks and rasters.

    A batch is run when it is full, or when nobody who could still fill it is feeding: then it is padded to its size, so that
    the same kernels run (law 2). The predictor is loaded and called in threads of its own, always the same, so that its thread
    pool and its memory exist once. Where there are two of them, one computes while the other waits.
    Until the predictor is loaded nobody waits but who asks for it or submits a tile: pixels are read meanwhile.

    A batch that does not fit into the memory of the device is halved, for good; a single tile that does not fit is inferred in
    quarters. Both are told by :meth:`take_notes`.

    Args:
        load: Makes the predictor.
        batch_size: Tiles in one forward pass.
        lanes: Threads that call the predictor.
        halo_px: Margin of the quarters of a tile; None takes the model's.
    """

    def __init__(self, load: Callable[[], Predictor], batch_size: int = 1, lanes: int = 1, *, halo_px: int | None = None) -> None:
        self._size = batch_size
        self._halo_px = halo_px
        self._changed = threading.Condition()
        self._waiting: dict[tuple[Any, ...], deque[tuple[TileInput, TileResult]]] = {}
        self._feeding = 0
        self._closed = False
        self._too_large_px: int | None = None
        self._notes: list[str] = []
        self._has_worked = False
        self._load = load
        self._lanes = lanes
        self._failed: Future[tuple[Predictor, float]] | None = None
        self._begin()

    def _begin(self) -> None:
        """Start the threads, the first of which loads the predictor."""
        self._loaded: Future[tuple[Predictor, float]] = Future()
        names = [f"network {lane}" for lane in range(self._lanes)]
        self.threads = [threading.Thread(target=self._work, args=(self._loaded, name), name=name, daemon=True) for name in names]
        for lane in self.threads:
            lane.start()

    def _wait(self) -> tuple[Predictor, float]:
        """Wait for the predictor; where it could not be loaded, whoever asks again has it tried again, unless it cannot be at all."""
        with self._changed:
            if self._failed is self._loaded and not self._closed:
                self._begin()
            loaded = self._loaded
        try:
            return loaded.result()
        except UsageError:
            raise
        except BaseException:
            self._failed = loaded
            raise

    @property
    def spec(self) -> ModelSpec:
        """The model.

        Raises:
            ModelError: If the predictor could not be loaded.
        """
        return self._wait()[0].spec

    @property
    def ready(self) -> float:
        """Time of day at which the network was loaded; see :class:`TileRunner`."""
        return self._wait()[1]

    @property
    def ahead(self) -> int:
        """Tiles of a chunk that should be under way: two batches, so that one waits while the other runs."""
        return 2 * self._size

    def take_notes(self) -> tuple[str, ...]:
        """Return what the user should know, each once."""
        with self._changed:
            notes, self._notes = tuple(self._notes), []
        return notes

    @contextmanager
    def feed(self) -> Iterator[None]:
        """Announce tiles: until this ends, batches that are not full wait for them."""
        with self._changed:
            self._feeding += 1
        try:
            yield
        finally:
            with self._changed:
                self._feeding -= 1
                self._changed.notify_all()

    def submit(self, tile: TileInput) -> TileResult:
        """Take a tile; see :class:`TileRunner`.

        Raises:
            ModelError: If the predictor could not be loaded.
            RunError: If it was closed: nobody would ever infer the tile.
        """
        self._wait()
        result = TileResult()
        with self._changed:
            if self._closed:
                raise RunError("The network was let go while tiles were still coming. The same command again goes on.")
            self._waiting.setdefault(tile.kind, deque()).append((tile, result))
            self._changed.notify_all()
        return result

    def close(self) -> None:
        """End the threads when the batches that wait are done."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for lane in self.threads:
            lane.join()

    def _work(self, loaded: "Future[tuple[Predictor, float]]", name: str) -> None:
        if name == "network 0":
            try:
                loaded.set_result((self._load(), time.time()))
            except BaseException as exc:  # whoever waits for the predictor has to hear of it
                loaded.set_exception(exc)
                return
        try:
            predictor, _ = loaded.result()
        except BaseException:  # the first lane has told
            return
        while self._run_next(predictor):
            pass

    def _run_next(self, predictor: Predictor) -> bool:
        """Run a batch; a method of its own, so that its pixels are let go before the next one is waited for."""
        batch = self._take()
        if batch:
            self._run(predictor, [tile for tile, _ in batch], [result for _, result in batch])
        return bool(batch)

    def _take(self) -> list[tuple[TileInput, TileResult]]:
        """Wait for a batch; an empty one ends the thread."""
        with self._changed:
            while True:
                # the fullest kind first, and the one that came first among equals
                queue = max(self._waiting.values(), key=len, default=None)
                if queue and (len(queue) >= self._size or not self._feeding or self._closed):
                    batch = [queue.popleft() for _ in range(min(self._size, len(queue)))]
                    if not queue:
                        del self._waiting[batch[0][0].kind]
                    return batch
                if self._closed:
                    return []
                self._changed.wait()

    def _run(self, predictor: Predictor, tiles: list[TileInput], results: list[TileResult]) -> None:
        began, now = time.perf_counter(), time.time()
        for result in results:
            result.began = now
        try:
            outputs = self._infer(predictor, tiles)
        except BaseException as exc:  # the chunks that these tiles belong to fail, and are tried again
            failure = RunError(str(exc)) if isinstance(exc, UsageError) and self._has_worked else exc
            for result in results:
                result.set_exception(failure)
            return
        # what a network cannot do from then on is the fault of a tile, not of the model: others go on
        self._has_worked = True
        share_s = (time.perf_counter() - began) / len(tiles)
        for result, output in zip(results, outputs, strict=True):
            result.network_s = share_s
            result.set_result(output)

    def _infer(self, predictor: Predictor, tiles: list[TileInput]) -> list[NDArray[Any]]:
        if self._too_large_px is not None and tiles[0].valid.size >= self._too_large_px:
            return [self._infer_quarters(predictor, tile) for tile in tiles]
        size = self._size
        try:
            return [out for start in range(0, len(tiles), size) for out in _forward(predictor, tiles[start : start + size], size)]
        except DeviceMemoryError:
            self._go_smaller(size, tiles[0])
        return self._infer(predictor, tiles)

    def _go_smaller(self, size: int, tile: TileInput) -> None:
        """Halve the batch, or else the tile, unless another thread has done so."""
        rows, cols = tile.valid.shape
        with self._changed:
            if size > self._size:
                return
            if size > 1:
                self._size = size // 2
                self._notes.append(f"The memory of the device holds no batch of {size} tiles; going on with {self._size}.")
            elif self._too_large_px is None or tile.valid.size < self._too_large_px:
                self._too_large_px = tile.valid.size
                self._notes.append(f"The memory of the device holds no tile of {cols} x {rows} px; going on with quarters of it.")

    def _infer_quarters(self, predictor: Predictor, tile: TileInput) -> NDArray[Any]:
        """Infer a tile in four parts that overlap by the halo.

        Raises:
            DeviceMemoryError: If the parts would be no smaller than the tile.
        """
        spec = predictor.spec
        halo = spec.halo.default_px if self._halo_px is None else self._halo_px
        if tile.wanted == DETECTIONS:
            raise DeviceMemoryError(
                "The device has no memory for a tile of this detector. Choose a smaller --tile-size or another --device."
            )
        parts = quarter_tile(tile.valid.shape, tile.keep, halo, spec.network.stride_px)
        rows, cols = tile.valid.shape
        if parts is None:
            raise DeviceMemoryError(
                f"The device has no memory for a tile of {cols} x {rows} px, the smallest that halos of {halo} px allow. "
                "Choose another --device, or a smaller --halo."
            )
        whole: NDArray[Any] | None = None
        for part in parts:
            piece = TileInput(pixels=tile.pixels[:, *part.window], valid=tile.valid[part.window], keep=part.keep, wanted=tile.wanted)
            (output,) = self._infer(predictor, [piece])
            if whole is None:
                whole = np.zeros((len(output), *part.whole), output.dtype)
            whole[:, *part.place] = output
        assert whole is not None
        return whole


def _forward(predictor: Predictor, tiles: list[TileInput], size: int) -> list[NDArray[Any]]:
    """Infer a batch, padded to its size."""
    padded = [*tiles, *[tiles[-1]] * (size - len(tiles))]
    pixels, valid = _stack([tile.pixels for tile in padded]), _stack([tile.valid for tile in padded])
    if tiles[0].wanted == PROBABILITIES:
        probabilities = predictor.predict_probabilities(pixels, valid)
        return [out[:, *tile.keep] for tile, out in zip(tiles, probabilities, strict=False)]
    if tiles[0].wanted == DETECTIONS:
        assert isinstance(predictor, Detector), "only detectors are asked for detections"
        return [pack_detections(found) for found in predictor.detect(pixels[: len(tiles)], valid[: len(tiles)])]
    rows, cols = (_span([tile.keep[axis] for tile in tiles]) for axis in (0, 1))
    layers = predictor.predict(pixels, valid, (rows, cols))[: len(tiles)]
    return [out[:, place_slice(tile.keep[0], rows), place_slice(tile.keep[1], cols)] for tile, out in zip(tiles, layers, strict=True)]


def _stack(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


def _span(slices: list[slice]) -> slice:
    """Return what holds all slices."""
    return slice(min(s.start for s in slices), max(s.stop for s in slices))


class Immediate:
    """Infers each tile as it comes, in the caller's thread: for rasters in memory.

    Args:
        predictor: The model.
    """

    ahead = 1

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.ready = time.time()

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return self._predictor.spec

    @contextmanager
    def feed(self) -> Iterator[None]:
        """Do nothing: no batch has to be filled."""
        yield

    def submit(self, tile: TileInput) -> TileResult:
        """Infer a tile; see :class:`TileRunner`."""
        result = TileResult()
        result.set_result(_forward(self._predictor, [tile], 1)[0])
        return result
