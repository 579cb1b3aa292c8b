"""A run as it is settled: its tiles, how its network runs, and what memory and disk that takes."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geoseg.config import Output, RunConfig
from geoseg.io.ground import pixel_size_m
from geoseg.io.raster import RasterSource
from geoseg.io.sources.address import checksum_names
from geoseg.io.sources.imagery import is_measured, list_files
from geoseg.io.sources.placement import describe_placement
from geoseg.machine import count_cores
from geoseg.model.averaged import View, count_passes, list_views
from geoseg.model.execution import Backend, Execution
from geoseg.model.package import ModelPackage, hash_file, shipped_models
from geoseg.model.spec import ModelSpec
from geoseg.tiling import TilePlan

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
    inputs: dict[str, Any] | None = None
    """What its files were when the run began, see :func:`identify_inputs`; None looks whenever it is asked."""

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
        """How each of the lanes runs the network: on the processor they share its cores, and one session.

        onnxruntime counts the thread that calls it, so that all lanes but one bring a thread more than its pool has.
        """
        cores = self.execution.threads
        if self.on_gpu or self.lanes == 1:
            return self.execution
        return replace(self.execution, threads=-(-cores // self.lanes), pool_threads=max(1, cores - self.lanes + 1))

    @property
    def chunks_at_once(self) -> int:
        """Chunks under way in each worker: enough to fill batches, and for reading and writing beside them."""
        if not self.on_gpu:
            # one that is read and written beside those whose only tile is with a lane
            return 2 if self.tiles.tiles_per_chunk > 1 else 1 + self.lanes
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
        return self.project_disk_bytes(self.tiles.chunk_count, self.config.outputs)

    def project_disk_bytes(self, chunks: int, outputs: Collection[Output]) -> int:
        """Return the projected disk space of some of the chunks and outputs."""
        stored = _CHUNK_BYTES_PER_PX + _MEASURE_BYTES_PER_PX * len(self.package.spec.layers.measures)
        of_chunks = stored * chunks / self.tiles.chunk_count if self.config.chunks_at is None else 0.0
        bytes_per_px = of_chunks + sum(_OUTPUT_BYTES_PER_PX[output] for output in set(outputs))
        return round(self.tiles.height * self.tiles.width * bytes_per_px)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know before trusting the result."""
        coarsest, size = self.package.spec.coarsest_m, pixel_size_m(self.source.geobox)
        files = [(file.name, file.options.placed) for file in list_files(self.source.imagery)]
        placed = tuple(describe_placement(name, placement) for name, placement in files if placement is not None)
        if coarsest is None or size <= coarsest or not is_measured(self.source.imagery):
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
            "model": _locate(self.config.model),
            "device": self.execution.device.split(":", maxsplit=1)[0],
            **(identify_inputs(self.config, self.source) if self.inputs is None else self.inputs),
            "grid": [height, width, *tuple(self.source.geobox.transform)[:6]],
            "model_sha256": self.package.sha256,
            "model_spec_sha256": self.package.spec.result_sha256,
            "tiles_per_chunk": self.tiles.tiles_per_chunk,
            "fit": self.tiles.fit,
        }


def _locate(model: str) -> str:
    """Return a model as it is called from every folder."""
    return model if model in shipped_models() or not Path(model).exists() else str(Path(model).resolve())


def identify_inputs(config: RunConfig, source: RasterSource) -> dict[str, Any]:
    """Return what changes when the raster of a run does, or one of the vectors that say where it is segmented.

    Raises:
        RunError: If the server of a raster cannot be asked.
    """
    excluded = {"exclude_sha256": hash_file(config.exclude)} if config.exclude is not None else {}
    return {**identify_source(source), "aoi_sha256": hash_file(config.aoi) if config.aoi is not None else None, **excluded}


def identify_source(source: RasterSource) -> dict[str, Any]:
    """Return what changes when a raster does: size and time of a file, a checksum of those of several.

    Raises:
        RunError: If the server of a raster cannot be asked.
    """
    files = list(source.imagery.files())
    path = Path(files[0])
    if len(files) > 1 or not path.exists():
        return {"raster": source.path, "raster_bytes": None, "raster_changed": None, "sources_sha256": checksum_names(files)}
    found = path.stat()
    return {"raster": str(path.absolute()), "raster_bytes": found.st_size, "raster_changed": found.st_mtime_ns}


def list_layers(config: RunConfig, spec: ModelSpec) -> tuple[str, ...]:
    """Return the names of the layers that chunks of a run hold, in order; see :attr:`RunPlan.layers`."""
    wanted = set(config.outputs)
    kept = {"class"} | ({"confidence"} if wanted & _FROM_CONFIDENCE else set())
    if wanted & _FROM_EVIDENCE:
        kept |= {evidence.name for evidence in spec.layers.evidence}
    kept |= {measure.name for measure in spec.layers.measures}
    return tuple(name for name in spec.layers.names if name in kept)
