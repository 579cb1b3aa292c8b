"""Starting geoseg, without QGIS."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from geoseg.qgis_plugin.environment import OLDEST_VERSION
from geoseg.qgis_plugin.runner import NotStartedError, Runner
from tests.doubles import draw_blobs, write_raster

_SPEAKING = """
import json, os, subprocess, sys, time
print(json.dumps({"event": "RunPlanned", "chunks": 2}), flush=True)
print(json.dumps({"event": "ChunkDone", "done": 1, "chunks": 2, "path": sys.argv[1]}, ensure_ascii=False), flush=True)
print("a line that is no event", flush=True)
"""
_CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
_DEAF = f"""
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", {_CHILD!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print('{{"event": "Child", "pid": ' + str(child.pid) + '}}', flush=True)
time.sleep(60)
"""


@pytest.fixture
def fake(tmp_path: Path) -> Any:
    """A runner whose geoseg is a script: ``fake(code)``."""
    if os.name == "nt":
        pytest.skip("the environment of these tests is a shell script")

    def make(code: str, version: str = OLDEST_VERSION, folder: str = "bin") -> Runner:
        package = tmp_path / folder / "site" / "geoseg"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"__version__ = '{version}'\n")
        (package / "__main__.py").write_text(code, encoding="utf-8")
        python = tmp_path / folder / "python"
        python.write_text(f'#!/bin/sh\nPYTHONPATH="{package.parent}" exec "{sys.executable}" "$@"\n', encoding="utf-8")
        python.chmod(0o755)
        return Runner(str(python))

    return make


def test_events_and_lines_come_in_order(fake: Any) -> None:
    heard: list[dict[str, Any]] = []
    result = fake(_SPEAKING).start(["Straße 7/ü.tif"], heard.append).wait()
    assert [event["event"] for event in heard] == ["RunPlanned", "ChunkDone", "Line"]
    assert heard[1]["path"] == "Straße 7/ü.tif"
    assert heard[2]["text"] == "a line that is no event"
    assert (result.exit_code, result.error_text, [e["event"] for e in result.events]) == (0, "", ["RunPlanned"])


def test_an_environment_may_stand_in_any_folder(fake: Any) -> None:
    result = fake("print('Größe')", folder="Büro der Karten/bin").start([], lambda event: None).wait()
    assert result.exit_code == 0


def test_the_error_is_what_the_command_says_last(fake: Any) -> None:
    code = "import sys; print('first a warning', file=sys.stderr); sys.exit('Error: There is no file ü.tif.\\nCheck the path.')"
    result = fake(code).start([], lambda event: None).wait()
    assert (result.exit_code, result.error_text) == (1, "There is no file ü.tif.\nCheck the path.")


def test_a_command_that_the_system_ends_says_by_which_signal(fake: Any) -> None:
    result = fake("import os; os.kill(os.getpid(), 9)").start([], lambda event: None).wait()
    assert result.exit_code == -9
    assert "signal 9" in result.error_text


def test_cancelling_ends_a_deaf_command_and_its_children_within_two_seconds(fake: Any) -> None:
    heard: list[dict[str, Any]] = []
    job = fake(_DEAF).start([], heard.append)
    began = 0.0

    def wants_to_stop() -> bool:
        nonlocal began
        if heard and not began:
            began = time.monotonic()
        return bool(heard)

    result = job.wait(wants_to_stop)
    assert time.monotonic() - began < 3  # two, and what a busy machine takes
    assert (result.cancelled, result.error_text) == (True, "")
    assert not psutil.pid_exists(job.pid)
    child = heard[0]["pid"]
    # in a container nobody may bury it
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_cancelled_run_goes_on(python: str, tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "ü bild.tif", draw_blobs(300, 300))
    command = ["segment", str(raster), "-o", str(tmp_path / "out ü"), "--outputs", "classes", "--chunk-size", "128", "--tile-size", "128"]
    command += ["--progress", "json", "--halo", "32"]
    heard: list[dict[str, Any]] = []
    stopped = Runner(python).start(command, heard.append).wait(lambda: any(event["event"] == "ChunkDone" for event in heard))
    assert stopped.cancelled
    assert not (tmp_path / "out ü" / "classes.tif").exists()
    ended = Runner(python).start(command, heard.append).wait()
    assert (ended.exit_code, ended.error_text) == (0, "")
    assert ended.events[0]["chunks_done"] >= 1
    assert (tmp_path / "out ü" / "classes.tif").exists()


@pytest.mark.parametrize(
    ("version", "said"),
    [("0.1.9", f"needs geoseg {OLDEST_VERSION} or newer; "), (None, "has no geoseg"), ("broken", "does not start")],
)
def test_an_environment_that_cannot_work_says_why(fake: Any, version: str | None, said: str, tmp_path: Path) -> None:
    runner = fake("", version or "0")
    package = tmp_path / "bin" / "site" / "geoseg" / "__init__.py"
    if version is None:
        package.parent.rename(package.parent.with_name("another"))
        # geoseg of these tests is in the Python that the script starts
        Path(runner.python).write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    elif version == "broken":
        package.write_text("import module_that_is_not_there")
    with pytest.raises(NotStartedError, match=said):
        runner.start([], lambda event: None)


def test_a_missing_environment_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(NotStartedError, match=f"There is no Python at {tmp_path}/gone"):
        Runner(str(tmp_path / "gone")).start([], lambda event: None)


def test_variables_of_qgis_do_not_reach_geoseg(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONHOME", "PROJ_LIB", "GDAL_DATA", "QT_PLUGIN_PATH"):
        monkeypatch.setenv(name, "/of/qgis")
    monkeypatch.setenv("KEPT", "yes")
    heard: list[dict[str, Any]] = []
    fake("import json, os; print(json.dumps({'event': 'Variables', **os.environ}))").start([], heard.append).wait()
    assert "/of/qgis" not in heard[0].values()
    assert heard[0]["KEPT"] == "yes"
