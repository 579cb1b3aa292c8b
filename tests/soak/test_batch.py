"""Several ``geoseg batch`` on one list at once, one of them killed: the list ends whole, and nothing is done twice."""

import json
import random
import threading
from pathlib import Path

import pytest

from tests.soak.command import Signal, start
from tests.soak.result import Identity
from tests.soak.world import draw_truth, write_small, write_threshold_model

RASTERS = 24
DAMAGED = 3


def write_list(folder: Path) -> Path:
    """Write small rasters that differ, some of them cut off."""
    folder.mkdir()
    truth = draw_truth(384)
    for number in range(RASTERS):
        path = write_small(folder / f"scene{number:02d}.tif", truth[:, number * 8 : number * 8 + 160, :200].copy())
        if number % (RASTERS // DAMAGED) == 5:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    return folder


def finished(output: Path) -> dict[str, Identity]:
    """Return the class maps of finished rasters."""
    found = {}
    for summary in output.glob("*/summary.json"):
        stat = (summary.parent / "classes.tif").stat()
        found[summary.parent.name] = (stat.st_ino, stat.st_mtime_ns)
    return found


@pytest.mark.slow
def test_a_list_ends_whole_whoever_is_killed(tmp_path: Path) -> None:
    output, temporary, chance = tmp_path / "out", tmp_path / "temporary", random.Random(1)
    write_threshold_model(tmp_path / "model")
    words = ("batch", write_list(tmp_path / "images"), "-o", output, "-m", tmp_path / "model", "--outputs", "classes,landcover")
    words += ("--tile-size", 96, "--retries", 0, "--at-once", 2)
    commands = [start(*words, temporary=temporary / str(number)) for number in range(3)]
    killed = chance.choice(commands)
    known: dict[str, Identity] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            now = finished(output)
            again = [name for name in known if now.get(name) != known[name]]
            assert again == []
            known.update(now)
            if len(known) >= 5 and killed.process.poll() is None:
                killed.kill(Signal.SIGKILL, everyone=True)

    watching = threading.Thread(target=watch)
    watching.start()
    codes = [command.wait(200) for command in commands]
    ended.set()
    watching.join()
    assert codes == [-9 if command is killed else 3 for command in commands], [command.said[-3:] for command in commands]
    # what the killed one held goes with the next command
    last = start(*words, temporary=temporary / "last")
    assert last.wait(200) == 3, last.said
    whole = finished(output)
    assert len(whole) == RASTERS - DAMAGED
    assert {name: whole[name] for name in known} == known
    lines = [json.loads(line) for line in (output / "ledger.jsonl").read_text().splitlines()]
    done = [line["name"] for line in lines if line["state"] == "done"]
    # who is killed between a raster and its line leaves that to the next one; a line may come twice only where two saw a raster end
    assert set(done) == set(whole)
    assert len(done) <= len(whole) + 3
    bad = {line["name"] for line in lines if line["state"] == "failed"}
    assert bad == {f"scene{number:02d}" for number in range(RASTERS) if number % (RASTERS // DAMAGED) == 5}
    assert not list(output.rglob(".work"))
