"""What is exported for Deepness runs in GeoDeep with the same class map, and comes back as the model that it was."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from geoseg.errors import ModelError
from geoseg.model.execution import Execution
from geoseg.model.export import export_deepness
from geoseg.model.load import load_predictor
from geoseg.model.mlmexport import export_mlm
from geoseg.model.network import build_network, save_weights
from geoseg.model.package import WEIGHTS_NAME, ModelPackage, find_package, hash_file, write_card
from geoseg.model.source import import_model
from geoseg.model.spec import ModelSpec
from geoseg.pipeline import segment_raster
from tests.doubles import TRANSFORM, configure, draw_blobs, network_spec, read_band, write_raster


@torch.inference_mode()
def balance(network: Any) -> torch.nn.Module:
    """Shift the bias of an untrained network, so that both classes are half of what it sees."""
    logits = network.eval()((torch.from_numpy(draw_blobs(128, 128)[None]).float() - 128) / 64)
    network.segmentation_head[0].bias[1] -= (logits[:, 1] - logits[:, 0]).median()
    return network


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    torch.set_num_threads(1)
    torch.manual_seed(4)
    spec = network_spec().model_copy(update={"resolution_m": 0.5, "bands": ("red", "green", "blue")})
    folder = tmp_path_factory.mktemp("package") / "small"
    folder.mkdir()
    save_weights(balance(build_network(spec)), folder / WEIGHTS_NAME)
    return write_card(folder, ModelSpec.model_validate(spec.model_dump()))


@pytest.fixture(scope="module")
def exported(package: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("deepness") / "small.onnx"
    assert export_deepness(package, path) < 1e-3
    return path


def test_the_keys_are_what_deepness_reads(exported: Path) -> None:
    meta = onnxruntime.InferenceSession(exported).get_modelmeta().custom_metadata_map
    keys = {key: json.loads(value) for key, value in meta.items() if key != "geoseg_spec"}
    assert keys == {
        "model_type": "Segmentor",
        "class_names": {"0": "ground", "1": "building"},
        "resolution": 50.0,
        "tiles_size": 256,
        "tiles_overlap": 75.0,
        "seg_thresh": 0.0,
        "seg_small_segment": 0,
    }


def test_geodeep_gives_the_class_map_of_a_run(
    package: ModelPackage, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        geodeep = pytest.importorskip("geodeep.geodeep")
    # always on there, and no part of a model
    monkeypatch.setattr(geodeep, "median_filter", lambda mask, _size: mask)
    raster = write_raster(
        tmp_path / "image.tif", draw_blobs(304, 280), transform=TRANSFORM, photometric="RGB", tiled=True, blockxsize=64, blockysize=64
    )
    segment_raster(configure(raster, package.folder, tmp_path / "run", outputs=("classes",), backend="torch", device="cpu"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = geodeep.run(str(raster), str(exported), output_type="raw")
    ours = read_band(tmp_path / "run/classes.tif")
    assert 0.05 < (ours == 1).mean() < 0.95
    assert (theirs == ours).mean() >= 0.995


def test_an_export_comes_back_as_the_model_that_it_was(package: ModelPackage, exported: Path, tmp_path: Path) -> None:
    back = import_model(str(exported), tmp_path / "back", {})
    assert (back.spec.classes, back.spec.bands, back.spec.name, back.spec.resolution_m) == (
        package.spec.classes,
        package.spec.bands,
        package.spec.name,
        0.5,
    )
    pixels, valid = draw_blobs(256, 256)[None], np.ones((1, 256, 256), bool)
    ours = load_predictor(package, Execution(threads=1)).predict(pixels, valid)
    again = load_predictor(back, Execution(backend="onnx", threads=1)).predict(pixels, valid)
    assert (ours[:, 0] == again[:, 0]).mean() > 0.999
    np.testing.assert_allclose(ours[:, 1].astype(int), again[:, 1], atol=1)


def test_an_item_for_catalogs_names_its_model_and_comes_back(package: ModelPackage, tmp_path: Path) -> None:
    assert export_mlm(package, tmp_path / "out") < 1e-3
    item = json.loads((tmp_path / "out/item.json").read_text())
    assert item["assets"]["model"]["file:checksum"] == f"1220{hash_file(tmp_path / 'out/model.onnx')}"
    assert not [key for key in item["properties"] if key.startswith("geoseg:")]
    back = import_model(str(tmp_path / "out/item.json"), tmp_path / "back", {})
    assert back.spec.classes == package.spec.classes
    assert (back.spec.mean, back.spec.std) == ((0, 0, 0), (255, 255, 255))
    assert find_package(tmp_path / "back") == back


def test_classes_that_an_item_names_otherwise_are_taken_from_the_item(package: ModelPackage, tmp_path: Path) -> None:
    export_mlm(package, tmp_path / "out")
    path = tmp_path / "out/item.json"
    path.write_text(path.read_text().replace('"name": "building"', '"name": "house"'))
    ground, house = import_model(str(path), tmp_path / "back", {}).spec.classes
    assert ground == package.spec.classes[0]
    assert (house.name, house.kind) == ("house", "surface")


def test_what_deepness_cannot_feed_is_refused(package: ModelPackage, tmp_path: Path) -> None:
    spec = package.spec.model_copy(update={"bands": ("pan",), "mean": (1.0,), "std": (1.0,)})
    narrow = ModelPackage(folder=package.folder, spec=spec, sha256=package.sha256)
    with pytest.raises(ModelError, match=r"takes 1 bands .* Deepness and GeoDeep give three of uint8"):
        export_deepness(narrow, tmp_path / "m.onnx")
