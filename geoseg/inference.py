"""Tiles of a raster through a predictor, and back into one piece."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.io.raster import RasterSource
from geoseg.model.package import ModelPackage
from geoseg.model.predictor import Predictor
from geoseg.model.spec import ModelSpec
from geoseg.pixels.decode import LayerPlan
from geoseg.pixels.stitch import cut_tiles, stitch_cores
from geoseg.tiling import Chunk, TilePlan, TilingOptions, plan_tiles

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
    """Infer the tiles of a chunk that hold data, and stitch their cores.

    Args:
        predictor: The model.
        read: Pixels (C, H, W) and valid (H, W) of the chunk's footprint.
        chunk: Its tiles.
        batch_size: Tiles in one forward pass; short batches are padded, so that the same kernels run (law 2).

    Returns:
        (L, h, w) layers of the chunk's window.
    """
    pixels, valid = read
    stitched = _empty_layers(predictor.spec.layers, chunk.window)
    needed = [tile for tile in chunk.tiles if _core_holds_data(valid, chunk, tile.core)]
    for start in range(0, len(needed), batch_size):
        tiles = needed[start : start + batch_size]
        padded = [*tiles, *[tiles[-1]] * (batch_size - len(tiles))]
        layers = predictor.predict(cut_tiles(pixels, chunk.footprint, padded), cut_tiles(valid, chunk.footprint, padded))
        stitch_cores(stitched, layers[: len(tiles)], tiles, chunk.window)
    return stitched


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
    options = TilingOptions(tile_size_px=spec.tile_size_px, halo_px=halo_px, stride_px=spec.network.stride_px, chunk_size_px=1)
    return plan_tiles(shape, options)


def _empty_layers(plan: LayerPlan, window: Window) -> NDArray[np.uint8]:
    fills = np.array(list(plan.fill_values().values()), np.uint8)
    return np.broadcast_to(fills[:, None, None], (len(fills), window.height, window.width)).copy()


def _core_holds_data(valid: NDArray[np.bool_], chunk: Chunk, core: Window) -> bool:
    top, left = core.row_off - chunk.footprint.row_off, core.col_off - chunk.footprint.col_off
    return bool(valid[top : top + core.height, left : left + core.width].any())


def network_loader(package: ModelPackage, device: str) -> LoadPredictor:
    """Return what loads the network of a package onto a device; no torch is loaded until it is called."""
    return partial(_load_network, package, device)


def _load_network(package: ModelPackage, device: str, threads: int) -> Predictor:
    # torch and onnxruntime are only imported where a model runs
    from geoseg.model.load import load_predictor

    return load_predictor(package, device, threads)
