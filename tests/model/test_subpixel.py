"""Convolutions over enlarged maps give the same when they are computed before the enlargement."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from geoseg.model.subpixel import convolve_before_enlarging

ENOUGH = 64
"""Channels of the enlarged map from which a convolution is split."""
NORM = ("scale", "shift", "mean", "variance")


def _decoder(small: int = ENOUGH, beside: int = 8, made: int = 5, *, first: bool = True, strides: tuple[int, int] = (1, 1)) -> Any:
    """Return a step of a U-Net's decoder with random weights: enlarge, concatenate, convolve, normalize."""
    draw = np.random.default_rng(1).standard_normal
    weights = {
        "factors": np.array([1, 1, 2, 2]),
        "weights": draw((made, small + beside, 3, 3)) / 10,
        "scale": draw(made),
        "shift": draw(made),
        "mean": draw(made),
        "variance": draw(made) ** 2 + 0.1,
    }
    order = ["large", "skip"] if first else ["skip", "large"]
    resized = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    convolved = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": strides, "dilations": [1, 1], "group": 1}
    nodes = [
        helper.make_node("Resize", ["image", "", "factors"], ["large"], name="enlarge", **resized),
        helper.make_node("Concat", order, ["both"], name="join", axis=1),
        helper.make_node("Conv", ["both", "weights"], ["convolved"], name="convolve", **convolved),
        helper.make_node(
            "BatchNormalization", ["convolved", "scale", "shift", "mean", "variance"], ["out"], name="normalize", epsilon=1e-3
        ),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h", "w"])
        for name, channels in (("image", small), ("skip", beside))
    ]
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", made, "y", "x"])
    tensors = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "decoder", inputs, [output], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _sizes(small: int = ENOUGH, beside: int = 8, made: int = 5) -> dict[str, tuple[int, ...]]:
    large = (1, small, 12, 20)
    return {"image": (1, small, 6, 10), "large": large, "both": (1, small + beside, 12, 20), "convolved": (1, made, 12, 20)}


def _run(model: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["out"], inputs)[0])


def _kinds(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("shape", [(6, 10), (1, 1), (7, 3)])
def test_split_convolutions_give_the_same_up_to_rounding(shape: tuple[int, int]) -> None:
    draw = np.random.default_rng(2).standard_normal
    height, width = shape
    inputs = {
        "image": draw((2, ENOUGH, height, width)).astype(np.float32),
        "skip": draw((2, 8, 2 * height, 2 * width)).astype(np.float32),
    }
    model = _decoder()
    expected = _run(model, inputs)
    convolve_before_enlarging(model, _sizes())
    assert _kinds(model).count("Conv") == 3
    assert "BatchNormalization" not in _kinds(model)
    made = _run(model, inputs)
    np.testing.assert_allclose(made, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        (_decoder(small=ENOUGH - 1), _sizes(small=ENOUGH - 1)),
        (_decoder(first=False), _sizes()),
        (_decoder(strides=(2, 2)), _sizes()),
        (_decoder(), {name: shape for name, shape in _sizes().items() if name != "large"}),
    ],
    ids=["too few channels", "another order", "another stride", "unknown sizes"],
)
def test_what_cannot_be_split_or_does_not_pay_stays_as_it_is(model: Any, sizes: dict[str, tuple[int, ...]]) -> None:
    before = onnx.ModelProto()
    before.CopyFrom(model)
    convolve_before_enlarging(model, sizes)
    assert model == before
