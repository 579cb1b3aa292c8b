"""Single widgets of the plugin in the Python of QGIS; ``parts.py`` says what happens there."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoseg.pixels.classes import ClassKind
from tests.doubles import write_raster


@pytest.fixture(scope="module")
def seen(in_qgis: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("parts ü")
    rows = [{"value": n, "name": f"class {n}", "color": "#102030", "kind": str(ClassKind.SURFACE)} for n in range(3)]
    write_raster(folder / "classes.tif", np.array([[[0, 1], [2, 255]]], np.uint8), nodata=255)
    (folder / "summary.json").write_text(json.dumps({"classes": rows}), encoding="utf-8")
    raster = write_raster(folder / "gray.tif", np.ones((1, 8, 8), np.uint8))
    plugins = in_qgis.plugins  # type: ignore[attr-defined]
    done = in_qgis("python", Path(__file__).with_name("parts.py"), plugins, raster, folder)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["failures"] == []
    return found


def test_a_slider_of_a_layer_that_is_drawn_otherwise_does_nothing_and_fading_keeps_the_alpha_band(seen: dict[str, Any]) -> None:
    assert seen["legend"] == {"alpha_band": 1, "sliders": 0}


def test_a_run_folder_is_where_the_user_means_it_and_not_beside_the_python_of_geoseg(seen: dict[str, Any]) -> None:
    assert seen["run_folder"] == [f"{seen['home']}/out", f"{seen['here']}/out"]


def test_the_list_of_runs_keeps_its_selection(seen: dict[str, Any]) -> None:
    assert seen["selection"] == "/a"


def test_nothing_begins_after_the_dock_was_unloaded(seen: dict[str, Any]) -> None:
    assert seen["unloading"] == {"begun": [], "is_running": False}


def test_a_creation_can_be_cancelled_after_ok_and_ends_with_qgis(seen: dict[str, Any]) -> None:
    assert seen["closed_settings"] == {"buttons": ["Cancel", "Create"], "is_running": False}
