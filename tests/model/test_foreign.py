"""Networks from and for elsewhere give the logits that they gave."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import segmentation_models_pytorch as smp
import torch

from geoseg.errors import MissingFileError, ModelError, WriteError
from geoseg.model import export
from geoseg.model.export import export_onnx, export_torch
from geoseg.model.network import build_network, load_weights, save_weights
from geoseg.model.package import WEIGHTS_NAME, ModelPackage, find_package, write_card
from geoseg.model.sheet import read_sheet
from geoseg.model.source import import_model
from geoseg.model.spec import ModelSpec
from tests.doubles import network_spec

SHEET: dict[str, Any] = {
    "bands": ["red", "green", "blue"],
    "mean": [100, 100, 100],
    "std": [50, 50, 50],
    "tile_size_px": 64,
    "classes": [{"value": 0, "name": "land", "color": "#c8b48c"}, {"value": 1, "name": "house", "color": "#dc2828", "kind": "building"}],
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(1)
    return smp.Unet("resnet18", encoder_weights=None, encoder_depth=3, decoder_channels=(16, 16, 8), classes=2).eval()


@pytest.fixture(scope="module")
def saved(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smp")
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    folder = tmp_path_factory.mktemp("package")
    spec = network_spec().model_copy(update={"tile_size_px": 64, "halo": network_spec().halo.model_copy(update={"default_px": 8})})
    torch.manual_seed(1)
    save_weights(build_network(spec), folder / WEIGHTS_NAME)
    return write_card(folder, ModelSpec.model_validate(spec.model_dump()))


def tiles(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(5))


@torch.inference_mode()
def test_an_smp_network_gives_as_a_package_what_it_gave(saved: Path, network: torch.nn.Module, tmp_path: Path) -> None:
    spec = import_model(str(saved), tmp_path / "package", {**SHEET, "name": "houses", "resolution_m": 0.5}).spec
    found = find_package(tmp_path / "package")
    assert (spec.name, spec.network.architecture, spec.network.stride_px, spec.resolution_m) == ("houses", "unet", 8, 0.5)
    assert spec.halo.default_px == 16
    module = build_network(found.spec)
    load_weights(module, found.weights)
    # float16 weights keep three digits
    difference = (module.eval()(tiles(1)) - network(tiles(1))).abs().max()
    assert difference < 5e-3 * network(tiles(1)).abs().max()


@pytest.mark.parametrize("key", ["bands", "mean", "std", "classes", "tile_size_px"])
def test_what_cannot_be_guessed_is_asked_for(saved: Path, tmp_path: Path, key: str) -> None:
    with pytest.raises(ModelError, match=f"does not say {key}.*--sheet"):
        import_model(str(saved), tmp_path / "package", {k: v for k, v in SHEET.items() if k != key})
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"classes": SHEET["classes"][:1]}, "3 bands and 2 channels; the sheet names 3 bands and 1 classes"),
        ({"bands": ["pan"]}, "the sheet names 1 bands"),
        ({"mean": [1.0]}, "there are 3 bands"),
        ({"tile_size_px": 60}, "tile_size_px 60 must be a multiple of the stride 8"),
        ({"colour": 1}, "colour"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_sheet_that_does_not_fit_is_refused_with_its_numbers(saved: Path, tmp_path: Path, change: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        import_model(str(saved), tmp_path / "package", {**SHEET, **change})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"activation": "sigmoid"}, "applies 'sigmoid' itself"),
        ({"_model_class": None}, "names no _model_class"),
        ({"encoder_name": "no"}, "no"),
    ],
    ids=["activation", "class", "encoder"],
)
def test_a_configuration_that_cannot_be_used_is_refused(saved: Path, tmp_path: Path, change: dict[str, Any], named: str) -> None:
    folder = tmp_path / "smp"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes())
    (folder / "config.json").write_text(json.dumps({**json.loads((saved / "config.json").read_text()), **change}))
    with pytest.raises(ModelError, match=named):
        import_model(str(folder), tmp_path / "package", SHEET)


def test_weights_of_another_network_are_refused(saved: Path, tmp_path: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    folder = tmp_path / "smp"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, "decoder_channels": [32, 16, 8]}))
    with pytest.raises(ModelError, match="does not fit config"):
        import_model(str(folder), tmp_path / "package", SHEET)


def test_a_sheet_is_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "sheet.toml"
    path.write_text('name = "a"\ntile_size_px = 64\n')
    assert read_sheet(path) == {"name": "a", "tile_size_px": 64}
    assert read_sheet(None) == {}
    path.write_text("name =")
    with pytest.raises(ModelError, match="not valid TOML"):
        read_sheet(path)
    with pytest.raises(MissingFileError, match="--sheet"):
        read_sheet(tmp_path / "nothing")


@torch.inference_mode()
def logits_of(package: ModelPackage, batch: torch.Tensor) -> np.ndarray:
    module = build_network(package.spec)
    load_weights(module, package.weights)
    return module.eval()(batch).numpy()


def test_onnx_gives_torchs_logits_for_any_batch_and_carries_the_card(package: ModelPackage, tmp_path: Path) -> None:
    assert export_onnx(package, tmp_path / "m.onnx") <= 1e-3
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 3):
        (logits,) = session.run(None, {"image": tiles(count).numpy()})
        np.testing.assert_allclose(logits, logits_of(package, tiles(count)), atol=1e-3)
    (prop,) = onnx.load(tmp_path / "m.onnx").metadata_props
    assert ModelSpec.model_validate_json(prop.value) == package.spec


def test_a_torch_archive_gives_torchs_logits_for_any_batch(package: ModelPackage, tmp_path: Path) -> None:
    assert export_torch(package, tmp_path / "m.pt2") <= 1e-3
    program = torch.export.load(tmp_path / "m.pt2").module()
    for count in (1, 3):
        np.testing.assert_allclose(program(tiles(count)).detach().numpy(), logits_of(package, tiles(count)), atol=1e-3)


def test_an_export_that_differs_is_refused_with_its_number(package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(ModelError, match=r"differs from torch by \d"):
        export_onnx(package, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_export_overwrites_nothing(package: ModelPackage, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"mine")
    with pytest.raises(WriteError, match="there already"):
        export_onnx(package, tmp_path / "m.onnx")


@pytest.mark.parametrize(
    "change", [{"classes": "x"}, {"in_channels": [1]}, {"encoder_depth": None}, {"encoder_depth": 1e999}, {"encoder_depth": 10**9}]
)
def test_numbers_of_a_configuration_that_are_none_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"_model_class": "Unet", "encoder_name": "resnet18", "classes": 2, **change}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=f"says {next(iter(change))} = .*a whole number from 1 to"):
        import_model(str(tmp_path), tmp_path / "package", SHEET)
