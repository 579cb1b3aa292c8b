"""A real process that watches, is killed and started again, while rasters arrive, one half-written and one damaged."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from geoseg.io.vector import list_layers, read_layer
from geoseg.scene import SceneOptions, draw_scene
from tests.doubles import write_raster

_PATIENCE_S = 120
_SETTLE_S = 1.5


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small orthophoto, as a file."""
    scene = draw_scene(SceneOptions(height_px=180, width_px=240, seed=3, nodata_corner=False))
    path = tmp_path_factory.mktemp("scene") / "drawn.tif"
    return write_raster(path, scene.pixels, transform=scene.transform).read_bytes()


class Watching:
    """``geoseg watch`` in processes of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.output, self.log = folder, folder.parent / "out", folder.parent / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["watch", str(self.folder), "-o", str(self.output), "--settle", str(_SETTLE_S), "--every", "0.2", "--priority", "name"]
        more = ["--outputs", "classes,landcover,buildings", "--progress", "json", "--threads", "1"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "geoseg", *words, *more], stdout=log, stderr=log)

    def end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(30)

    def states(self) -> dict[str, str]:
        try:
            rows = json.loads((self.output / "watch.json").read_bytes())["sources"]
        except FileNotFoundError:
            return {}
        return {row["source"]: row["state"] for row in rows}

    def wait_for(self, is_so: Callable[[dict[str, str]], bool]) -> None:
        began = time.monotonic()
        while not is_so(self.states()):
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() - began < _PATIENCE_S, (self.states(), self.log.read_text())
            time.sleep(0.02)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Watching]:
    (tmp_path / "in").mkdir()
    started = Watching(tmp_path / "in")
    yield started
    if started.process is not None and started.process.poll() is None:
        started.process.kill()
        started.process.wait(30)


def test_every_good_raster_is_mapped_once_whatever_happens(watching: Watching, drawn: bytes) -> None:
    folder = watching.folder
    for name in ("1.tif", "2.tif"):
        (folder / name).write_bytes(drawn)
    (folder / "damaged.tif").write_bytes(drawn[: len(drawn) // 2])
    watching.start()
    watching.wait_for(lambda states: states.get("1.tif") == "done" and states.get("2.tif") == "running")
    watching.end(signal.SIGKILL)

    (folder / "3.tif").write_bytes(drawn)
    growing = folder / "4.tif"
    growing.write_bytes(drawn[:100])
    watching.start()
    # it never stands still for as long as it takes to be taken for whole, unless the machine does
    written, stood_still_s, last, place = 0, 0.0, time.monotonic(), 100
    while watching.states().get("2.tif") != "done" or written < 8:
        time.sleep(0.2)
        with growing.open("ab") as stream:
            stream.write(drawn[place : place + 50])
        now = time.monotonic()
        written, stood_still_s, last, place = written + 1, max(stood_still_s, now - last), now, place + 50
    with growing.open("ab") as stream:
        stream.write(drawn[place:])
    watching.wait_for(lambda states: [states.get(f"{number}.tif") for number in (1, 2, 3, 4)] == ["done"] * 4)
    watching.wait_for(lambda states: states["damaged.tif"] == "failed")
    # the book is written before it is said
    watching.wait_for(lambda _: len([e for e in watching.events() if e["event"] == "SourceChanged" and e["state"] == "done"]) >= 4)
    assert watching.end(signal.SIGTERM) == 1

    table = read_layer(watching.output / "watch.gpkg", "landcover")
    runs = {name: list_layers(watching.output / name / "features.gpkg")["landcover"] for name in "1234"}
    assert dict(Counter(table["source"])) == runs
    done = Counter(event["source"] for event in watching.events() if event["event"] == "SourceChanged" and event["state"] == "done")
    assert done == {f"{name}.tif": 1 for name in "1234"}
    failed = [event for event in watching.events() if event["event"] == "SourceChanged" and event["state"] == "failed"]
    assert {event["source"] for event in failed} - ({"4.tif"} if stood_still_s >= _SETTLE_S else set()) == {"damaged.tif"}
    assert Counter(event["source"] for event in failed)["damaged.tif"] == 1
