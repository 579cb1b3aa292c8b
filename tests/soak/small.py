"""A small raster and a model, with the result of a quiet run."""

from dataclasses import dataclass
from pathlib import Path

from tests.soak.ordeal import run_quietly
from tests.soak.result import read_result
from tests.soak.world import write_threshold_model, write_world

SIDE_PX = 700
SIZES = ("--chunk-size", 64, "--tile-size", 96, "--halo", 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A raster and a model, and what a quiet run makes of them."""

    words: tuple[object, ...]
    """The command line, without the output; it works in one process."""
    quiet: Path
    """The run folder of the quiet run."""
    result: dict[str, str]
    """What it found."""
    quiet_s: dict[str, float]
    """Seconds of its stages."""

    @property
    def total_s(self) -> float:
        """Seconds of the quiet run, without its start."""
        return sum(self.quiet_s.values())


def make_world(folder: Path) -> World:
    """Draw the raster, write the model, and run them quietly once."""
    write_threshold_model(folder / "model")
    write_world(folder / "town.tif", SIDE_PX, scene_px=512)
    words = ("segment", folder / "town.tif", "-m", folder / "model", *SIZES)
    quiet_s = run_quietly(words, folder / "quiet", folder / "temporary")
    return World(words=words, quiet=folder / "quiet", result=read_result(folder / "quiet"), quiet_s=quiet_s)
