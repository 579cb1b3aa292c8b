"""What a run says of its networks is true of the workers that there were."""

import time
from pathlib import Path

import pytest

from geoseg.inference.metering import Effort
from geoseg.inference.performance import Performance
from geoseg.inference.planning import plan_run
from geoseg.inference.work import ChunkResult
from tests.doubles import configure, draw_blobs, write_package, write_raster


@pytest.mark.parametrize("workers", [0, 5])
@pytest.mark.parametrize("meters", [("a", "a"), ("a", "b")])
def test_the_share_is_that_of_the_workers_that_worked(tmp_path: Path, workers: int, meters: tuple[str, ...]) -> None:
    raster = write_raster(tmp_path / "blobs.tif", draw_blobs(70, 90))
    plan = plan_run(configure(raster, write_package(tmp_path / "package"), tmp_path / "out", workers=workers, memory="99GB"))
    ready, performance = time.time() - 10, Performance()
    for meter in meters:
        effort = Effort(meter=meter, network_s=4.0, tiles=3, ready=ready, first_began=ready + 0.5, first_tile=ready + 1)
        performance.add(ChunkResult(effort=effort, notes=()))
    table = performance.table(plan)
    assert table["tiles_inferred"] == 6
    assert table["first_tile_s"] - table["first_tile_began_s"] == pytest.approx(0.5)
    assert table["network_share"] == pytest.approx(0.8 / len(set(meters)), abs=0.02)
