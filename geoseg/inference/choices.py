"""What is chosen where a configuration leaves it open, without measuring: backend, device, halo, and sizes that fit into memory."""

from collections.abc import Iterator
from math import isqrt

from geoseg.config import RunConfig
from geoseg.errors import ConfigError
from geoseg.machine import count_cores, memory_bytes
from geoseg.model.device import pick_device
from geoseg.model.execution import Backend, Execution
from geoseg.model.graph import has_graph
from geoseg.model.package import ModelPackage
from geoseg.model.ports import largest_tile_px
from geoseg.model.spec import LIBRARIES, ModelSpec
from geoseg.plugins import MODELS, plugin_names

_SMALLEST_TILE_PX = 256
"""Below it halos are most of the work."""
_ROOMY, _WORTH_ROOM = 1.5, 1.05
"""How much larger tiles may be than a model's card says, and how many times the halo work that has to save: it costs memory."""
_ROOM = 8
"""Such tiles that the memory must hold: two lanes of them are a quarter of it."""
_CHUNK_PX, _GPU_CHUNK_PX = 1536, 4096
"""Large enough that halos are seldom read twice and that writing is no work, small enough that a killed run loses seconds."""
_MOST_CHUNKS = 250_000
"""Chunks grow with rasters of which there would be more: each costs the scheduler milliseconds, and the disk a file; see docs/scale.md."""
_GPU_BATCH = 8
_TILES_TO_SHARE = 4
"""Tiles of a raster from which two lanes share them on a processor; of fewer, one lane would be done while the other still works."""


def choose_execution(config: RunConfig, package: ModelPackage) -> Execution:
    """Choose how a network is run, as far as that is not given.

    onnxruntime is the fastest on most processors and starts without torch, so it is taken where the package's graph is there.

    Raises:
        ConfigError: If what is given does not go together.
    """
    # the workers of a running scheduler know best how many cores they have
    cores = config.threads or (0 if config.scheduler else max(1, count_cores() // max(1, config.workers)))
    only = package.spec.network.backend
    if only is not None:
        return _choose_fixed(config, package.spec, only, cores)
    graphs = config.cache_folder / "graphs"
    # and what devices
    device = config.device if config.scheduler and config.device != "auto" else pick_device(_wanted_device(config))
    on_gpu = device.startswith("cuda")
    backend: Backend = "onnx" if not on_gpu and has_graph(package, graphs) else "torch"
    if config.backend != "auto":
        backend = config.backend
    precision = config.precision or "float32"
    if precision != "float32" and config.backend == "auto":
        backend = "torch"
    if precision != "float32" and backend == "onnx":
        raise ConfigError(f"--precision {precision} needs --backend torch or compile; onnx takes float32.")
    return Execution(backend=backend, device=device, precision=precision, threads=cores, cache=graphs)


def _wanted_device(config: RunConfig) -> str:
    # onnxruntime on a GPU is another package, so it is only taken there when both are asked for
    return "cpu" if (config.backend, config.device) == ("onnx", "auto") else config.device


def _choose_fixed(config: RunConfig, spec: ModelSpec, backend: Backend, cores: int) -> Execution:
    """Choose for a model that one backend runs: a classifier of pixels, a network that came as a whole, or a plugin's."""
    library = spec.network.library
    if library not in LIBRARIES and library not in plugin_names(MODELS):
        there = ", ".join((*sorted(LIBRARIES), *plugin_names(MODELS)))
        raise ConfigError(f"Model '{spec.name}' needs the library '{library}'; there are {there}. Install the package that adds it.")
    if config.backend not in ("auto", backend):
        raise ConfigError(
            f"Model '{spec.name}' is no network that geoseg builds: it runs with --backend {backend} only, not with {config.backend}."
        )
    if config.precision not in (None, "float32"):
        raise ConfigError(f"Model '{spec.name}' computes in the numbers that it came with; --precision {config.precision} cannot be had.")
    if library == "sklearn":
        return Execution(backend=backend, threads=cores)
    # onnxruntime on a GPU is another package, so it is only taken when asked for
    device = "cpu" if config.device == "auto" and backend == "onnx" else pick_device(config.device)
    return Execution(backend=backend, device=device, threads=cores)


def choose_lanes(execution: Execution, tiles: int) -> tuple[int, ...]:
    """Return how many threads call the network, the fastest number first, for machines with less memory others after it.

    On a GPU one computes while the other waits for a copy. On a processor onnxruntime's threads wait for each other after each layer,
    and all of them for the one that has to make room for reading and writing; two lanes, each with half of the cores, do not.

    Args:
        execution: How the network is run.
        tiles: Of the raster.
    """
    if execution.device.startswith("cuda"):
        return (2,)
    return (2, 1) if execution.backend == "onnx" and execution.threads > 1 and tiles >= _TILES_TO_SHARE else (1,)


def ever_smaller(config: RunConfig, spec: ModelSpec, execution: Execution, raster_px: int = 0) -> Iterator[RunConfig]:
    """Yield the configuration with what is not given filled in: as it runs best, then smaller, for machines with less memory.

    Args:
        config: What is given.
        spec: The model.
        execution: How the network is run.
        raster_px: Pixels of the raster; chunks of very large ones are larger.
    """
    on_gpu = execution.device.startswith("cuda")
    tile = config.tile_size or choose_tile(config, spec, execution)
    batch = config.batch_size or (_GPU_BATCH if on_gpu else 1)
    halo = choose_halo(config, spec)

    def largest_chunk(tile: int) -> int:
        # of whole tiles
        core = max(1, tile - 2 * halo)
        return max(_GPU_CHUNK_PX if on_gpu else _CHUNK_PX, -(-isqrt(raster_px // _MOST_CHUNKS) // core) * core)

    chunk = config.chunk_size or largest_chunk(tile)
    while True:
        yield config.model_copy(
            update={"tile_size": tile, "chunk_size": chunk, "batch_size": batch, "halo": halo, "stitch": config.stitch or spec.stitch}
        )
        if config.chunk_size is None and chunk > tile:
            chunk = max(tile // 2, chunk // 2)
        elif config.batch_size is None and batch > 1:
            batch //= 2
        elif config.tile_size is None and tile > spec.tile_size_px:
            tile = spec.tile_size_px
            chunk = config.chunk_size or largest_chunk(tile)
        elif config.tile_size is None and tile * 2 // 3 >= max(_SMALLEST_TILE_PX, 4 * halo):
            tile = tile * 2 // 3
        else:
            return


def choose_tile(config: RunConfig, spec: ModelSpec, execution: Execution) -> int:
    """Return the largest side of a tile in pixels: that of the model's card, or more where that saves halo work.

    On a processor a network is as fast per pixel on larger tiles (docs/performance.md). Networks that see a whole tile at once, or that
    geoseg did not build, keep the tiles that they were made for; a card of very small ones asks for little memory. Workers, threads,
    chunks and what of the memory is free have no say, since they should not change a map, unless the run would not fit.
    """
    own, roomy, halo = spec.tile_size_px, roomy_tile(spec), choose_halo(config, spec)
    made_for = spec.network.backend is not None or spec.network.global_context or config.stitch == "blend"
    if made_for or own < _SMALLEST_TILE_PX or not fits_tiles(spec, execution):
        return own
    has_room = _ROOM * roomy**2 * spec.memory_bytes_per_px <= (config.memory_bytes or memory_bytes())
    return roomy if has_room and _halo_work(own, halo) > _WORTH_ROOM * _halo_work(roomy, halo) else own


def roomy_tile(spec: ModelSpec) -> int:
    """Return the side in pixels of the largest tile that is tried on a processor."""
    stride = spec.network.stride_px
    return int(spec.tile_size_px * _ROOMY) // stride * stride


def _halo_work(tile: int, halo: int) -> float:
    return (tile / max(1, tile - 2 * halo)) ** 2


def fits_tiles(spec: ModelSpec, execution: Execution) -> bool:
    """Tell whether tiles may be of any shape: a GPU's kernels are chosen, and compiled ones made, for each shape anew."""
    return not execution.device.startswith("cuda") and execution.backend != "compile" and largest_tile_px(spec) is None


def choose_halo(config: RunConfig, spec: ModelSpec) -> int:
    """Return the halo in pixels: what was asked for, else what was measured for the model."""
    if isinstance(config.halo, int):
        return config.halo
    return spec.halo.exact_px if config.halo == "exact" else spec.halo.default_px
