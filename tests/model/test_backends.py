"""Every backend and precision gives what the network gives in float32, run by torch as it is."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geoseg.model.device import pick_device
from geoseg.model.execution import Backend, Execution, Precision
from geoseg.model.load import load_predictor
from geoseg.model.package import ModelPackage, find_package, shipped_models
from geoseg.model.predictor import Predictor
from tests.model.networks import drawn, small_spec, write_small

EAGER = Execution(threads=1)
LEAST_AGREEMENT = {"float32": 0.999, "float16": 0.999, "bfloat16": 0.998}
"""Share of labels; 16 bits that are not taken unasked may change more."""
MOST_STEPS = {"float32": 1, "float16": 2, "bfloat16": 8}
"""By how many steps of the uint8 confidence and evidence may differ."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return write_small(tmp_path_factory.mktemp("small") / "package")


@pytest.fixture(scope="module")
def eager(small: ModelPackage) -> Predictor:
    return load_predictor(small, EAGER)


@pytest.fixture(scope="module", params=["onnx", "torch"])
def other(request: pytest.FixtureRequest, small: ModelPackage, cache: Path) -> Predictor:
    # of torch, with another number of threads
    return load_predictor(small, Execution(backend=request.param, threads=2 if request.param == "torch" else 1, cache=cache))


def assert_agree(made: NDArray[np.uint8], expected: NDArray[np.uint8], precision: str = "float32") -> None:
    assert made.shape == expected.shape
    assert made.dtype == np.uint8
    assert (made[:, 0] == expected[:, 0]).mean() >= LEAST_AGREEMENT[precision]
    assert np.abs(made[:, 1:].astype(int) - expected[:, 1:]).max() <= MOST_STEPS[precision]


@pytest.mark.parametrize("name", sorted(shipped_models()))
@pytest.mark.parametrize(("backend", "precision"), [("onnx", "float32"), ("torch", "bfloat16")])
def test_shipped_models_give_the_same_labels(name: str, backend: Backend, precision: Precision) -> None:
    package, (pixels, valid) = find_package(name), drawn(256, 320)
    expected = load_predictor(package, EAGER).predict(pixels, valid)
    assert len(np.unique(expected[:, 0][valid])) >= min(3, len(package.spec.classes))
    made = load_predictor(package, Execution(backend=backend, precision=precision, threads=1)).predict(pixels, valid)
    assert_agree(made, expected, precision)
    assert (made.transpose(0, 2, 3, 1)[~valid] == expected.transpose(0, 2, 3, 1)[~valid]).all()


def test_a_compiled_network_gives_the_same_layers_and_probabilities(tmp_path: Path) -> None:
    # one layer, as a compiler takes ten seconds for a dozen of them
    package, (pixels, valid) = write_small(tmp_path / "pixel", small_spec("pixel")), drawn(64, 96)
    compiled, keep = load_predictor(package, Execution(backend="compile", threads=1)), (slice(8, 50), slice(0, 90))
    expected = load_predictor(package, EAGER)
    assert_agree(compiled.predict(pixels, valid, keep), expected.predict(pixels, valid, keep))
    made = compiled.predict_probabilities(pixels, valid)
    np.testing.assert_allclose(made, expected.predict_probabilities(pixels, valid), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_compiled_shipped_model_gives_the_same_labels(precision: Precision) -> None:
    package, (pixels, valid) = find_package("aerial"), drawn(256, 320)
    made = load_predictor(package, Execution(backend="compile", precision=precision)).predict(pixels, valid)
    assert_agree(made, load_predictor(package, EAGER).predict(pixels, valid), precision)


def test_a_batch_of_two_gives_what_each_of_them_gives(other: Predictor, eager: Predictor) -> None:
    pixels, valid = (np.concatenate([drawn(64, 96)[i], drawn(64, 96, seed=9)[i]]) for i in range(2))
    expected = np.concatenate([eager.predict(pixels[i : i + 1], valid[i : i + 1]) for i in range(2)])
    assert len(np.unique(expected[:, 0][valid])) == 2
    assert_agree(other.predict(pixels, valid), expected)


def test_only_what_is_kept_is_decoded_and_comes_back(other: Predictor, eager: Predictor) -> None:
    pixels, valid = drawn(64, 96)
    keep = slice(5, 60), slice(13, 90)
    made = other.predict(pixels, valid, keep)
    assert made.shape[2:] == (55, 77)
    np.testing.assert_array_equal(made, other.predict(pixels, valid)[:, :, *keep])
    assert_agree(made, eager.predict(pixels, valid)[:, :, *keep])


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "float64"])
def test_wider_data_types_give_what_bytes_give(other: Predictor, eager: Predictor, dtype: str) -> None:
    pixels, valid = drawn(64, 96)
    assert_agree(other.predict(pixels.astype(dtype), valid), eager.predict(pixels, valid))


def test_values_without_data_change_nothing(other: Predictor, eager: Predictor) -> None:
    pixels, valid = drawn(64, 96)
    damaged = np.where(valid[:, None], pixels.astype(np.float32), np.nan)
    assert not valid.all()
    assert_agree(other.predict(damaged, valid), eager.predict(pixels, valid))


def test_probabilities_to_blend_agree(other: Predictor, eager: Predictor) -> None:
    pixels, valid = drawn(64, 96)
    made, expected = other.predict_probabilities(pixels, valid), eager.predict_probabilities(pixels, valid)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected, atol=1e-4)
    np.testing.assert_allclose(made[:, :2].sum(axis=1), 1, atol=1e-5)


def run_alone(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_onnxruntime_runs_a_shipped_model_without_torch() -> None:
    code = (
        "import sys, numpy as np; from geoseg.model.package import find_package; from geoseg.model.load import load_predictor;"
        "from geoseg.model.execution import Execution;"
        "predictor = load_predictor(find_package('korea'), Execution(backend='onnx', threads=1));"
        "layers = predictor.predict(np.full((1, 3, 64, 64), 90, np.uint8), np.ones((1, 64, 64), bool));"
        "assert layers.shape == (1, 2, 64, 64), layers.shape;"
        "assert not {'torch', 'onnx', 'segmentation_models_pytorch'} & set(sys.modules)"
    )
    run_alone(code)


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_a_batch_that_does_not_fit_is_said_to_be_too_large_and_smaller_ones_go_on(backend: str, small: ModelPackage, cache: Path) -> None:
    code = """
import resource, sys
import numpy as np
from pathlib import Path
from geoseg.errors import DeviceMemoryError
from geoseg.model.execution import Execution
from geoseg.model.load import load_predictor
from geoseg.model.package import find_package

predictor = load_predictor(find_package(sys.argv[1]), Execution(backend=sys.argv[2], threads=1, cache=Path(sys.argv[3])))
few, many = (np.zeros((1, 3, side, side), np.uint8) for side in (64, 2048))
predictor.predict(few, np.ones((1, 64, 64), bool))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 140_000_000,) * 2)
try:
    predictor.predict(many, np.ones((1, 2048, 2048), bool))
except DeviceMemoryError as exc:
    print(type(exc.__cause__).__name__, exc)
predictor.predict(few, np.ones((1, 64, 64), bool))
"""
    said = run_alone(code, str(small.folder), backend, str(cache))
    assert "A batch of 1 tiles of 2048 x 2048 px with 3 bands does not fit into memory" in said


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["torch", "compile"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_gpu_gives_the_same_labels(backend: Backend, precision: Precision) -> None:
    if pick_device("auto") != "cuda":
        pytest.skip("no CUDA device")
    package, (pixels, valid) = find_package("aerial"), drawn(256, 320)
    predictor = load_predictor(package, Execution(backend=backend, device="cuda", precision=precision))
    assert_agree(predictor.predict(pixels, valid), load_predictor(package, EAGER).predict(pixels, valid), precision)


def test_the_onnx_backend_refuses_what_it_cannot_do(small: ModelPackage, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    from geoseg.errors import ModelError

    def load(**changes: Any) -> None:
        load_predictor(small, Execution(backend="onnx", cache=cache, **changes))

    with pytest.raises(ModelError, match="computes in float32; bfloat16 was asked for on cuda"):
        load(device="cuda", precision="bfloat16")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ModelError, match=r"runs on the processor only .* Install onnxruntime-gpu"):
        load(device="cuda:1")
