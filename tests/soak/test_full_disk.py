"""A disk that fills up at any stage: a clear error, nothing half-written under a final name, and the same bytes once there is room."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from geoseg.config import RunConfig
from geoseg.errors import RunError
from geoseg.events import ChunkDone, Event, StageDone
from geoseg.model.predictor import ThresholdPredictor, double_spec
from geoseg.pipeline import segment_raster
from tests.doubles import always, bytes_of, configure, draw_blobs, write_package, write_raster
from tests.soak.result import half_written

MODEL = always(ThresholdPredictor(spec=double_spec()))
SIDE_PX = 400
CHUNKS = 16
ROOM_BYTES = 8 * 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM_BYTES}", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    folder = tmp_path_factory.mktemp("quiet")
    raster = write_raster(folder / "blobs.tif", draw_blobs(SIDE_PX, SIDE_PX, corner=60), nodata=0)
    return configure(raster, write_package(folder / "package"), folder / "out", chunk_size=100)


@pytest.fixture(scope="module")
def quiet(config: RunConfig) -> Path:
    return segment_raster(config, load=MODEL)


def fill(disk: Path, left_bytes: int) -> None:
    """Let another program take all but some of the room."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    # others may write meanwhile, and take it first
    with suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
        while free > left_bytes:
            free -= ballast.write(bytes(min(4096, free - left_bytes)))


def at_chunk(number: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, ChunkDone) and event.done == number


def at_stage(name: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, StageDone) and event.stage == name


@pytest.mark.parametrize(
    ("is_moment", "left_bytes", "named"),
    [
        (at_chunk(3), 0, r"r0000\d_c0000\d.tif"),
        (at_chunk(CHUNKS), 0, r"\.vrt"),
        (at_chunk(CHUNKS), 60_000, r"confidence.tif"),
        (at_stage("rasters"), 0, "labels.scratch.tif|seeds.scratch.tif|features.gpkg"),
        (at_stage("rasters"), 120_000, "features.gpkg|scratch.tif"),
        (at_stage("rasters"), 300_000, "features.gpkg|instances"),
        (at_stage("buildings"), 0, "summary.json"),
    ],
    ids=["chunks", "mosaic", "confidence", "labels", "features", "instances", "summary"],
)
def test_a_run_goes_on_when_there_is_room_again(
    config: RunConfig, quiet: Path, small_disk: Path, is_moment: Callable[[Event], bool], left_bytes: int, named: str
) -> None:
    here = config.model_copy(update={"output": small_disk / "out"})

    def listen(event: Event) -> None:
        if is_moment(event):
            fill(small_disk, left_bytes)

    with pytest.raises(RunError, match=r"(?s)(full|free space).*same command") as failed:
        segment_raster(here, listen, load=MODEL)
    assert re.search(named, str(failed.value)), failed.value
    assert not (here.output / "summary.json").exists()
    assert half_written(here.output) == []
    (small_disk / "ballast").unlink()
    assert bytes_of(segment_raster(here, load=MODEL)) == bytes_of(quiet)
    assert not (here.output / ".work").exists()
