"""Networks: tiles against the whole image, decoding on the device, weights on disk."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from geoseg.errors import ModelError
from geoseg.inference.whole import infer_raster
from geoseg.model.device import pick_device
from geoseg.model.eager import TorchPredictor
from geoseg.model.execution import Execution
from geoseg.model.gpu import decode_on_device
from geoseg.model.load import load_predictor
from geoseg.model.network import build_network, load_weights, save_weights
from geoseg.model.package import WEIGHTS_NAME, find_package
from geoseg.model.spec import ModelSpec
from geoseg.pixels.decode import decode, decode_probabilities
from geoseg.tiling import TilingOptions, plan_tiles
from tests.doubles import ArraySource, draw_blobs, network_spec, write_network, write_package

SPEC = network_spec()


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(1)
    return build_network(SPEC)


@pytest.fixture(scope="module")
def predictor(network: torch.nn.Module) -> TorchPredictor:
    return TorchPredictor(SPEC, network)


@pytest.fixture(scope="module")
def image() -> ArraySource:
    pixels = draw_blobs(300, 400, corner=90)
    return ArraySource(pixels, pixels.any(axis=0))


@pytest.fixture(scope="module")
def whole(predictor: TorchPredictor, image: ArraySource) -> np.ndarray:
    return infer_raster(predictor, image, plan_tiles((300, 400), TilingOptions(tile_size_px=400, halo_px=0, stride_px=8)))


@pytest.mark.parametrize("halo", [96, 100])
def test_tiles_equal_the_whole_image_where_the_halo_covers_the_receptive_field(
    predictor: TorchPredictor, image: ArraySource, whole: np.ndarray, halo: int
) -> None:
    tiles = plan_tiles((300, 400), TilingOptions(tile_size_px=256, halo_px=halo, stride_px=8, chunk_size_px=100))
    assert tiles.halo_px == halo
    assert tiles.tile_count > 4
    tiled = infer_raster(predictor, image, tiles)
    assert len(np.unique(whole[0])) == 3
    assert (tiled[0] != whole[0]).mean() <= 1e-5
    assert np.abs(tiled.astype(int) - whole)[1:, tiled[0] == whole[0]].max() <= 1


def test_tiles_differ_where_the_halo_is_too_small(predictor: TorchPredictor, image: ArraySource, whole: np.ndarray) -> None:
    tiles = plan_tiles((300, 400), TilingOptions(tile_size_px=64, halo_px=8, stride_px=8))
    assert (infer_raster(predictor, image, tiles)[0] != whole[0]).mean() > 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_the_device_decodes_as_numpy_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 10.0 ** rng.integers(-1, 3), (2, SPEC.channels, 64, 64)).astype(np.float32)
    valid = rng.random((2, 64, 64)) < 0.8
    values = torch.tensor(SPEC.layers.values, dtype=torch.uint8)
    made = decode_on_device(torch.from_numpy(logits), torch.from_numpy(valid), SPEC.layers, values).numpy()
    expected = decode(logits, valid, SPEC.layers)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made[:, 0], expected[:, 0])
    np.testing.assert_array_equal(made.transpose(0, 2, 3, 1)[~valid], expected.transpose(0, 2, 3, 1)[~valid])
    # the last bit of exp may round a probability to the next step
    assert np.abs(made.astype(int) - expected).max() <= 1
    assert (made != expected).mean() < 1e-3


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "float32"])
def test_wider_data_types_give_what_bytes_give(predictor: TorchPredictor, dtype: str) -> None:
    pixels, valid = draw_blobs(64, 64)[None], np.ones((1, 64, 64), bool)
    np.testing.assert_array_equal(predictor.predict(pixels.astype(dtype), valid), predictor.predict(pixels, valid))


def test_uint16_above_32767_stays_bright(predictor: TorchPredictor) -> None:
    valid = np.ones((1, 64, 64), bool)
    bright = np.full((1, 3, 64, 64), 60_000, np.uint16)
    np.testing.assert_array_equal(predictor.predict(bright, valid), predictor.predict(bright.astype(np.float32), valid))


def test_values_without_data_change_nothing(predictor: TorchPredictor) -> None:
    pixels, valid = draw_blobs(64, 64)[None].astype(np.float32), np.ones((1, 64, 64), bool)
    valid[:, 20:30, 20:30] = False
    damaged = np.where(valid[:, None], pixels, np.nan)
    np.testing.assert_array_equal(predictor.predict(damaged, valid), predictor.predict(pixels, valid))


def test_a_full_batch_gives_what_single_tiles_give(predictor: TorchPredictor) -> None:
    pixels = np.stack([draw_blobs(64, 64, seed=seed) for seed in range(4)])
    valid = np.ones((4, 64, 64), bool)
    single = np.concatenate([predictor.predict(pixels[i : i + 1], valid[i : i + 1]) for i in range(4)])
    assert (predictor.predict(pixels, valid)[:, 0] != single[:, 0]).mean() <= 1e-5


def test_weights_come_back_from_disk_as_half_precision(network: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(network, path)
    again = build_network(SPEC)
    load_weights(again, path)
    expected, state = network.state_dict(), again.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[k], v.half().float() if v.is_floating_point() else v) for k, v in expected.items())
    with safe_open(path, framework="pt") as stored:
        assert {str(stored.get_tensor(k).dtype) for k in stored.keys()} == {"torch.float16", "torch.int64"}  # noqa: SIM118


def test_stages_that_the_depth_leaves_unused_are_not_stored(network: torch.nn.Module) -> None:
    names = set(network.state_dict())
    assert any(name.startswith("encoder.layer2") for name in names)
    assert not [name for name in names if name.startswith(("encoder.layer3", "encoder.layer4"))]


def test_weights_of_another_network_are_refused(network: torch.nn.Module, tmp_path: Path) -> None:
    save_weights(network, tmp_path / WEIGHTS_NAME)
    more_bands = SPEC.model_copy(update={"bands": ("a", "b", "c", "d"), "mean": (0.0,) * 4, "std": (1.0,) * 4})
    with pytest.raises(ModelError, match=r"(?s)do not fit the network that model\.json describes.*conv1\.weight"):
        load_weights(build_network(more_bands), tmp_path / WEIGHTS_NAME)


def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path) -> None:
    package = find_package(write_package(tmp_path / "package", SPEC))
    with pytest.raises(ModelError, match="do not fit"):
        load_predictor(package, Execution())


@pytest.mark.parametrize("change", [{"architecture": "unheard"}, {"encoder": "unheard"}], ids=["architecture", "encoder"])
def test_a_network_that_cannot_be_built_is_refused(change: dict[str, object]) -> None:
    spec: ModelSpec = SPEC.model_copy(update={"network": SPEC.network.model_copy(update=change)})
    with pytest.raises(ModelError, match=r"'small' asks for .* which cannot be built: .*unheard"):
        build_network(spec)


def test_a_package_runs_as_the_network_that_it_was_made_from(tmp_path: Path) -> None:
    loaded = load_predictor(find_package(write_network(tmp_path / "package")), Execution(threads=1))
    pixels, valid = draw_blobs(64, 64)[None], np.ones((1, 64, 64), bool)
    assert (loaded.predict(pixels, valid)[:, 0] < 2).all()
    assert loaded.spec.model_copy(update={"created": None}) == SPEC


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_refused() -> None:
    assert pick_device("auto") == "cpu"
    with pytest.raises(ModelError, match="finds no CUDA device"):
        pick_device("cuda")


@torch.inference_mode()
def test_probabilities_to_blend_are_those_of_the_layers(predictor: TorchPredictor, network: torch.nn.Module) -> None:
    pixels, valid = draw_blobs(64, 64)[None].repeat(2, axis=0), np.ones((2, 64, 64), bool)
    made = predictor.predict_probabilities(pixels, valid)
    assert made.shape == (2, SPEC.channels, 64, 64)
    assert made.dtype == np.float32
    logits = network((torch.from_numpy(pixels).float() - 128) / 64)
    np.testing.assert_allclose(made[:, :2], logits[:, :2].softmax(dim=1), atol=1e-5)
    np.testing.assert_allclose(made[:, 2:], logits[:, 2:].sigmoid(), atol=1e-5)
    layers, decoded = predictor.predict(pixels, valid).astype(int), decode_probabilities(made, valid, SPEC.layers)
    assert np.abs(layers - decoded)[:, 1:].max() <= 1
    np.testing.assert_array_equal(layers[:, 0][layers[:, 1] > 50], decoded[:, 0][layers[:, 1] > 50])
