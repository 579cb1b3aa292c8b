"""Segment a labelled array: lazily, with the pixels that ``geoseg segment`` gives."""

import threading
import weakref
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg import __version__
from geoseg.arrays.dress import dress_layer
from geoseg.arrays.grid import ArrayImagery, Brought, Seen, see_imagery
from geoseg.config import RunConfig, make_config
from geoseg.errors import UsageError
from geoseg.inference.batching import Batcher
from geoseg.inference.opening import check_dtype, choose_bands
from geoseg.inference.planning import replan
from geoseg.inference.runplan import RunPlan
from geoseg.inference.whole import LoadPredictor, averaging, infer_chunk, network_loader, read_padded
from geoseg.io.raster import RasterSource, place_source
from geoseg.model.source import find_model
from geoseg.tiling import TilePlan

_USED = {
    *("bands", "tile_size", "halo", "stitch", "chunk_size", "batch_size"),
    *("device", "backend", "precision", "tta", "tta_scales", "threads", "memory", "cache"),
}
"""Options of a run that an array has a use for: it brings its pixels, Dask knows where to work, and no files are made."""


def segment(array: xr.DataArray | xr.Dataset, model: str = "aerial", *, valid: xr.DataArray | None = None, **options: Any) -> xr.Dataset:
    """Segment imagery that lies in an array. Nothing is read or inferred before the result is computed.

    The result has the pixels that ``geoseg segment`` would give for a file with the same values: the same tiles, halos and batches.
    Imagery that is finer than the model's resolution is averaged by a whole factor, so that the result's grid may be coarser.

    Args:
        array: (band, y, x) in any order, NumPy or Dask, with a CRS; or a dataset with a variable per band.
        model: Name of a shipped model, or the folder of a package.
        valid: (y, x) True = data; None asks the array's nodata value (``_FillValue`` or ``nodata`` among its attributes) and NaN.
            A band of alpha is not known as such: give it here.
        **options: As in ``run.toml``: ``bands``, ``tile_size``, ``halo``, ``stitch``, ``chunk_size``, ``batch_size``, ``device``,
            ``backend``, ``precision``, ``threads``, ``memory``.

    Returns:
        ``classes`` (uint8, 255 = no data), ``confidence`` (uint8 percent, 255 = no data) and the model's evidence layers (uint8, a
        probability in 1/255), each (y, x) and chunked; with CRS and coordinates as odc-geo and rioxarray write them.

    Raises:
        UsageError: If array, model and options do not fit each other.
    """
    without_use = sorted((RunConfig.model_fields.keys() - _USED) & options.keys())
    if without_use:
        raise UsageError(
            f"segment() of an array takes no {without_use[0]}: it has its pixels, works where Dask does and makes no files. Leave it out; "
            f"there are {', '.join(sorted(_USED))}, and valid, which says what pixels count."
        )
    seen = see_imagery(array, valid)
    plan = plan_array(seen.imagery, model, options)
    return lay_out(plan, seen, averaging(network_loader(plan.package, plan.lane_execution), plan.views))


def plan_array(imagery: ArrayImagery, model: str, options: dict[str, Any]) -> RunPlan:
    """Settle tiles and execution as for a raster of the same grid.

    Raises:
        UsageError: If something does not fit.
    """
    config = make_config({"raster": imagery.name, "output": Path("unused"), "model": model, **options})
    package = find_model(config.model, config.cache_folder)
    source = place_source(imagery, package.spec.resolution_m).choose(choose_bands(config, package.spec, imagery))
    check_dtype(package.spec, source)
    return replan(config, package, source)


def lay_out(plan: RunPlan, seen: Seen, load: LoadPredictor) -> xr.Dataset:
    """Describe the result of a plan, chunk by chunk, without computing any of it.

    Args:
        plan: Tiles and model.
        seen: Pixels.
        load: Makes the predictor, once in each process.
    """
    # the class layer goes by the name of the file of a run
    names = [{"class": "classes"}.get(name, name) for name in plan.package.spec.layers.names]
    network = delayed(Network(load, plan.batch_size, plan.lanes, plan.tiles.halo_px), pure=True)
    piece = Piece(source=plan.source, tiles=plan.tiles, nodata=seen.imagery.nodata)
    infer = delayed(piece.infer, pure=True)
    rows, cols = plan.tiles.chunk_shape
    blocks = [[_block(seen, piece, partial(infer, network), (row, col), len(names)) for col in range(cols)] for row in range(rows)]
    stacked = da.block(blocks)
    return xr.Dataset(
        {name: dress_layer(stacked[i], name, plan.source.geobox, plan.package.spec.scheme) for i, name in enumerate(names)},
        attrs={"geoseg_version": __version__, "model": f"{plan.package.spec.name} {plan.package.spec.version}"},
    )


def _block(seen: Seen, piece: "Piece", infer: Any, key: tuple[int, int], layers: int) -> da.Array:
    chunk = piece.tiles.chunk(*key)
    rows, cols = piece.source_window(chunk.footprint).toslices()
    valid = None if seen.valid is None else seen.valid[rows, cols]
    inferred = infer(seen.pixels[:, rows, cols], valid, key)
    block: da.Array = da.from_delayed(inferred, (layers, chunk.window.height, chunk.window.width), np.uint8)
    return block


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Turns pieces of an array into layers; small, so that it travels with each task."""

    source: RasterSource
    """The array as a raster: bands, grid and averaging; its path leads nowhere."""
    tiles: TilePlan
    """Tiles and chunks."""
    nodata: float | None
    """Value of pixels without data."""

    def source_window(self, footprint: Window) -> Window:
        """Return the pixels of the array below a footprint, which may reach past the lower and right edge of the grid."""
        height, width = self.source.shape
        inside, k = footprint.intersection(Window(0, 0, width, height)), self.source.decimation
        whole_height, whole_width = self.source.imagery.geobox.shape
        full = Window(inside.col_off * k, inside.row_off * k, inside.width * k, inside.height * k)
        return full.intersection(Window(0, 0, whole_width, whole_height))

    def infer(self, network: "Network", pixels: NDArray[Any], valid: NDArray[np.bool_] | None, key: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the (L, h, w) layers of a chunk.

        Args:
            network: Infers tiles.
            pixels: (B, H, W) of the array below the chunk's footprint, all bands.
            valid: (H, W), or None.
            key: Row and column of the chunk.
        """
        chunk = self.tiles.chunk(*key)
        below = self.source_window(chunk.footprint)
        brought = Brought(pixels=pixels, valid=valid, corner=(below.row_off, below.col_off), nodata=self.nodata)
        read = partial(self.source.read_from, brought)
        return infer_chunk(network.load(), partial(read_padded, self.source, chunk.footprint, read), chunk)


class Network:
    """A network that each process loads when it first needs it; on its way between processes it is not loaded.

    Args:
        load: Makes the predictor.
        batch_size: Tiles in one forward pass.
        lanes: Threads that call it.
        halo_px: Margin of tiles.
    """

    def __init__(self, load: LoadPredictor, batch_size: int, lanes: int, halo_px: int) -> None:
        self._made_of = load, batch_size, lanes, halo_px
        self._lock = threading.Lock()
        self._runner: Batcher | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave what is loaded behind."""
        return Network, self._made_of

    def __dask_tokenize__(self) -> Any:
        """Be the same task for the same network."""
        return repr(self._made_of)

    def load(self) -> Batcher:
        """Return what infers tiles.

        Raises:
            ModelError: If it cannot be loaded.
        """
        with self._lock:
            if self._runner is None:
                load, batch_size, lanes, halo_px = self._made_of
                self._runner = Batcher(load, batch_size, lanes, halo_px=halo_px)
                weakref.finalize(self, self._runner.close)
            return self._runner
