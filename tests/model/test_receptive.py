"""The receptive field that is measured is the one that a perturbation finds; global context is found where it is."""

import numpy as np
import pytest
import torch
from torch import nn

from geoseg.errors import ModelError
from geoseg.model.network import build_network
from geoseg.model.predictor import double_spec
from geoseg.model.receptive import measure_receptive_field, sees_whole_tile
from geoseg.model.spec import ModelSpec, NetworkSpec
from tests.doubles import network_spec


def spec_of(stride_px: int = 1, bands: int = 3, **network: object) -> ModelSpec:
    chosen = NetworkSpec.model_validate({"architecture": "none", "stride_px": stride_px, **network})
    return double_spec(bands, stride_px=stride_px, tile_size_px=64 * stride_px).model_copy(update={"network": chosen})


def brute_force_radius(module: nn.Module, stride: int) -> int:
    """Farthest row or column of a pixel whose value a real change of one input pixel changes.

    Positive weights and inputs keep every unit alive, so that nothing hides in a ReLU.
    """
    module = module.double().eval()
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.copy_(layer.weight.abs() / layer.weight.abs().sum(dim=(1, 2, 3), keepdim=True))
        # the measured radius is 71: 96 px on each side hold it
        side, middle, farthest = 192, 96, 0
        image = torch.ones(1, 3, side, 32, dtype=torch.float64)
        before = module(image)
        for phase in range(stride):
            changed = image.clone()
            changed[:, :, middle + phase, 16] = 1e9
            rows = (module(changed) != before).any(dim=1)[0].any(dim=1).nonzero() - (middle + phase)
            farthest = max(farthest, int(rows.abs().max()))
    return farthest


def test_the_field_of_a_unet_is_what_a_perturbation_finds() -> None:
    torch.manual_seed(0)
    spec = network_spec()
    network = build_network(spec)
    field = measure_receptive_field(spec, network)
    assert not field.global_context
    assert field.radius_px == brute_force_radius(network, spec.network.stride_px)


@pytest.mark.parametrize(("kernel", "dilation", "radius"), [(1, 1, 0), (3, 1, 1), (5, 1, 2), (3, 7, 7)])
def test_the_field_of_one_convolution_is_known(kernel: int, dilation: int, radius: int) -> None:
    layer = nn.Conv2d(3, 4, kernel, padding="same", dilation=dilation)
    assert measure_receptive_field(spec_of(), layer).radius_px == radius


def test_the_network_is_not_changed() -> None:
    layer = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)).train()
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    measure_receptive_field(spec_of(), layer)
    assert layer.training
    for name, value in layer.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("architecture", "encoder", "stride", "whole"),
    [
        ("pspnet", "resnet18", 8, True),
        ("unet", "efficientnet-b0", 32, True),
        ("fpn", "resnet18", 32, True),
        ("linknet", "resnet18", 32, False),
    ],
)
def test_global_context_is_found_where_it_is(architecture: str, encoder: str, stride: int, whole: bool) -> None:
    spec = spec_of(stride, architecture=architecture, encoder=encoder)
    assert sees_whole_tile(spec, build_network(spec)) is whole


def test_an_unpooling_network_depends_on_where_its_maxima_are() -> None:
    """SegNet of width 2: moving a maximum inside its 2 x 2 cell, no farther, changes the output."""
    spec = spec_of(32, library="geoseg", architecture="segnet", options={"width": 2})
    field = measure_receptive_field(spec, build_network(spec))
    assert field.radius_px is not None
    # 13 convolutions of 3 x 3 and their mirror: (2+2*2+3*4+3*8+3*16) twice, and what lies in a cell of 32 px
    assert 2 * 90 <= field.radius_px <= 2 * 90 + 1 + 32


def test_a_network_for_one_size_only_is_refused_with_what_to_do() -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError(f"only 224 px, not {x.shape[2]}")

    with pytest.raises(ModelError, match="dynamic_img_size"):
        measure_receptive_field(spec_of(), Fixed())


def test_tiles_with_a_halo_of_the_radius_equal_the_whole_image() -> None:
    torch.manual_seed(0)
    spec = spec_of(32, library="geoseg", architecture="fcn8s", options={"width": 2, "head_width": 4})
    network = build_network(spec).double().eval()
    radius = measure_receptive_field(spec, network).radius_px
    assert radius is not None
    halo = -(-radius // 32) * 32
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 32 * 21, 64)))
    with torch.inference_mode():
        whole = network(image)
        core = 64
        tile = network(image[:, :, core : core + 2 * halo + 32])
    torch.testing.assert_close(tile[:, :, halo : halo + 32], whole[:, :, core + halo : core + halo + 32])
