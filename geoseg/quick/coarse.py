"""How a first map is made: the same model on fewer pixels of the same ground."""

from pathlib import Path

from geoseg.config import Output
from geoseg.inference.planning import replan
from geoseg.inference.runplan import RunPlan
from geoseg.io.coarse import coarsen_source

_SHARE = 1 / 14
"""Of the pixels that the network sees in the whole run, at most: together with what does not grow with them, a tenth of its time."""
_MOST_PX = 16e6
"""Pixels that the network sees for a first map, at most: some twenty seconds on two cores, whatever the raster."""
_COARSEST = 16
"""Farther away, no model that was made for a run's pixels knows anything."""
_NEEDED: tuple[Output, ...] = ("classes", "confidence")
"""What the map is refined with."""


def plan_coarse(plan: RunPlan, output: Path) -> tuple[RunPlan, int]:
    """Plan the first map of a run.

    Args:
        plan: The run.
        output: Folder for the first map.

    Returns:
        The plan, and the pixels of the run along each side of one of its own: as few as a tenth of the run's time allows.
    """
    factor = 2
    while True:
        coarse = _plan(plan, output, factor)
        inferred = count_inferred(coarse)
        if factor == _COARSEST or inferred <= min(_MOST_PX, _SHARE * count_inferred(plan)):
            return coarse, factor
        factor += 1


def count_inferred(plan: RunPlan) -> int:
    """Return the pixels that the network sees, halos included."""
    rows, cols = plan.tiles.tile_shape
    return plan.tiles.inferred_count * rows * cols


def _plan(plan: RunPlan, output: Path, factor: int) -> RunPlan:
    config = plan.config.model_copy(
        update={
            "output": output,
            "outputs": tuple(dict.fromkeys((*plan.config.outputs, *_NEEDED))),
            "formats": (),
            "zones": None,
            "chunks_at": None,
            # what cannot be read is an error of the run, which tries it more than once
            "allow_missing": True,
        }
    )
    return replan(config, plan.package, coarsen_source(plan.source, factor))
