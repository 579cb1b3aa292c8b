"""Networks that see their input enlarged."""

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.functional import interpolate

from geoseg.errors import ModelError
from geoseg.model.execution import Backend, Execution
from geoseg.model.export import add_graph, export_onnx, export_torch
from geoseg.model.graph import IMAGE, KEEP
from geoseg.model.load import load_predictor
from geoseg.model.magnify import magnify
from geoseg.model.network import build_network, save_weights
from geoseg.model.package import WEIGHTS_NAME, ModelPackage, find_package, write_card
from geoseg.model.receptive import measure_receptive_field
from geoseg.model.spec import ModelSpec, NetworkSpec
from tests.model.networks import drawn, small_spec, write_small


def spec_of(magnification: float, stride_px: int = 64) -> ModelSpec:
    spec = small_spec(width=4, head_width=8)
    network = spec.network.model_copy(update={"magnification": magnification, "stride_px": stride_px})
    return ModelSpec.model_validate({**spec.model_dump(), "network": network.model_dump(), "tile_size_px": 2 * stride_px})


@pytest.fixture(scope="module")
def magnified(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return write_small(tmp_path_factory.mktemp("magnified") / "package", spec_of(1.5))


@pytest.mark.parametrize("factor", [1.25, 1.5, 3.75])
def test_the_network_sees_more_pixels_and_gives_as_many_as_it_got(factor: float) -> None:
    seen = []
    module = nn.Conv2d(3, 2, 1)
    module.register_forward_hook(lambda module, given, made: seen.append(given[0]))
    plain = nn.Conv2d(3, 2, 1)
    plain.load_state_dict(module.state_dict())
    magnify(module, factor)
    pixels = torch.rand(1, 3, 12, 20)
    made = module(pixels)
    larger = interpolate(pixels, scale_factor=factor, mode="bilinear")
    assert larger.shape[2:] == (12 * factor, 20 * factor)
    torch.testing.assert_close(seen[0], larger)
    torch.testing.assert_close(made, interpolate(plain(larger), size=(12, 20), mode="bilinear"))


def test_weights_keep_their_names_and_a_factor_of_one_changes_nothing() -> None:
    plain, magnified = build_network(spec_of(1.0)), build_network(spec_of(1.5))
    assert plain.state_dict().keys() == magnified.state_dict().keys()
    assert not plain._forward_hooks
    assert not plain._forward_pre_hooks


def test_tiles_with_a_halo_of_the_radius_equal_the_whole_image() -> None:
    torch.manual_seed(0)
    spec = spec_of(1.5)
    network = build_network(spec).double().eval()
    radius = measure_receptive_field(spec, network).radius_px
    plain = measure_receptive_field(spec_of(1.0), build_network(spec_of(1.0))).radius_px
    assert radius is not None
    assert plain is not None
    assert radius < 0.75 * plain
    halo = -(-radius // 64) * 64
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 64 + 2 * halo + 128, 64)))
    with torch.inference_mode():
        whole, tile = network(image), network(image[:, :, 64 : 128 + 2 * halo])
    torch.testing.assert_close(tile[:, :, halo : halo + 64], whole[:, :, 64 + halo : 128 + halo])


@pytest.mark.parametrize("backend", ["onnx", "compile"])
def test_backends_agree(backend: Backend, magnified: ModelPackage, tmp_path: Path) -> None:
    pixels, valid = drawn(64, 128)
    expected = load_predictor(magnified, Execution(threads=1)).predict_probabilities(pixels, valid)
    made = load_predictor(magnified, Execution(backend=backend, threads=1, cache=tmp_path)).predict_probabilities(pixels, valid)
    np.testing.assert_allclose(made, expected, atol=1e-4)


def test_all_exports_hold_the_magnification(magnified: ModelPackage, tmp_path: Path) -> None:
    assert export_onnx(magnified, tmp_path / "network.onnx") < 1e-3
    assert export_torch(magnified, tmp_path / "network.pt2") < 1e-3
    package, difference = add_graph(write_small(tmp_path / "package", spec_of(1.25, 128)))
    assert package.graph is not None
    assert difference < 1e-3


def test_the_graph_of_a_magnified_network_is_made_as_fast_as_that_of_any(tmp_path: Path) -> None:
    spec = spec_of(1.5, 16)
    network = NetworkSpec(
        architecture="unet",
        encoder="resnet18",
        stride_px=16,
        magnification=1.5,
        options={"encoder_depth": 3, "decoder_channels": [64, 64, 8]},
    )
    spec = spec.model_copy(update={"network": network})
    torch.manual_seed(6)
    save_weights(build_network(spec), tmp_path / WEIGHTS_NAME)
    write_card(tmp_path, spec)
    package, _ = add_graph(find_package(tmp_path))
    assert package.graph is not None
    graph = onnx.load(package.graph, load_external_data=False).graph
    assert [port.name for port in graph.input] == [IMAGE, KEEP]
    resized = [node for node in graph.node if node.op_type == "Resize"]
    # from and to the larger size, and one in the decoder that no convolution could be computed before
    assert len(resized) == 3
    assert all(len(node.input) == 3 for node in resized), "sizes are computed instead of factors"
    pixels, valid = drawn(64, 96)
    keep = slice(5, 40), slice(30, 96)
    load = partial(load_predictor, package)
    made = load(Execution(backend="onnx", threads=1)).predict(pixels, valid, keep)
    whole = load(Execution(threads=1)).predict(pixels, valid)[:, :, *keep]
    assert (made[:, 0] != whole[:, 0]).mean() < 0.001
    assert np.abs(made[:, 1:].astype(int) - whole[:, 1:]).max() <= 1


def test_a_stride_that_the_factor_breaks_is_refused_with_one_that_fits() -> None:
    network = NetworkSpec(
        architecture="unet", encoder="resnet18", stride_px=32, magnification=1.25, options={"encoder_depth": 4, "decoder_channels": [8] * 4}
    )
    with pytest.raises(ModelError, match=r"stride of 16 px of what it sees 1\.25 times larger\. Set stride_px to a multiple of 64"):
        build_network(spec_of(1.25).model_copy(update={"network": network}))


def test_a_network_that_is_not_magnified_keeps_the_checksum_of_versions_that_knew_of_none() -> None:
    plain, magnified = spec_of(1.0), spec_of(1.5)
    assert "magnification" not in plain.network.model_dump()
    assert magnified.network.model_dump()["magnification"] == 1.5
    assert plain.result_sha256 != magnified.result_sha256
    assert find_package("aerial").spec.result_sha256.startswith("fa54bba0")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"magnification": 1.3}, "multiple of 0.25"),
        ({"magnification": 0.5}, "greater than or equal to 1"),
        ({"magnification": 2, "library": "onnx"}, "that geoseg builds"),
    ],
)
def test_what_cannot_be_magnified_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        NetworkSpec.model_validate({"architecture": "unet", "encoder": "resnet18", "stride_px": 32, **given})
