"""Everything that is settled before work begins: grid, tiles, memory, disk; nothing is written."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import shapely
from shapely.geometry.base import BaseGeometry

from geoseg.config import Output, RunConfig
from geoseg.errors import MemoryLimitError, ModelError, RasterError, UsageError, WriteError
from geoseg.io.ground import pixel_size_m
from geoseg.io.raster import RasterOptions, RasterSource, has_data, open_raster
from geoseg.model.package import ModelPackage, find_package, hash_file
from geoseg.model.spec import ModelSpec
from geoseg.tiling import TilePlan, TilingOptions, plan_tiles

_LIBRARIES_BYTES = 1_350_000_000
"""Python, torch, GDAL and Dask once loaded, and what the heap loses to gaps; measured, see docs/performance.md."""
_LAYER_BYTES_PER_PX = 14
"""Pixels, valid, stitched layers and the encoded file of one chunk."""
_BLEND_BYTES_PER_PX = 4 + 8 + 4 + 4
"""Weights, index of the best channel, and the score that is being stored, before and after rounding."""
_CHUNK_BYTES_PER_PX = 3.0
"""All layers of finished chunks, which go when the run is finished."""
_OUTPUT_BYTES_PER_PX: dict[Output, float] = {
    "classes": 0.1,
    "confidence": 0.7,
    "evidence": 2.0,
    "landcover": 1.0,
    "buildings": 0.5,
    "panoptic": 0.3,
    "roads": 0.1,
}
"""What is made of them, scratch included; measured on a drone orthophoto of a town."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """A checked run. Small, and the same for the same configuration and files."""

    config: RunConfig
    """What was asked."""
    source: RasterSource
    """The raster on the run's grid."""
    package: ModelPackage
    """The model."""
    tiles: TilePlan
    """Its tiles and chunks."""

    @property
    def memory_bytes(self) -> int:
        """Projected peak memory of all processes of the run on this machine (law 8)."""
        rows, cols = self.tiles.tile_shape
        processes = max(1, self.config.workers)
        spec, batch_px = self.package.spec, rows * cols * self.config.batch_size
        forward = batch_px * spec.memory_bytes_per_px
        blend = self.tiles.stitch == "blend"
        # blended chunks read the neighbors that reach in
        side = (self.tiles.tiles_per_chunk + (2 if blend else 0)) * max(rows, cols)
        chunk_px = min(side**2, self.tiles.height * self.tiles.width + rows * cols)
        # probabilities of the chunk, of a batch, and of a tile times its weights
        blending = 4 * spec.channels * (chunk_px + batch_px + rows * cols) + _BLEND_BYTES_PER_PX * chunk_px if blend else 0
        return processes * (_LIBRARIES_BYTES + forward + blending + 2 * chunk_px * (_LAYER_BYTES_PER_PX + self.source.bytes_per_px))

    @property
    def disk_bytes(self) -> int:
        """Projected disk space while the run goes on."""
        bytes_per_px = _CHUNK_BYTES_PER_PX + sum(_OUTPUT_BYTES_PER_PX[output] for output in set(self.config.outputs))
        return round(self.tiles.height * self.tiles.width * bytes_per_px)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know before trusting the result."""
        coarsest, size = self.package.spec.coarsest_m, pixel_size_m(self.source.geobox)
        if coarsest is None or size <= coarsest:
            return ()
        return (
            f"{self.source.path} has pixels of {size:.3g} m on the ground; model '{self.package.spec.name}' knows up to {coarsest:g} m. "
            "Expect poor results, or choose another model.",
        )

    def fingerprint(self) -> dict[str, Any]:
        """Return what must be the same for a run to go on: options, model and raster."""
        height, width = self.source.geobox.shape
        path = Path(self.source.path)
        return {
            **self.config.result_keys(),
            "raster": str(path.absolute()) if path.exists() else self.source.path,
            "raster_bytes": path.stat().st_size if path.exists() else None,
            "raster_changed": path.stat().st_mtime_ns if path.exists() else None,
            "aoi_sha256": hash_file(self.config.aoi) if self.config.aoi is not None else None,
            "grid": [height, width, *tuple(self.source.geobox.transform)[:6]],
            "model_sha256": self.package.sha256,
            "stitch": self.tiles.stitch,
            "tile_size_px": self.tiles.tile_size_px,
            "halo_px": self.tiles.halo_px,
            "tiles_per_chunk": self.tiles.tiles_per_chunk,
        }


def plan_run(config: RunConfig) -> RunPlan:
    """Check a configuration against its files and settle the run.

    Raises:
        UsageError: If raster, model, area of interest or options do not fit each other.
        MissingFileError: If a file is not there.
        MemoryLimitError: If the projected memory exceeds the limit.
    """
    package = find_package(config.model)
    source = open_source(config, package.spec)
    spec = package.spec
    options = TilingOptions(
        tile_size_px=config.tile_size or spec.tile_size_px,
        halo_px=choose_halo(config, spec),
        stride_px=spec.network.stride_px,
        chunk_size_px=config.chunk_size,
        stitch=config.stitch or spec.stitch,
    )
    plan = RunPlan(config=config, source=source, package=package, tiles=plan_tiles(source.shape, options))
    _check_memory(plan)
    return plan


def choose_halo(config: RunConfig, spec: ModelSpec) -> int:
    """Return the halo in pixels: what was asked for, else what was measured for the model."""
    if isinstance(config.halo, int):
        return config.halo
    return spec.halo.exact_px if config.halo == "exact" else spec.halo.default_px


def open_source(config: RunConfig, spec: ModelSpec) -> RasterSource:
    """Open the raster of a run on the model's grid, with the bands that the model needs and the area of interest.

    Raises:
        UsageError: If the raster or the area of interest does not fit.
        RasterError: If no pixel holds data.
    """
    options = RasterOptions(assume_crs=config.assume_crs, warp=config.warp)
    source = open_raster(config.raster, options, resolution_m=spec.resolution_m)
    source = replace(source, bands=_choose_bands(config, spec, source))
    if config.aoi is not None:
        source = replace(source, aoi=_read_aoi(config.aoi, source))
    if not has_data(source):
        raise RasterError(
            f"No pixel of {config.raster} holds data: all of it is nodata, masked or transparent. Check the file with gdalinfo -stats."
        )
    return source


def _choose_bands(config: RunConfig, spec: ModelSpec, source: RasterSource) -> tuple[int, ...]:
    wanted, there = len(spec.bands), len(source.bands)
    needs = f"Model '{spec.name}' needs {wanted} bands ({', '.join(spec.bands)})"
    if config.bands and len(config.bands) != wanted:
        raise ModelError(f"{needs}; --bands names {len(config.bands)}.")
    if not config.bands and there < wanted:
        raise ModelError(f"{needs}; {config.raster} has {there}. Choose bands with --bands or another model.")
    outside = [b for b in config.bands if not 1 <= b <= there]
    if outside:
        raise RasterError(f"{config.raster} has {there} bands; --bands asks for {outside[0]}. Choose from 1 to {there}.")
    return config.bands or tuple(range(1, wanted + 1))


def _read_aoi(path: Path, source: RasterSource) -> BaseGeometry:
    # loads geopandas, which most runs never need
    from geoseg.io.vector import read_vector

    table = read_vector(path, source.geobox.crs)
    polygons = table.geometry[table.geom_type.isin(["Polygon", "MultiPolygon"])]
    if polygons.empty:
        raise UsageError(f"The area of interest {path} holds no polygon. Give a vector file with polygons.")
    inside = shapely.intersection(shapely.union_all(polygons.to_numpy()), source.geobox.extent.geom)
    if inside.area == 0:
        raise UsageError(
            f"The area of interest {path} does not touch {source.path}: it spans {_bounds(polygons.total_bounds)}, "
            f"the raster {_bounds(source.geobox.boundingbox)} in {source.geobox.crs}. Check its CRS."
        )
    return inside


def _bounds(numbers: Iterable[float]) -> str:
    return "(" + ", ".join(f"{n:.6g}" for n in numbers) + ")"


def _check_memory(plan: RunPlan) -> None:
    limit = psutil.virtual_memory().available if plan.config.memory_bytes is None else plan.config.memory_bytes
    if plan.memory_bytes > limit:
        raise MemoryLimitError(
            f"The run would take about {plan.memory_bytes / 1e9:.1f} GB of memory; {limit / 1e9:.1f} GB may be used. "
            "Choose a smaller --chunk-size, --tile-size, --batch-size or fewer --workers, or raise --memory."
        )


def check_disk(plan: RunPlan, folder: Path) -> None:
    """Refuse a run whose results cannot fit on the disk.

    Raises:
        WriteError: If the free space is smaller than projected.
    """
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < plan.disk_bytes:
        raise WriteError(
            f"The run needs about {plan.disk_bytes / 1e6:.0f} MB in {folder}; {free / 1e6:.0f} MB are free. Make room or choose another -o."
        )
