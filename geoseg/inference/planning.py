"""Everything that is settled before work begins: grid, tiles, memory, disk; nothing is written."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from geoseg.checkrules import check_rules
from geoseg.config import RunConfig
from geoseg.errors import ConfigError, MemoryLimitError, ModelError, WriteError
from geoseg.events import RunPlanned
from geoseg.inference.choices import choose_execution, choose_lanes, ever_smaller, fits_tiles
from geoseg.inference.opening import open_source
from geoseg.inference.runplan import RunPlan
from geoseg.io.ground import pixel_size_m
from geoseg.io.raster import RasterSource
from geoseg.machine import free_memory_bytes
from geoseg.model.execution import Execution
from geoseg.model.package import ModelPackage
from geoseg.model.ports import largest_tile_px
from geoseg.model.source import find_model
from geoseg.model.spec import ModelSpec
from geoseg.pixels.classes import ClassKind
from geoseg.poststeps import check_steps
from geoseg.tiling import TilingOptions, plan_tiles
from geoseg.writers import check_formats, check_zones

_MEASURED = ("probabilities", "uncertainty")


def plan_run(config: RunConfig) -> RunPlan:
    """Check a configuration against its files and settle the run: what is not given is chosen, and nothing is measured.

    Raises:
        UsageError: If raster, model, area of interest or options do not fit each other.
        MissingFileError: If a file is not there.
        MemoryLimitError: If the projected memory exceeds the limit, however small what was left open is chosen.
    """
    package = find_asked(config)
    cannot = {"buildings", "roads"} - package.spec.finds
    check_formats(config.formats, (output for output in config.outputs if output not in cannot))
    source = open_source(config, package.spec)
    check_zones(config.zones, config.outputs, source.geobox)
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


def replan(config: RunConfig, package: ModelPackage, source: RasterSource) -> RunPlan:
    """Settle a run again for a source that is open already; see :func:`plan_run`."""
    execution = choose_execution(config, package)
    if package.spec.detects:
        _check_detector(config, package.spec)
    else:
        _check_buildings(config, package.spec)
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


def _check_buildings(config: RunConfig, spec: ModelSpec) -> None:
    """Refuse objects of a model of classes that knows several of buildings: evidence is stored of the first alone."""
    names = [row.name for row in spec.scheme.of_kind(ClassKind.BUILDING)]
    asked = [output for output in ("buildings", "panoptic") if output in config.outputs]
    if len(names) > 1 and asked:
        raise ModelError(
            f"Model '{spec.name}' has {len(names)} classes of buildings ({', '.join(names)}); objects are made of one alone. "
            f"Leave {' and '.join(asked)} out of --outputs, or give all but one of them the kind surface in its model.json."
        )


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
        fit=fits_tiles(package.spec, execution),
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


def check_disk(plan: RunPlan, folder: Path, standing_bytes: int = 0) -> None:
    """Refuse a run whose results cannot fit on the disk.

    Args:
        plan: The run.
        folder: Its folder.
        standing_bytes: Of the projected space, what is taken already by what is done.

    Raises:
        WriteError: If the free space is smaller than projected.
    """
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free, needed = shutil.disk_usage(existing).free, plan.disk_bytes - standing_bytes
    if free < needed:
        raise WriteError(
            f"The run needs about {needed / 1e6:.0f} MB in {folder}; {free / 1e6:.0f} MB are free. Make room or choose another -o."
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
