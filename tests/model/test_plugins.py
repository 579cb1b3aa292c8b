"""A package of somebody else, installed by pip, adds a model loader and a decoder; both work in a normal run."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoseg.errors import ConfigError
from geoseg.model.package import WEIGHTS_NAME, find_package, write_card
from geoseg.model.predictor import double_spec
from geoseg.model.source import import_model
from geoseg.model.spec import ModelSpec, NetworkSpec
from geoseg.pipeline import segment_raster
from geoseg.plugins import DECODERS, MODELS, plugin_names
from tests.doubles import configure, draw_blobs, read_band, write_raster
from tests.model.test_detector import SHEET, draw_town, expected_labels, write_yolo

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "geoseg-example"
version = "1.0"
[project.entry-points."geoseg.models"]
brightness = "geoseg_example:load"
[project.entry-points."geoseg.decoders"]
same-colors = "geoseg_example:decode"
[tool.setuptools]
py-modules = ["geoseg_example"]
"""
CODE = '''
"""A model that tells bright from dark by a threshold in its weights file, and a decoder for the drawn detector of the tests."""
import json
import numpy as np
from geoseg.model.detector import decode_yolo
from geoseg.model.predictor import ThresholdPredictor

def load(package, execution):
    return ThresholdPredictor(spec=package.spec, threshold=json.loads(package.weights.read_text())["threshold"])

def decode(outputs, size, spec, ports):
    return decode_yolo(outputs, size, spec, ports)
'''


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project, site = tmp_path_factory.mktemp("example"), tmp_path_factory.mktemp("site")
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "geoseg_example.py").write_text(CODE)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-t",
        str(site),
        str(project),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    return site


@pytest.fixture
def plugins(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed)


def spec_of(library: str) -> ModelSpec:
    spec = double_spec()
    return spec.model_copy(update={"network": NetworkSpec(library=library, architecture="threshold", stride_px=16)})


def write_plugged(folder: Path, library: str) -> Path:
    folder.mkdir()
    (folder / WEIGHTS_NAME).write_text('{"threshold": 128.0}')
    write_card(folder, spec_of(library))
    return folder


@pytest.mark.usefixtures("plugins")
def test_an_installed_loader_runs_its_packages(tmp_path: Path) -> None:
    assert "brightness" in plugin_names(MODELS)
    pixels = draw_blobs(90, 100)
    raster = write_raster(tmp_path / "image.tif", pixels)
    model = write_plugged(tmp_path / "model", "brightness")
    segment_raster(configure(raster, model, tmp_path / "run", outputs=("classes",)))
    expected = pixels.mean(axis=0) >= 128
    assert (read_band(tmp_path / "run/classes.tif") == expected).mean() > 0.99
    assert find_package(model).spec.network.backend == "torch"


@pytest.mark.usefixtures("plugins")
def test_an_installed_decoder_reads_detectors(tmp_path: Path) -> None:
    assert "same-colors" in plugin_names(DECODERS)
    sheet: dict[str, Any] = {**SHEET, "ports": {"decoder": "same-colors"}}
    package = import_model(str(write_yolo(tmp_path / "m.onnx")), tmp_path / "package", sheet)
    raster = write_raster(tmp_path / "town.tif", draw_town())
    segment_raster(configure(raster, package.folder, tmp_path / "run", outputs=("classes",)))
    np.testing.assert_array_equal(read_band(tmp_path / "run/classes.tif"), expected_labels(draw_town(), (0, 1)) > 0)


def test_a_package_whose_plugin_is_not_installed_is_refused_before_work(tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "image.tif", draw_blobs(64, 64))
    model = write_plugged(tmp_path / "model", "not-installed")
    with pytest.raises(ConfigError, match=r"needs the library 'not-installed'; there are .*onnx.*Install the package"):
        segment_raster(configure(raster, model, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
