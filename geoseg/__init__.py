"""geoseg turns large rasters into maps: classes, buildings and roads.

The names below are the public surface; they are loaded when they are first used, so that ``import geoseg`` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoseg.arrays.run import Run, open_run
    from geoseg.arrays.segment import segment
    from geoseg.change.compare import change_runs
    from geoseg.change.options import ChangeOptions
    from geoseg.config import RunConfig, make_config
    from geoseg.errors import GeosegError, RunError, UsageError
    from geoseg.events import ChunkDone, Event, Finished, FirstMap, MapRefined, RunPlanned, StageDone, Warned
    from geoseg.impact.measure import measure_impact
    from geoseg.impact.options import FloodInput, ImpactInputs, ImpactOptions
    from geoseg.impact.tables import Impact
    from geoseg.inference.planning import plan_run
    from geoseg.inference.runplan import RunPlan
    from geoseg.model.package import ModelPackage, find_package
    from geoseg.model.spec import ModelSpec
    from geoseg.pipeline import segment_raster
    from geoseg.products.exports import export_run
    from geoseg.quick.look import QuickOptions, segment_quick
    from geoseg.redo import redo_objects
    from geoseg.runfolder.status import Status, read_status
    from geoseg.runfolder.verify import Verdict, verify_run
    from geoseg.settings import ObjectSettings

__version__ = "0.6.0"

__all__ = [
    "ChangeOptions",
    "ChunkDone",
    "Event",
    "Finished",
    "FirstMap",
    "FloodInput",
    "GeosegError",
    "Impact",
    "ImpactInputs",
    "ImpactOptions",
    "MapRefined",
    "ModelPackage",
    "ModelSpec",
    "ObjectSettings",
    "QuickOptions",
    "Run",
    "RunConfig",
    "RunError",
    "RunPlan",
    "RunPlanned",
    "StageDone",
    "Status",
    "UsageError",
    "Verdict",
    "Warned",
    "change_runs",
    "export_run",
    "find_package",
    "make_config",
    "measure_impact",
    "open_run",
    "plan_run",
    "read_status",
    "redo_objects",
    "segment",
    "segment_quick",
    "segment_raster",
    "verify_run",
]

_HOMES = {
    "arrays.run": ("Run", "open_run"),
    "arrays.segment": ("segment",),
    "change.compare": ("change_runs",),
    "change.options": ("ChangeOptions",),
    "config": ("RunConfig", "make_config"),
    "errors": ("GeosegError", "RunError", "UsageError"),
    "events": ("ChunkDone", "Event", "Finished", "FirstMap", "MapRefined", "RunPlanned", "StageDone", "Warned"),
    "impact.measure": ("measure_impact",),
    "impact.options": ("FloodInput", "ImpactInputs", "ImpactOptions"),
    "impact.tables": ("Impact",),
    "inference.planning": ("plan_run",),
    "inference.runplan": ("RunPlan",),
    "model.package": ("ModelPackage", "find_package"),
    "model.spec": ("ModelSpec",),
    "pipeline": ("segment_raster",),
    "products.exports": ("export_run",),
    "quick.look": ("QuickOptions", "segment_quick"),
    "redo": ("redo_objects",),
    "runfolder.status": ("Status", "read_status"),
    "runfolder.verify": ("Verdict", "verify_run"),
    "settings": ("ObjectSettings",),
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that holds it."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"geoseg.{module}"), name)
    raise AttributeError(f"module 'geoseg' has no attribute '{name}'")
