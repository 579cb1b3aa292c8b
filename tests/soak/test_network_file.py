"""Imagery behind an address: slow, failing now and then, gone in the middle."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.env import get_gdal_config, set_gdal_config

from geoseg.config import RunConfig
from geoseg.errors import RunError
from geoseg.events import ChunkDone, Event, RunPlanned
from geoseg.io.sources.dataset import bounded_cache
from geoseg.model.predictor import ThresholdPredictor, double_spec
from geoseg.pipeline import segment_raster
from tests.doubles import Listening, always, bytes_of, configure, draw_blobs, write_package, write_raster
from tests.soak.dripping import Manners, Server, serve

MODEL = always(ThresholdPredictor(spec=double_spec()))
SIDE_PX = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("served")
    (made / "files").mkdir()
    write_raster(made / "files" / "blobs.tif", draw_blobs(SIDE_PX, SIDE_PX), nodata=0, tiled=True, blockxsize=64, blockysize=64)
    write_package(made / "package")
    return made


@pytest.fixture(scope="module")
def quiet(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    config = configure(folder / "files" / "blobs.tif", folder / "package", tmp_path_factory.mktemp("quiet") / "out", chunk_size=64)
    return bytes_of(segment_raster(config, load=MODEL))


def behind(server: Server, folder: Path, output: Path) -> RunConfig:
    raster = f"/vsicurl/{server.address}/blobs.tif"
    return configure(Path(raster), folder / "package", output, chunk_size=64).model_copy(update={"raster": raster})


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """Wait less before what failed is asked for again."""
    with bounded_cache():
        # which has set GDAL up for all of this process
        before = get_gdal_config("GDAL_HTTP_RETRY_DELAY")
    set_gdal_config("GDAL_HTTP_RETRY_DELAY", 0.02)
    yield
    set_gdal_config("GDAL_HTTP_RETRY_DELAY", before)


def test_a_slow_file_only_takes_its_time(folder: Path, quiet: dict[str, Any], tmp_path: Path) -> None:
    with serve(folder, Manners(pause_s=0.005)) as server:
        assert bytes_of(segment_raster(behind(server, folder, tmp_path / "out"), load=MODEL)) == quiet


def test_a_file_that_fails_now_and_then_is_read_again(folder: Path, quiet: dict[str, Any], tmp_path: Path) -> None:
    with serve(folder, Manners(fails_every=4)) as server:
        before = server.count_failed()
        run = segment_raster(behind(server, folder, tmp_path / "out"), load=MODEL)
        assert server.count_failed() - before > 2
    assert bytes_of(run) == quiet


def test_a_file_that_is_gone_in_the_middle_is_named_and_the_run_goes_on_when_it_is_back(folder: Path, tmp_path: Path) -> None:
    # more than GDAL keeps of files behind addresses
    noise = np.random.default_rng(1).integers(1, 255, (3, 2600, 2600), np.uint8)
    local = write_raster(folder / "files" / "large.tif", noise, tiled=True, blockxsize=512, blockysize=512)
    sizes = {"chunk_size": 512, "tile_size": 512, "outputs": ("classes",)}
    with serve(folder, Manners()) as server:

        def break_off(event: Event) -> None:
            if isinstance(event, ChunkDone) and event.done == 6:
                server.behave(Manners(fails_for_ever=True))

        config = configure(Path("x"), folder / "package", tmp_path / "out", **sizes)
        config = config.model_copy(update={"raster": f"/vsicurl/{server.address}/large.tif"})
        with pytest.raises(RunError, match=r"(?s)large.tif.*same command"):
            segment_raster(config, break_off, load=MODEL)
        assert not (config.output / "summary.json").exists()
        server.behave(Manners())
        heard = Listening()
        segment_raster(config, heard, load=MODEL)
    assert heard.of(RunPlanned)[0].chunks_done >= 6
    quiet = segment_raster(configure(local, folder / "package", tmp_path / "quiet", **sizes), load=MODEL)
    assert (config.output / "classes.tif").read_bytes() == (quiet / "classes.tif").read_bytes()
