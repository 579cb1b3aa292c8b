"""Tiles of a raster through a predictor, and back into one piece."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.io.raster import RasterSource
from geoseg.model.execution import Execution
from geoseg.model.package import ModelPackage
from geoseg.model.predictor import Predictor
from geoseg.model.spec import ModelSpec
from geoseg.pixels.decode import LayerPlan, decode_probabilities
from geoseg.pixels.stitch import blend_tiles, cut_tiles, stitch_cores
from geoseg.tiling import Chunk, Tile, TilePlan, TilingOptions, place, plan_tiles

_CHUNK_TILES = 4

LoadPredictor = Callable[[int], Predictor]
"""Makes a predictor that computes with a number of threads; travels between processes."""


def read_padded(source: RasterSource, footprint: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read a window that may reach past the lower and right edge; there nothing is valid.

    Returns:
        (C, H, W) and (H, W) of the footprint's shape.
    """
    height, width = source.shape
    inside = footprint.intersection(Window(0, 0, width, height))
    pixels, valid = source.read(inside)
    missing = ((0, footprint.height - inside.height), (0, footprint.width - inside.width))
    return np.pad(pixels, ((0, 0), *missing)), np.pad(valid, missing)


def infer_chunk(predictor: Predictor, read: tuple[NDArray[Any], NDArray[np.bool_]], chunk: Chunk, batch_size: int) -> NDArray[np.uint8]:
    """Infer the tiles of a chunk that hold data, and stitch them.

    Args:
        predictor: The model.
        read: Pixels (C, H, W) and valid (H, W) of the chunk's footprint.
        chunk: Its tiles.
        batch_size: Tiles in one forward pass; short batches are padded, so that the same kernels run (law 2).

    Returns:
        (L, h, w) layers of the chunk's window.
    """
    if chunk.stitch == "blend":
        return _blend_chunk(predictor, read, chunk, batch_size)
    return _crop_chunk(predictor, read, chunk, batch_size)


def _crop_chunk(predictor: Predictor, read: tuple[NDArray[Any], NDArray[np.bool_]], chunk: Chunk, batch_size: int) -> NDArray[np.uint8]:
    pixels, valid = read
    stitched = _empty_layers(predictor.spec.layers, chunk.window)
    needed = [tile for tile in chunk.tiles if _holds_data(valid, chunk, tile.core)]
    for tiles, padded in _batches(needed, batch_size):
        layers = predictor.predict(cut_tiles(pixels, chunk.footprint, padded), cut_tiles(valid, chunk.footprint, padded))
        stitch_cores(stitched, layers[: len(tiles)], tiles, chunk.window)
    return stitched


def _blend_chunk(predictor: Predictor, read: tuple[NDArray[Any], NDArray[np.bool_]], chunk: Chunk, batch_size: int) -> NDArray[np.uint8]:
    pixels, valid = read
    shape = chunk.window.height, chunk.window.width
    summed, weight = np.zeros((predictor.spec.channels, *shape), np.float32), np.zeros(shape, np.float32)
    # a tile that is left out would only have counted where nothing is valid
    needed = [tile for tile in chunk.tiles if _holds_data(valid, chunk, tile.reach.intersection(chunk.window))]
    for tiles, padded in _batches(needed, batch_size):
        probabilities = predictor.predict_probabilities(
            cut_tiles(pixels, chunk.footprint, padded), cut_tiles(valid, chunk.footprint, padded)
        )
        blend_tiles(summed, weight, probabilities[: len(tiles)], tiles, chunk.window)
    np.divide(summed, weight, out=summed, where=weight > 0)
    inside = valid[place(chunk.window, chunk.footprint)]
    layers = decode_probabilities(summed[None], inside[None], predictor.spec.layers)
    return np.asarray(layers[0])


def _batches(tiles: list[Tile], size: int) -> Iterator[tuple[list[Tile], list[Tile]]]:
    """Yield the tiles of each batch, and the same padded to full size."""
    for start in range(0, len(tiles), size):
        batch = tiles[start : start + size]
        yield batch, [*batch, *[batch[-1]] * (size - len(batch))]


def infer_raster(predictor: Predictor, source: RasterSource, tiles: TilePlan) -> NDArray[np.uint8]:
    """Infer a whole raster in memory; for rasters that fit, and as the reference of the pipeline.

    Returns:
        (L, H, W) layers.
    """
    stitched = _empty_layers(predictor.spec.layers, Window(0, 0, tiles.width, tiles.height))
    for chunk in tiles.chunks():
        w = chunk.window
        rows, cols = slice(w.row_off, w.row_off + w.height), slice(w.col_off, w.col_off + w.width)
        stitched[:, rows, cols] = infer_chunk(predictor, read_padded(source, chunk.footprint), chunk, 1)
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


def _empty_layers(plan: LayerPlan, window: Window) -> NDArray[np.uint8]:
    fills = np.array(list(plan.fill_values().values()), np.uint8)
    return np.broadcast_to(fills[:, None, None], (len(fills), window.height, window.width)).copy()


def _holds_data(valid: NDArray[np.bool_], chunk: Chunk, window: Window) -> bool:
    return bool(valid[place(window, chunk.footprint)].any())


def network_loader(package: ModelPackage, execution: Execution) -> LoadPredictor:
    """Return what loads the network of a package; no library of networks is loaded until it is called."""
    return partial(_load_network, package, execution)


def _load_network(package: ModelPackage, execution: Execution, threads: int) -> Predictor:
    # torch and onnxruntime are only imported where a model runs
    from geoseg.model.load import load_predictor

    return load_predictor(package, replace(execution, threads=execution.threads or threads))
