"""Tiles of a raster through a predictor, and back into one piece."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.inference.batching import LAYERS, PROBABILITIES, Immediate, TileInput, TileRunner
from geoseg.io.raster import RasterSource
from geoseg.model.averaged import AveragedPredictor, View
from geoseg.model.execution import Execution
from geoseg.model.package import ModelPackage
from geoseg.model.predictor import Predictor
from geoseg.model.spec import ModelSpec
from geoseg.pixels.decode import LayerPlan, decode_probabilities
from geoseg.pixels.stitch import blend_tile, stitch_core
from geoseg.tiling import Chunk, Tile, TilePlan, TilingOptions, place, plan_tiles

_CHUNK_TILES = 4

Pixels = tuple[NDArray[Any], NDArray[np.bool_]]
"""(C, H, W) in the raster's dtype, and (H, W) valid."""
LoadPredictor = Callable[[], Predictor]
"""Makes a predictor; travels between processes."""


def read_padded(source: RasterSource, footprint: Window, read: Callable[[Window], Pixels] | None = None) -> Pixels:
    """Read a window that may reach past the lower and right edge; there nothing is valid.

    What lies outside the area of interest is not read.

    Args:
        source: The raster.
        footprint: The window.
        read: Reads windows of the raster where it is held open; None opens it for this one.

    Returns:
        (C, H, W) and (H, W) of the footprint's shape.
    """
    height, width = source.shape
    inside = footprint.intersection(Window(0, 0, width, height))
    if not source.touches_aoi(inside):
        shape = footprint.height, footprint.width
        return np.zeros((len(source.bands), *shape), source.dtype), np.zeros(shape, bool)
    pixels, valid = (read or source.read)(inside)
    missing = ((0, footprint.height - inside.height), (0, footprint.width - inside.width))
    if missing == ((0, 0), (0, 0)):
        return pixels, valid
    return np.pad(pixels, ((0, 0), *missing)), np.pad(valid, missing)


def infer_chunk(runner: TileRunner, read: Callable[[], Pixels], chunk: Chunk) -> NDArray[np.uint8]:
    """Infer the tiles of a chunk that hold data, and stitch them.

    Args:
        runner: Infers tiles.
        read: Returns pixels (C, H, W) and valid (H, W) of the chunk's footprint.
        chunk: Its tiles.

    Returns:
        (L, h, w) layers of the chunk's window.
    """
    stitch = _blend_chunk if chunk.stitch == "blend" else _crop_chunk
    with ExitStack() as feeding:
        feeding.enter_context(runner.feed())
        pixels, valid = read()
        needed = [tile for tile in chunk.tiles if is_needed(valid, tile, chunk)]
        if not needed:
            return empty_layers(runner.spec.layers, chunk.window)
        with closing(_infer_tiles(runner, _cut(pixels, valid, chunk, needed), feeding.close)) as inferred:
            return stitch(runner.spec, inferred, valid, chunk)


def is_needed(valid: NDArray[np.bool_], tile: Tile, chunk: Chunk) -> bool:
    """Tell whether anything is valid where a tile decides the result."""
    decided = tile.reach.intersection(chunk.window) if chunk.stitch == "blend" else tile.core
    return bool(valid[place(decided, chunk.footprint)].any())


def _cut(pixels: NDArray[Any], valid: NDArray[np.bool_], chunk: Chunk, tiles: list[Tile]) -> Iterator[tuple[Tile, TileInput]]:
    """Yield tiles and what the network sees of them: views of the chunk."""
    for tile in tiles:
        rows, cols = place(tile.window, chunk.footprint)
        whole = (slice(0, tile.window.height), slice(0, tile.window.width))
        keep, wanted = (whole, PROBABILITIES) if chunk.stitch == "blend" else (tile.crop, LAYERS)
        yield tile, TileInput(pixels=pixels[:, rows, cols], valid=valid[rows, cols], keep=keep, wanted=wanted)


def _infer_tiles(
    runner: TileRunner, tiles: Iterator[tuple[Tile, TileInput]], fed: Callable[[], None]
) -> Generator[tuple[Tile, NDArray[Any]], None, None]:
    """Yield tiles with what the network says of them, in their order; a few are under way at a time.

    Args:
        runner: Infers them.
        tiles: What it takes.
        fed: Called when the last one is under way.
    """
    under_way: deque[tuple[Tile, Future[NDArray[Any]]]] = deque()
    for tile, given in tiles:
        under_way.append((tile, runner.submit(given)))
        if len(under_way) > runner.ahead:
            oldest, result = under_way.popleft()
            yield oldest, result.result()
    fed()
    for tile, result in under_way:
        yield tile, result.result()


def _crop_chunk(
    spec: ModelSpec, inferred: Iterator[tuple[Tile, NDArray[Any]]], valid: NDArray[np.bool_], chunk: Chunk
) -> NDArray[np.uint8]:
    stitched = empty_layers(spec.layers, chunk.window)
    for tile, layers in inferred:
        stitch_core(stitched, layers, tile, chunk.window)
    return stitched


def _blend_chunk(
    spec: ModelSpec, inferred: Iterator[tuple[Tile, NDArray[Any]]], valid: NDArray[np.bool_], chunk: Chunk
) -> NDArray[np.uint8]:
    shape = chunk.window.height, chunk.window.width
    summed, weight = np.zeros((spec.channels, *shape), np.float32), np.zeros(shape, np.float32)
    for tile, probabilities in inferred:
        blend_tile(summed, weight, probabilities, tile, chunk.window)
    np.divide(summed, weight, out=summed, where=weight > 0)
    inside = valid[place(chunk.window, chunk.footprint)]
    layers = decode_probabilities(summed[None], inside[None], spec.layers)
    return np.asarray(layers[0])


def infer_raster(predictor: Predictor, source: RasterSource, tiles: TilePlan) -> NDArray[np.uint8]:
    """Infer a whole raster in memory; for rasters that fit, and as the reference of the pipeline.

    Returns:
        (L, H, W) layers.
    """
    runner = Immediate(predictor)
    stitched = empty_layers(predictor.spec.layers, Window(0, 0, tiles.width, tiles.height))
    for chunk in tiles.chunks():
        rows, cols = chunk.window.toslices()
        stitched[:, rows, cols] = infer_chunk(runner, partial(read_padded, source, chunk.footprint), chunk)
    return stitched


def tiles_of(spec: ModelSpec, shape: tuple[int, int], halo_px: int) -> TilePlan:
    """Return the tiles that a run with the model would take."""
    options = TilingOptions(
        tile_size_px=spec.tile_size_px,
        halo_px=halo_px,
        stride_px=spec.network.stride_px,
        # without influence on the result; larger ones infer fewer tiles twice where tiles are blended
        chunk_size_px=_CHUNK_TILES * spec.tile_size_px,
        stitch=spec.stitch,
    )
    return plan_tiles(shape, options)


def empty_layers(plan: LayerPlan, window: Window) -> NDArray[np.uint8]:
    """Return the layers (L, H, W) of a window without data."""
    fills = np.array(list(plan.fill_values().values()), np.uint8)
    return np.broadcast_to(fills[:, None, None], (len(fills), window.height, window.width)).copy()


def network_loader(package: ModelPackage, execution: Execution) -> LoadPredictor:
    """Return what loads the network of a package; no library of networks is loaded until it is called."""
    return _NetworkLoader(package=package, execution=execution)


def averaging(load: LoadPredictor, views: tuple[View, ...]) -> LoadPredictor:
    """Return what loads a predictor for test-time augmentation; with a single view the loader itself."""
    return _AveragingLoader(load=load, views=views) if len(views) > 1 else load


@dataclass(frozen=True, slots=True, kw_only=True)
class _AveragingLoader:
    """Equal for equal views of equal networks."""

    load: LoadPredictor
    views: tuple[View, ...]

    def __call__(self) -> Predictor:
        return AveragedPredictor(self.load(), self.views)


@dataclass(frozen=True, slots=True, kw_only=True)
class _NetworkLoader:
    """Equal for equal networks, so that rasters can tell whether they may share one."""

    package: ModelPackage
    execution: Execution

    def __call__(self) -> Predictor:
        # torch and onnxruntime are only imported where a model runs
        from geoseg.model.load import load_predictor

        return load_predictor(self.package, self.execution)
