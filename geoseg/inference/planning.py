"""Everything that is settled before work begins: grid, tiles, memory, disk; nothing is written."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geoseg.checkrules import check_rules
from geoseg.config import Output, RunConfig
from geoseg.errors import ConfigError, MemoryLimitError, ModelError, RasterError, WriteError
from geoseg.events import RunPlanned
from geoseg.inference.choices import choose_execution, choose_lanes, ever_smaller
from geoseg.io.ground import pixel_size_m
from geoseg.io.raster import RasterOptions, RasterSource, has_data, place_source
from geoseg.io.sources.address import checksum_names
from geoseg.io.sources.arrangement import Arrangement
from geoseg.io.sources.bands import find_bands, list_lacking, match_bands
from geoseg.io.sources.gather import gather_imagery
from geoseg.io.sources.imagery import FileImagery, Imagery, list_files
from geoseg.io.sources.placement import describe_placement, is_of_unknown_width
from geoseg.io.where import Where, find_area
from geoseg.machine import count_cores, free_memory_bytes
from geoseg.model.averaged import View, count_passes, list_views
from geoseg.model.execution import Backend, Execution
from geoseg.model.package import ModelPackage, hash_file
from geoseg.model.ports import largest_tile_px
from geoseg.model.source import find_model
from geoseg.model.spec import ModelSpec
from geoseg.poststeps import check_steps
from geoseg.tiling import TilePlan, TilingOptions, plan_tiles
from geoseg.writers import check_formats, check_zones

_LIBRARIES_BYTES: dict[Backend, int] = {"torch": 1_350_000_000, "compile": 1_500_000_000, "onnx": 400_000_000}
"""Python, GDAL, Dask and what runs the network once loaded, and what the heap loses to gaps; measured, see docs/performance.md."""
_FORWARD: dict[Backend, float] = {"torch": 1.0, "compile": 1.0, "onnx": 1.0}
"""Memory of a forward pass against the model's ``memory_bytes_per_px``, which is measured with torch."""
_LAYER_BYTES_PER_PX = 14
"""Pixels, valid, stitched layers and the encoded file of one chunk."""
_BLEND_BYTES_PER_PX = 4 + 8 + 4 + 4
"""Weights, index of the best channel, and the score that is being stored, before and after rounding."""
_PROBABILITY_BYTES = 4
"""A probability on the processor."""
_CHUNK_BYTES_PER_PX = 3.0
"""All layers of finished chunks, which go when the run is finished."""
_MEASURE_BYTES_PER_PX = 0.7
"""A layer of probability or uncertainty, as confidence."""
_OUTPUT_BYTES_PER_PX: dict[Output, float] = {
    "classes": 0.1,
    "confidence": 0.7,
    "evidence": 2.0,
    "landcover": 1.0,
    "buildings": 0.5,
    "panoptic": 0.3,
    "roads": 0.1,
    # megabytes, whatever the raster
    "report": 0.0,
    "probabilities": 3.0,
    "uncertainty": 1.5,
}
"""What is made of them, scratch included; measured on a drone orthophoto of a town."""
_FROM_CONFIDENCE = {"confidence", "panoptic"}
_FROM_EVIDENCE = {"evidence", "buildings", "panoptic", "roads"}
_MEASURED = ("probabilities", "uncertainty")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """A checked run. Small, and the same for the same configuration and files."""

    config: RunConfig
    """What was asked, and what was chosen where nothing was."""
    source: RasterSource
    """The raster on the run's grid."""
    package: ModelPackage
    """The model."""
    tiles: TilePlan
    """Its tiles and chunks."""
    execution: Execution
    """How the network is run."""
    batch_size: int
    """Tiles in one forward pass."""
    lanes: int
    """Threads that call the network in each worker."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the model's layers that are stored: the class map, and what the outputs are made from."""
        return list_layers(self.config, self.package.spec)

    @property
    def views(self) -> tuple[View, ...]:
        """How each tile is seen: once, or more often for test-time augmentation."""
        return list_views(self.config.tta, self.config.tta_scales)

    @property
    def on_gpu(self) -> bool:
        """Whether the network runs on a GPU."""
        return self.execution.device.startswith("cuda")

    @property
    def lane_execution(self) -> Execution:
        """How each of the lanes runs the network: on the processor they share its cores."""
        return self.execution if self.on_gpu else replace(self.execution, threads=-(-self.execution.threads // self.lanes))

    @property
    def chunks_at_once(self) -> int:
        """Chunks under way in each worker: enough to fill batches, and for reading and writing beside them."""
        if not self.on_gpu:
            return 2
        to_fill = -(-2 * self.batch_size * self.lanes // self.tiles.tiles_per_chunk**2)
        return 1 + max(to_fill, min(8, count_cores() // max(1, self.config.workers)))

    @property
    def read_threads(self) -> int:
        """Blocks of the raster that are decoded at the same time: decoding takes what the network leaves, on a GPU all cores."""
        return max(1, count_cores() // max(1, self.config.workers)) if self.on_gpu else 1

    @property
    def memory_bytes(self) -> int:
        """Projected peak memory of all processes of the run on this machine (law 8)."""
        common, chunk = self._parts
        return round(max(1, self.config.workers) * (common + self.chunks_at_once * chunk))

    @property
    def chunk_bytes(self) -> int:
        """Memory of a chunk under way, of :attr:`memory_bytes`."""
        return round(self._parts[1])

    @property
    def common_bytes(self) -> int:
        """Memory of each worker that its chunks share: libraries and the batches of the network."""
        return round(self._parts[0])

    @property
    def _parts(self) -> tuple[float, float]:
        """Memory of a worker without chunks, and of each chunk under way."""
        rows, cols = self.tiles.tile_shape
        spec, batch_px = self.package.spec, rows * cols * self.batch_size
        # on a GPU only what goes there and comes back takes memory of the machine
        per_px = 4 * self.source.bytes_per_px if self.on_gpu else spec.memory_bytes_per_px * _FORWARD[self.execution.backend]
        if len(self.views) > 1:
            # the largest view, its probabilities, their sum, and the pixels turned
            largest = max(view.scale for view in self.views) ** 2
            per_px = (per_px + self.source.bytes_per_px + _PROBABILITY_BYTES * spec.channels) * largest + _PROBABILITY_BYTES * spec.channels
        blend = self.tiles.stitch == "blend"
        # blended chunks read the neighbors that reach in
        side = (self.tiles.tiles_per_chunk + (2 if blend else 0)) * max(rows, cols)
        chunk_px = min(side**2, self.tiles.height * self.tiles.width + rows * cols)
        # probabilities of the chunk, of the batches under way, and of a tile times its weights
        blending = 4 * spec.channels * (chunk_px + 3 * batch_px + rows * cols) + _BLEND_BYTES_PER_PX * chunk_px if blend else 0
        # once stitched, and once as they are stored
        measured = 2 * len(spec.layers.measures)
        chunk_bytes = chunk_px * (_LAYER_BYTES_PER_PX + measured + self.source.bytes_per_px) + blending
        return _LIBRARIES_BYTES[self.execution.backend] + self.lanes * batch_px * per_px, chunk_bytes

    @property
    def disk_bytes(self) -> int:
        """Projected disk space while the run goes on."""
        stored = _CHUNK_BYTES_PER_PX + _MEASURE_BYTES_PER_PX * len(self.package.spec.layers.measures)
        chunks = stored if self.config.chunks_at is None else 0.0
        bytes_per_px = chunks + sum(_OUTPUT_BYTES_PER_PX[output] for output in set(self.config.outputs))
        return round(self.tiles.height * self.tiles.width * bytes_per_px)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know before trusting the result."""
        coarsest, size = self.package.spec.coarsest_m, pixel_size_m(self.source.geobox)
        files = [(file.name, file.options.placed) for file in list_files(self.source.imagery)]
        placed = tuple(describe_placement(name, placement) for name, placement in files if placement is not None)
        if coarsest is None or size <= coarsest or is_of_unknown_width(self.config.assume_crs):
            return placed
        return (
            *placed,
            f"{self.source.path} has pixels of {size:.3g} m on the ground; model '{self.package.spec.name}' knows up to {coarsest:g} m. "
            "Expect poor results, or choose another model.",
        )

    def describe_execution(self) -> str:
        """Say in a few words how the network is run."""
        rows, cols = self.tiles.tile_shape
        where = self.execution.device if self.on_gpu else f"{self.execution.threads or 'all'} threads"
        number = f"batches of {self.batch_size} tiles" if self.batch_size > 1 else "tiles"
        seen = f", the mean of {len(self.views)} views ({count_passes(self.views):.3g} x the work)" if len(self.views) > 1 else ""
        return f"{self.execution.backend} on {where}, {self.execution.precision}, {number} of {cols} x {rows} px{seen}"

    def fingerprint(self) -> dict[str, Any]:
        """Return what must be the same for a run to go on: options, model and raster."""
        height, width = self.source.geobox.shape
        return {
            **self.config.result_keys(),
            "device": self.execution.device.split(":", maxsplit=1)[0],
            **_identify(self.source),
            "aoi_sha256": hash_file(self.config.aoi) if self.config.aoi is not None else None,
            **({"exclude_sha256": hash_file(self.config.exclude)} if self.config.exclude is not None else {}),
            "grid": [height, width, *tuple(self.source.geobox.transform)[:6]],
            "model_sha256": self.package.sha256,
            "model_spec_sha256": self.package.spec.result_sha256,
            "tiles_per_chunk": self.tiles.tiles_per_chunk,
            "fit": self.tiles.fit,
        }


def _identify(source: RasterSource) -> dict[str, Any]:
    """Return what changes when a raster does: size and time of a file, a checksum of those of several."""
    files = list(source.imagery.files())
    path = Path(files[0])
    if len(files) > 1 or not path.exists():
        return {"raster": source.path, "raster_bytes": None, "raster_changed": None, "sources_sha256": checksum_names(files)}
    found = path.stat()
    return {"raster": str(path.absolute()), "raster_bytes": found.st_size, "raster_changed": found.st_mtime_ns}


def plan_run(config: RunConfig) -> RunPlan:
    """Check a configuration against its files and settle the run: what is not given is chosen, and nothing is measured.

    Raises:
        UsageError: If raster, model, area of interest or options do not fit each other.
        MissingFileError: If a file is not there.
        MemoryLimitError: If the projected memory exceeds the limit, however small what was left open is chosen.
    """
    check_zones(config.zones, config.outputs)
    package = find_asked(config)
    cannot = {"buildings", "roads"} - package.spec.finds
    check_formats(config.formats, (output for output in config.outputs if output not in cannot))
    source = open_source(config, package.spec)
    if config.post:
        check_steps(config.post, (row.name for row in package.spec.classes), config.outputs, pixel_size_m(source.geobox))
    check_rules(config.checks, (row.name for row in package.spec.classes), config.outputs)
    return replan(config, package, source)


def find_asked(config: RunConfig) -> ModelPackage:
    """Return the model of a run, its spec with the layers of probability and uncertainty that the run asks for.

    Raises:
        MissingFileError: If it is not there.
        ModelError: If it cannot be used.
    """
    package = find_model(config.model, config.cache_folder)
    measured = tuple(name for name in _MEASURED if name in config.outputs)
    return replace(package, spec=package.spec.model_copy(update={"asked_layers": measured}))


def list_layers(config: RunConfig, spec: ModelSpec) -> tuple[str, ...]:
    """Return the names of the layers that chunks of a run hold, in order; see :attr:`RunPlan.layers`."""
    wanted = set(config.outputs)
    kept = {"class"} | ({"confidence"} if wanted & _FROM_CONFIDENCE else set())
    if wanted & _FROM_EVIDENCE:
        kept |= {evidence.name for evidence in spec.layers.evidence}
    kept |= {measure.name for measure in spec.layers.measures}
    return tuple(name for name in spec.layers.names if name in kept)


def _check_dtype(spec: ModelSpec, source: RasterSource) -> None:
    if spec.dtype is not None and str(source.dtype) != spec.dtype:
        raise ModelError(
            f"Model '{spec.name}' scales {spec.dtype} values; {source.path} holds {source.dtype}. Convert it (gdal_translate -ot -scale), "
            "or import the model with mean, std and dtype for such values."
        )


def replan(config: RunConfig, package: ModelPackage, source: RasterSource) -> RunPlan:
    """Settle a run again for a source that is open already; see :func:`plan_run`."""
    _check_dtype(package.spec, source)
    execution = choose_execution(config, package)
    if package.spec.detects:
        _check_detector(config, package.spec)
    if config.tta_scales and package.spec.network.is_whole and largest_tile_px(package.spec) is not None:
        raise ConfigError(f"Model '{package.spec.name}' takes tiles of one size only, so none at other scales. Leave --tta-scales out.")
    limit = free_memory_bytes() if config.memory_bytes is None else config.memory_bytes
    smallest: RunPlan | None = None
    for smaller in ever_smaller(config, package.spec, execution, source.shape[0] * source.shape[1]):
        smallest = _settle(smaller, package, source, execution)
        for lanes in choose_lanes(execution, smallest.tiles.tile_count):
            smallest = replace(smallest, lanes=lanes)
            if smallest.memory_bytes <= limit:
                return smallest
    assert smallest is not None
    raise MemoryLimitError(
        f"The run would take about {smallest.memory_bytes / 1e9:.1f} GB of memory; {limit / 1e9:.1f} GB may be used. "
        "Choose a smaller --chunk-size, --tile-size, --batch-size or fewer --workers, or raise --memory."
    )


def _check_detector(config: RunConfig, spec: ModelSpec) -> None:
    called = f"Model '{spec.name}' is a detector"
    if config.chunks_at is not None:
        raise ConfigError(f"{called}: what it finds is kept in the run folder. Leave out --chunks-at.")
    if spec.asked_layers:
        raise ConfigError(f"{called}: it gives no probabilities of classes. Leave {' and '.join(spec.asked_layers)} out of --outputs.")
    if config.tta != "none" or config.tta_scales:
        raise ConfigError(f"{called}: it gives no probabilities that could be averaged over views. Leave --tta and --tta-scales out.")


def _settle(config: RunConfig, package: ModelPackage, source: RasterSource, execution: Execution) -> RunPlan:
    """Plan with a configuration in which nothing is left open."""
    assert config.tile_size is not None
    assert config.chunk_size is not None
    assert config.batch_size is not None
    assert isinstance(config.halo, int)
    if package.spec.detects and config.stitch == "blend":
        raise ModelError(f"Model '{package.spec.name}' finds objects, whose masks are matched and not blended. Leave --stitch blend out.")
    only = largest_tile_px(package.spec)
    if only is not None and config.tile_size > only:
        raise ModelError(f"Model '{package.spec.name}' takes tiles of {only} px; --tile-size {config.tile_size} is larger. Leave it out.")
    options = TilingOptions(
        tile_size_px=config.tile_size,
        halo_px=config.halo,
        stride_px=package.spec.network.stride_px,
        chunk_size_px=config.chunk_size,
        stitch=config.stitch or package.spec.stitch,
        # a GPU wants tiles of one shape: its kernels are chosen, or compiled, for each shape anew
        fit=not execution.device.startswith("cuda") and execution.backend != "compile" and only is None,
    )
    tiles = plan_tiles(source.shape, options)
    settled: dict[str, Any] = {"tile_size": tiles.tile_size_px, "halo": tiles.halo_px, "backend": execution.backend}
    settled |= {"device": execution.device, "precision": execution.precision}
    return RunPlan(
        config=config.model_copy(update=settled),
        source=source,
        package=package,
        tiles=tiles,
        execution=execution,
        batch_size=config.batch_size,
        lanes=1,
    )


def open_source(config: RunConfig, spec: ModelSpec) -> RasterSource:
    """Open the raster of a run on the model's grid, with the bands that the model needs and the area of interest.

    Raises:
        UsageError: If the raster or the area of interest does not fit.
        RasterError: If no pixel holds data.
    """
    imagery = describe_imagery(config, spec.bands)
    imagery = imagery.each_file(FileImagery.scaled) if spec.values == "scaled" else imagery
    # nobody knows how wide such pixels are
    source = place_source(imagery, None if is_of_unknown_width(config.assume_crs) else spec.resolution_m)
    source = source.choose(choose_bands(config, spec, imagery))
    if config.collar == "auto":
        source = replace(source, imagery=source.imagery.each_file(FileImagery.without_collar))
    where = Where(aoi=config.aoi, bbox=config.bbox, exclude=config.exclude)
    source = replace(source, aoi=find_area(where, source.geobox, source.path))
    if not has_data(source):
        raise RasterError(
            f"No pixel of {source.path} holds data: all of it is nodata, masked or transparent. Check the file with gdalinfo -stats."
        )
    return source


def describe_imagery(config: RunConfig, wanted: tuple[str, ...] = ()) -> Imagery:
    """Describe the rasters of a run at full resolution, with all their bands.

    Args:
        config: Which rasters, and how they become one.
        wanted: What the model calls its bands; those that are asked for by name come before.

    Raises:
        UsageError: If one cannot be used, or they do not fit each other.
    """
    options = RasterOptions(assume_crs=config.assume_crs, warp=config.warp, trust_vrt=config.trust_vrt, sign=config.stac_sign)
    arrangement = Arrangement(rule=config.mosaic, feather_px=config.feather, stack=config.stack)
    named = tuple(band for band in config.bands if isinstance(band, str)) or wanted
    return gather_imagery(config.rasters, options, arrangement, named)


def choose_bands(config: RunConfig, spec: ModelSpec, imagery: Imagery) -> tuple[int, ...]:
    """Return the 1-based bands for a model: those that are asked for, else those called as it calls its own, else the first ones.

    Raises:
        ModelError: If there are fewer than it needs, another number was asked for, or it means some that are not there.
        RasterError: If one was asked for that is not there.
    """
    wanted, name = len(spec.bands), imagery.name
    needs = f"Model '{spec.name}' needs {wanted} bands ({', '.join(spec.bands)})"
    if config.bands and len(config.bands) != wanted:
        raise ModelError(f"{needs}; --bands names {len(config.bands)}.")
    if config.bands:
        return find_bands(config.bands, imagery.bands, name)
    there = [band for band in range(1, len(imagery.bands) + 1) if band not in imagery.opacity]
    if len(there) < wanted:
        alpha = f", beside {len(imagery.opacity)} of opacity" if imagery.opacity else ""
        raise ModelError(f"{needs}; {name} has {len(there)}{alpha}. Choose bands with --bands or another model.")
    matched = match_bands(spec.bands, imagery.bands)
    if matched is not None:
        return matched
    lacking = list_lacking(spec.bands, [imagery.bands[band - 1] for band in there])
    if lacking:
        called = ", ".join("/".join(imagery.bands[band - 1]) for band in there)
        raise ModelError(f"{needs}; {name} has {called}: {', '.join(lacking)} is not among them. Choose bands with --bands.")
    return tuple(there[:wanted])


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


def describe_plan(plan: RunPlan, chunks_done: int) -> RunPlanned:
    """Tell what is going to be done."""
    tiles = plan.tiles
    return RunPlanned(
        source=plan.source.path,
        model=f"{plan.package.spec.name} {plan.package.spec.version}",
        height_px=tiles.height,
        width_px=tiles.width,
        tiles=tiles.tile_count,
        chunks=tiles.chunk_count,
        chunks_done=chunks_done,
        memory_bytes=plan.memory_bytes,
        execution=plan.describe_execution(),
    )
