"""QGIS reads the styles that a run brings."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from geoseg.io.vector import list_layers
from geoseg.products.formats.styles import LAYER_KINDS
from tests.doubles import configure
from tests.products.formats.conftest import run_double

PYTHON = "/usr/bin/python3"
SCRIPT = Path(__file__).with_name("qgis_reads.py")


def start(*words: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": "/usr/bin:/bin", "QT_QPA_PLATFORM": "offscreen", "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}
    return subprocess.run([PYTHON, *words], capture_output=True, text=True, env=variables, timeout=120, check=False)


@pytest.fixture(scope="module")
def styled(inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_double(configure(*inputs, tmp_path_factory.mktemp("styled") / "out", formats=("styles",)))


@pytest.fixture(scope="module")
def in_qgis(styled: Path) -> dict[str, Any]:
    if not Path(PYTHON).is_file() or start("-c", "import qgis.core").returncode:
        pytest.skip("needs QGIS (Debian package python3-qgis)")
    answer = start(str(SCRIPT), str(styled), "classes", *layers_of(styled))
    found: dict[str, Any] = json.loads(answer.stdout or "{}")
    assert found, answer.stderr
    return found


def layers_of(run: Path) -> list[str]:
    return [name for name in list_layers(run / "features.gpkg") if name in LAYER_KINDS]


def classes_of(run: Path) -> list[list[Any]]:
    listed = json.loads((run / "summary.json").read_text())["classes"]
    return [[row["value"], row["name"], row["color"]] for row in listed if row["color"] is not None]


def test_the_palette_of_a_class_map_comes_with_names_and_colors(styled: Path, in_qgis: dict[str, Any]) -> None:
    # QGIS reads SLD for vectors only; it takes the QML by itself, as it lies beside the raster
    assert in_qgis["classes"]["qml"] == in_qgis["classes"]["own"] == classes_of(styled)


def test_land_cover_is_colored_by_class_from_each_kind_of_style(styled: Path, in_qgis: dict[str, Any]) -> None:
    expected = classes_of(styled)
    assert in_qgis["landcover"]["own"] == in_qgis["landcover"]["qml"] == expected
    rules = in_qgis["landcover"]["sld"]
    assert [rule[1:] for rule in rules] == [row[1:] for row in expected]
    assert [rule[0].replace('"', "").replace("'", "").replace(" ", "") for rule in rules] == [f"class_value={row[0]}" for row in expected]


def test_buildings_have_the_color_of_their_class_in_the_geopackage_in_qml_and_in_sld(styled: Path, in_qgis: dict[str, Any]) -> None:
    color = {name: color for _, name, color in classes_of(styled)}["building"]
    assert {kind: rows[0][2] for kind, rows in in_qgis["buildings"].items()} == {"own": color, "qml": color, "sld": color}
