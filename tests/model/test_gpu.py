"""What runs on a GPU, on the processor as far as it goes there: transfers, scaling, decoding, 16 bits."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from geoseg.model.device import pick_device
from geoseg.model.execution import Precision
from geoseg.model.gpu import GpuPredictor, as_sent
from geoseg.model.halved import halve
from geoseg.model.memory import batch_memory
from geoseg.model.network import build_network, load_weights
from geoseg.model.package import ModelPackage
from geoseg.model.predictor import Predictor
from tests.model.networks import drawn, write_small
from tests.model.test_backends import EAGER, assert_agree, load_predictor


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return write_small(tmp_path_factory.mktemp("small") / "package")


@pytest.fixture(scope="module")
def eager(small: ModelPackage) -> Predictor:
    return load_predictor(small, EAGER)


def on(device: str, package: ModelPackage, precision: Precision = "float32") -> GpuPredictor:
    module = build_network(package.spec)
    load_weights(module, package.weights)
    return GpuPredictor(package.spec, module, device=device, precision=precision)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "int16", "uint32", "float32", "float64"])
def test_pixels_of_every_type_are_scaled_on_the_device_as_they_are_on_the_processor(
    dtype: str, small: ModelPackage, eager: Predictor
) -> None:
    pixels, valid = drawn(64, 96)
    assert_agree(on("cpu", small).predict(pixels.astype(dtype), valid), eager.predict(pixels, valid))


def test_uint16_travels_in_two_bytes_and_stays_bright(small: ModelPackage, eager: Predictor) -> None:
    pixels, valid = np.full((1, 3, 64, 64), 60_000, np.uint16), np.ones((1, 64, 64), bool)
    assert as_sent(pixels).itemsize == 2
    assert_agree(on("cpu", small).predict(pixels, valid), eager.predict(pixels, valid))


def test_only_what_is_kept_comes_back_and_values_without_data_change_nothing(small: ModelPackage, eager: Predictor) -> None:
    pixels, valid = drawn(64, 96)
    keep = slice(9, 60), slice(3, 90)
    damaged = np.where(valid[:, None], pixels.astype(np.float32), np.nan)
    made = on("cpu", small).predict(damaged, valid, keep)
    assert_agree(made, eager.predict(pixels, valid, keep))


def test_probabilities_to_blend_are_those_of_the_processor(small: ModelPackage, eager: Predictor) -> None:
    pixels, valid = drawn(64, 96)
    made = on("cpu", small).predict_probabilities(pixels, valid)
    np.testing.assert_allclose(made, eager.predict_probabilities(pixels, valid), atol=1e-5)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@torch.inference_mode()
def test_sixteen_bits_round_the_features_but_not_the_scores(precision: Precision, small: ModelPackage) -> None:
    seen: list[torch.dtype] = []
    module = build_network(small.spec)
    pixels = torch.randn(1, 3, 64, 64)
    expected = module.eval()(pixels)
    first, last = ([m for m in module.modules() if isinstance(m, torch.nn.Conv2d)][i] for i in (0, -1))
    for layer in (first, last):
        layer.register_forward_hook(lambda _module, _inputs, made: seen.append(made.dtype))
    logits = halve(module, precision)(pixels)
    assert seen == [getattr(torch, precision), torch.float32]
    assert logits.dtype == torch.float32
    difference = float((logits - expected).abs().max())
    assert 0 < difference < 0.05 * float(expected.abs().max())


def test_float32_is_the_network_as_it_is(small: ModelPackage) -> None:
    module = build_network(small.spec)
    assert halve(module, "float32") is module


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 7.45 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 12 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        ValueError("BFCArena::AllocateRawInternal Available memory of 5 is smaller than requested bytes of 9"),
    ],
)
def test_what_libraries_say_of_full_memory_becomes_one_error(error: Exception) -> None:
    from geoseg.errors import DeviceMemoryError

    with pytest.raises(DeviceMemoryError, match="4 tiles of 512 x 256 px with 3 bands") as raised, batch_memory((4, 3, 512, 256)):
        raise error
    assert raised.value.__cause__ is error
    assert isinstance(raised.value, MemoryError)


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError), batch_memory((1, 3, 8, 8)):
        raise ZeroDivisionError


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_threads_that_share_a_gpu_get_each_its_own_result(precision: Precision, small: ModelPackage) -> None:
    if pick_device("auto") != "cuda":
        pytest.skip("no CUDA device")
    predictor = on("cuda", small, precision)
    batches = [drawn(64, 96, seed=seed) for seed in range(2, 6)] * 4
    alone = [predictor.predict(*batch) for batch in batches]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda batch: predictor.predict(*batch), batches))
    for made, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(made, expected)


def test_a_folder_of_weights_that_are_none_is_refused(tmp_path: Path) -> None:
    from geoseg.errors import ModelError
    from geoseg.model.layout import find_tensors, layout_of

    for content in (b"", b"short", b"\xff" * 16, (20).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]"):
        (tmp_path / "weights").write_bytes(content)
        with pytest.raises(ModelError, match="no safetensors file"):
            find_tensors(tmp_path / "weights")
    (tmp_path / "weights").write_bytes(b"")
    with pytest.raises(ModelError, match="no safetensors file"):
        layout_of(tmp_path / "weights")
