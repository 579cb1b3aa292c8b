"""The classic networks: shapes, unpooling, bilinear start; what does not fit is refused."""

import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from geoseg.errors import ModelError
from geoseg.model.classics import CLASSICS, FCN8s, _bilinear, _unpool
from geoseg.model.network import build_network
from geoseg.model.predictor import double_spec
from geoseg.model.spec import ModelSpec, NetworkSpec

SMALL = {"fcn8s": {"width": 2, "head_width": 4}, "segnet": {"width": 2}, "deconvnet": {"width": 2, "head_width": 4}, "pixel": {}}


def spec_of(stride_px: int = 32, **network: object) -> ModelSpec:
    chosen = NetworkSpec.model_validate({"library": "geoseg", "architecture": "segnet", "stride_px": stride_px, **network})
    return double_spec(4, stride_px=stride_px, tile_size_px=4 * stride_px).model_copy(update={"network": chosen})


@pytest.mark.parametrize("name", CLASSICS)
def test_each_gives_logits_of_the_images_size_and_learns(name: str) -> None:
    spec = spec_of(architecture=name, options=SMALL[name])
    network = build_network(spec)
    logits = network(torch.randn(2, 4, 64, 96))
    assert logits.shape == (2, spec.channels, 64, 96)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_width_scales_every_stage() -> None:
    one, other = (sum(p.numel() for p in CLASSICS["segnet"](3, 5, width=w).parameters()) for w in (8, 16))
    assert 3.8 < other / one < 4.1


def test_unpooling_equals_torchs_own() -> None:
    x = torch.randn(2, 3, 8, 12)
    pooled, indices = functional.max_pool2d_with_indices(x, 2)
    torch.testing.assert_close(_unpool(pooled, indices), functional.max_unpool2d(pooled, indices, 2), rtol=0, atol=0)


@pytest.mark.parametrize("factor", [2, 8])
def test_transposed_convolutions_start_as_bilinear_interpolation(factor: int) -> None:
    x = torch.randn(1, 2, 6, 6)
    expected = functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    inner = (..., slice(factor, -factor), slice(factor, -factor))
    torch.testing.assert_close(_bilinear(2, factor)(x)[inner], expected[inner])


def test_fcn8s_adds_three_scales() -> None:
    network = FCN8s(3, 2, width=2, head_width=4).eval()
    image = torch.randn(1, 3, 64, 64)
    before = network(image)
    for score in network.scores:
        with torch.no_grad():
            kept = score.bias.clone()
            score.bias += 1.0
            assert (network(image) - before).abs().max() > 0.5
            score.bias.copy_(kept)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architecture": "alexnet"}, "'alexnet' is none of fcn8s, segnet, deconvnet"),
        ({"options": {"breadth": 3}}, "breadth"),
        ({"stride_px": 16, "options": {"width": 2}}, "stride_px = 16"),
    ],
)
def test_what_cannot_be_built_is_refused_with_what_came(change: dict[str, object], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        build_network(spec_of(**change))


def test_a_stride_that_is_not_the_encoders_is_refused_with_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"stride_px = 16.*stride of 32 px\. Set stride_px to a multiple of 32"):
        build_network(spec_of(16, library="segmentation_models_pytorch", architecture="unet", encoder="resnet18"))


def test_an_option_that_changes_the_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(ModelError, match=r"\(1, 4, 16, 48\).*\(1, 4, 32, 96\) was expected"):
        build_network(spec_of(32, library="segmentation_models_pytorch", architecture="fpn", encoder="resnet18", options={"upsampling": 2}))


def test_a_baseline_is_no_network() -> None:
    with pytest.raises(ModelError, match=r"random_forest.*geoseg\.model\.load"):
        build_network(spec_of(library="sklearn", architecture="random_forest"))


def test_the_pixel_network_sees_no_neighbors() -> None:
    network = build_network(spec_of(stride_px=1, architecture="pixel"))
    pixels = torch.randn(1, 4, 5, 7)
    alone = network(pixels[:, :, 2:3, 3:4])
    torch.testing.assert_close(network(pixels)[:, :, 2:3, 3:4], alone)
    assert sum(p.numel() for p in network.parameters()) == 5 * 4


def test_own_networks_are_built_without_loading_other_libraries_of_networks() -> None:
    code = (
        "import sys; from geoseg.model.network import build_network; from geoseg.model.predictor import double_spec;"
        "from geoseg.model.spec import NetworkSpec; spec = double_spec();"
        "build_network(spec.model_copy(update={'network': NetworkSpec(library='geoseg', architecture='pixel', stride_px=16)}));"
        "assert 'torch' in sys.modules; assert not {'segmentation_models_pytorch', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
