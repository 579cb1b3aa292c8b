"""Rasters over a network that fails now and then: asked again, opened again, and said to be unreadable only when they are."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rasterio.windows import Window

from geoseg.errors import RasterError, RunError
from geoseg.io.raster import open_raster
from geoseg.model.predictor import NeighborhoodPredictor, double_spec
from geoseg.pipeline import segment_raster
from tests.doubles import always, configure, draw_blobs, read_band, write_package, write_raster

SERVER = r"""
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

folder = Path(sys.argv[1])
content = (folder / "served.tif").read_bytes()
count = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def do_HEAD(self):
        self.answer(b"")

    def do_GET(self):
        self.answer(content)

    def answer(self, body):
        global count
        count += 1
        every, status = map(int, (folder / "fails").read_text().split())
        if every and count % every == 0:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start, end = 0, len(content) - 1
        if given := self.headers.get("Range"):
            first, _, last = given.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last), end) if last else end
        self.send_response(206 if given else 200)
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - start + 1))
        self.end_headers()
        self.wfile.write(body[start : end + 1])


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@dataclass(frozen=True)
class Flaky:
    """A server in a process of its own, as opening a file keeps all threads of this one waiting."""

    folder: Path
    port: int

    def fail(self, every: int, status: int = 503) -> None:
        (self.folder / "fails").write_text(f"{every} {status}")

    def address(self, name: str) -> str:
        return f"/vsicurl/http://127.0.0.1:{self.port}/{name}.tif"


@pytest.fixture
def flaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flaky]:
    monkeypatch.setattr("geoseg.io.sources.dataset._REMOTE", {})
    write_raster(tmp_path / "served.tif", draw_blobs(192, 256), tiled=True, blockxsize=64, blockysize=64)
    (tmp_path / "fails").write_text("0 0")
    with subprocess.Popen([sys.executable, "-c", SERVER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield Flaky(tmp_path, int(server.stdout.readline()))
        server.kill()


def test_a_read_that_failed_succeeds_when_the_server_is_well_again(flaky: Flaky) -> None:
    with open_raster(flaky.address("a")).open() as raster:
        flaky.fail(1, 404)
        with pytest.raises(RunError, match="could not be read at columns 128-192, rows 64-128"):
            raster.read(Window(128, 64, 64, 64))
        flaky.fail(0)
        pixels, valid = raster.read(Window(128, 64, 64, 64))
    assert valid.all()
    assert (pixels == draw_blobs(192, 256)[:, 64:128, 128:192]).all()


def test_a_raster_that_was_not_there_is_found_when_it_is(flaky: Flaky) -> None:
    flaky.fail(1, 404)
    with pytest.raises(RasterError, match="could not be opened"):
        open_raster(flaky.address("b"))
    flaky.fail(0)
    assert open_raster(flaky.address("b")).shape == (192, 256)


@pytest.mark.parametrize("status", [404, 503])
def test_a_run_over_a_network_that_fails_now_and_then_gives_what_it_should(flaky: Flaky, tmp_path: Path, status: int) -> None:
    package, near = write_package(tmp_path / "package"), always(NeighborhoodPredictor(spec=double_spec()))
    plan = {"chunk_size": 64, "outputs": ("classes",)}
    wanted = segment_raster(configure(tmp_path / "served.tif", package, tmp_path / "wanted", **plan), load=near)
    config = configure(tmp_path / "served.tif", package, tmp_path / "out", **plan).model_copy(update={"raster": flaky.address("c")})
    open_raster(config.raster)
    flaky.fail(11, status)
    run = segment_raster(config, load=near)
    assert np.array_equal(read_band(run / "classes.tif"), read_band(wanted / "classes.tif"))
