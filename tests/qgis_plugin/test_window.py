"""A real QGIS, started once on a display of its own; ``session.py`` says what it does there.

``GEOSEG_PICTURES=docs/pictures`` keeps the pictures for the documentation.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from geoseg import __version__
from geoseg.model.package import find_package, shipped_models
from geoseg.packing.plugin import PLUGIN
from geoseg.packing.profiles import install_plugin
from geoseg.qgis_plugin.environment import check
from geoseg.scene import SceneOptions, draw_scene
from tests.doubles import write_raster
from tests.qgis_plugin.conftest import write_python
from tests.qgis_plugin.wheels import write_wheel

ROOT = Path(__file__).parents[2]
NEEDED = ("qgis", "Xvfb")
LACKING = [name for name in NEEDED if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"needs {' and '.join(LACKING)} (Debian packages qgis and xvfb)")
PICTURES = ("qgis-settings", "qgis-preview", "qgis-run", "qgis-panel", "qgis-segment")
LIMIT_S = 280
HEIGHT_PX, WIDTH_PX = 560, 720
WARNING_AND_ERROR = (1, 2)
CLASSES = [[c.value, c.name, c.color] for c in find_package("aerial").spec.classes]
COLORS = {name: color for _, name, color in CLASSES}


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    """A display without a screen."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x800x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    with os.fdopen(reading) as answer:
        number = answer.readline().strip()
    yield f":{number}"
    server.terminate()
    server.wait()


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory, display: str) -> dict[str, Any]:
    """What QGIS saw while it was driven."""
    folder = tmp_path_factory.mktemp("qgis")
    scene = draw_scene(SceneOptions(height_px=HEIGHT_PX, width_px=WIDTH_PX))
    raster = write_raster(folder / "orthophoto.tif", scene.pixels, transform=scene.transform, crs=scene.crs, nodata=0)
    pictures = folder / "pictures"
    pictures.mkdir()
    install_plugin(folder / "profiles" / "default", __version__, write_python(folder / "environment", lines="export OMP_NUM_THREADS=1"))
    answer = folder / "answer.json"
    asked = {
        "pictures": pictures,
        "answer": answer,
        "plugin": PLUGIN,
        "raster": raster,
        "gray": write_raster(folder / "gray.tif", scene.pixels[:1], transform=scene.transform, crs=scene.crs),
        "wheel": write_wheel(folder),
        "base": getattr(sys, "_base_executable", sys.executable),
        "output": folder / "town",
        "second": folder / "again",
    }
    (folder / "asked.json").write_text(json.dumps({key: str(value) for key, value in asked.items()}))
    # QGIS takes the prefix of the first python3 in the path for its own
    given = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "DISPLAY": display, "XDG_RUNTIME_DIR": str(folder), "LANG": "C.UTF-8"}
    script = Path(__file__).with_name("session.py")
    command = ["qgis", "--nologo", "--noversioncheck", "--nocustomization", "--profiles-path", str(folder), "--code", str(script)]
    window = subprocess.Popen(
        command, env={**given, "GEOSEG_SESSION": str(folder / "asked.json")}, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        window.wait(LIMIT_S)
    finally:
        if window.poll() is None:
            os.killpg(window.pid, signal.SIGKILL)
    seen: dict[str, Any] = json.loads(answer.read_text())
    keep = os.environ.get("GEOSEG_PICTURES")
    if keep and "failed" not in seen:
        keep_pictures(pictures, ROOT / keep)
    return {**seen, "folder": folder, "pictures": pictures}


def keep_pictures(found: Path, target: Path) -> None:
    """Write pictures with a palette: a fifth of the size."""
    target.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        with Image.open(found / f"{name}.png") as picture:
            picture.convert("RGB").quantize(160, dither=Image.Dither.NONE).save(target / f"{name}.png", optimize=True)


def test_every_step_goes_through(session: dict[str, Any]) -> None:
    assert session.get("failed") is None, session["failed"][1]


def test_the_plugin_loads_and_unloads_without_a_warning(session: dict[str, Any]) -> None:
    assert session["after_loading"] == []
    said = {f"geoseg : {text}" for text, _ in session["refusals"].values()}
    assert [entry for entry in session["log"] if entry[2] in WARNING_AND_ERROR and entry[0] not in said] == []
    assert session["provider"] == "geoseg - land cover, buildings, roads"


def test_the_settings_say_version_and_device_and_why(session: dict[str, Any]) -> None:
    assert f"geoseg {__version__} works" in session["settings"]
    assert ("CPU: " in session["settings"]) != ("GPU: " in session["settings"])


def test_one_click_makes_an_environment_without_internet_and_the_page_uses_it(session: dict[str, Any]) -> None:
    python, status, said = session["created"]
    assert session["while_creating"] == "Cancel"
    assert Path(python).is_relative_to(session["folder"] / ".local" / "share" / "geoseg" / "qgis")
    assert "geoseg 9.8.7 works. CPU: no NVIDIA driver answers" in status
    assert "Successfully installed geoseg-9.8.7" in said
    assert said.endswith("The environment is ready.")


def test_a_creation_that_is_cancelled_or_refused_leaves_the_environment(session: dict[str, Any]) -> None:
    assert session["goes_on_after_another_cancel"]
    assert session["cancelled_creation"] == "Cancelled; nothing was changed."
    assert session["refused_creation"].startswith("Say what to install: a wheel")
    assert check(session["created"][0]).version == "9.8.7"


def test_the_dock_offers_the_models_of_the_environment(session: dict[str, Any]) -> None:
    assert session["is_docked"]
    assert session["models"] == [f"{name} {find_package(name).spec.version}" for name in shipped_models()]


def test_a_preview_covers_the_canvas_styled_and_the_window_stays_awake(session: dict[str, Any]) -> None:
    west, south, east, north = session["preview"]["box"]
    left, bottom, width, height = session["canvas"]
    # to a pixel of the canvas's resolution; the orthophoto ends where it ends
    box = 337_200, 3_058_800 - 0.3 * HEIGHT_PX, 337_200 + 0.3 * WIDTH_PX, 3_058_800
    assert np.allclose([west, south], [max(left, box[0]), max(bottom, box[1])], atol=1)
    assert np.allclose([east, north], [min(left + width, box[2]), min(bottom + height, box[3])], atol=1)
    assert session["preview"]["classes"] == CLASSES
    assert session["longest_pause_s"] < session["preview_s"] / 3
    assert session["bar"][0][1].startswith("Preview in ")


def test_a_slider_fades_its_class_and_no_other(session: dict[str, Any]) -> None:
    value = session["faded_value"]
    assert session["faded"] == {str(row[0]): 64 if row[0] == value else 255 for row in CLASSES}


def test_the_layers_of_a_run_appear_in_a_group_with_the_colors_of_its_classes(session: dict[str, Any]) -> None:
    assert session["previews_after_run"] == []
    assert session["folder_after_run"] == str(session["folder"] / "town")
    assert session["groups"] == {"town": ["Buildings", "Roads", "Land cover", "Classes"]}
    layers = {layer["name"]: layer for layer in session["run"]}
    assert layers["Classes"]["classes"] == layers["Land cover"]["classes"] == CLASSES
    assert (layers["Buildings"]["color"], layers["Roads"]["color"]) == (COLORS["building"], COLORS["road"])
    assert (session["folder"] / "town" / "summary.json").is_file()


def test_a_cancelled_run_stops_within_two_seconds_and_is_resumed_from_the_list(session: dict[str, Any]) -> None:
    assert session["cancel_s"] < 2
    assert (session["after_cancel"], session["can_resume"], session["after_resume"]) == ("stopped", True, "finished")


def test_the_dialog_of_the_toolbox_opens(session: dict[str, Any]) -> None:
    assert session["dialog"] == "Segment raster"


def test_what_cannot_be_done_is_said_in_the_bar_in_words(session: dict[str, Any]) -> None:
    said = {name: text for name, (text, _) in session["refusals"].items()}
    gray = session["folder"] / "gray.tif"
    assert f"'aerial' needs 3 bands (red, green, blue); {gray} has 1." in said["too few bands"]
    assert "'tiles' is no file" in said["tiles of a server"]
    assert "shows nothing of this layer" in said["map elsewhere"]


def test_nothing_temporary_is_left_when_the_plugin_goes(session: dict[str, Any]) -> None:
    assert session["left_after_unloading"] == []


def test_pictures_show_something(session: dict[str, Any]) -> None:
    for name in PICTURES:
        with Image.open(session["pictures"] / f"{name}.png") as picture:
            assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 20, name
