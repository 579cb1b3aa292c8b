"""The last layers of a graph, computed for the kept part of a tile alone, give what they give of whole tiles."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from geoseg.model.graph import IMAGE, KEEP, LOGITS
from geoseg.model.trim import trim_to_keep

HEIGHT, WIDTH = 48, 64


def _convolve(given: str, made: str, weights: str, side: int, **more: Any) -> Any:
    attributes = {"kernel_shape": [side] * 2, "pads": [side // 2] * 4, "strides": [1, 1], **more}
    return helper.make_node("Conv", [given, weights], [made], **attributes)


def _network(last: str = "Conv", step: int = 2, factor: float = 1) -> Any:
    """Return a network with random weights: two maps of half or full resolution, their sum, enlargement, a last layer.

    With a factor it sees its input that many times larger.
    """
    draw = np.random.default_rng(3).standard_normal
    weights = {"a": draw((4, 3, 3, 3)), "b": draw((4, 3, 5, 5)), "c": draw((4, 4, 3, 3)), "d": draw((2, 4, 3, 3)), "factors": [1, 1, 2, 2]}
    resized = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    seen, made, linear = (IMAGE, LOGITS, {}) if factor == 1 else ("seen", "made", {"mode": "linear"})
    weights |= {"enlarge": [1, 1, factor, factor], "reduce": [1, 1, 1 / factor, 1 / factor]}
    nodes = [
        *([] if factor == 1 else [helper.make_node("Resize", [IMAGE, "", "enlarge"], [seen], **linear)]),
        _convolve(seen, "one", "a", 3, strides=[step] * 2),
        _convolve(seen, "other", "b", 5, strides=[step] * 2),
        helper.make_node("Add", ["one", "other"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["bent"]),
        _convolve("bent", "mixed", "c", 3),
        *([helper.make_node("Resize", ["mixed", "", "factors"], ["large"], **resized)] if step == 2 else []),
        _convolve("large" if step == 2 else "mixed", "found", "d", 3),
        _convolve("found", made, "e", 1) if last == "Conv" else helper.make_node(last, ["found"], [made]),
        *([] if factor == 1 else [helper.make_node("Resize", [made, "", "reduce"], [LOGITS], **linear)]),
    ]
    weights["e"] = draw((2, 2, 1, 1))
    image = helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, ["n", 3, "h", "w"])
    logits = helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["n", 2, "h", "w"])
    tensors = [numpy_helper.from_array(np.asarray(values, np.float32), name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "network", [image], [logits], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _sizes(step: int = 2, factor: float = 1) -> dict[str, tuple[int, ...]]:
    whole = round(HEIGHT * factor), round(WIDTH * factor)
    small = whole[0] // step, whole[1] // step
    of_small = dict.fromkeys(("one", "other", "sum", "bent", "mixed"), (1, 4, *small))
    of_whole = {"seen": (1, 3, *whole), "large": (1, 4, *whole), "found": (1, 2, *whole), "made": (1, 2, *whole)}
    return {IMAGE: (1, 3, HEIGHT, WIDTH), LOGITS: (1, 2, HEIGHT, WIDTH), **of_whole, **of_small}


def _open(model: Any) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module", params=[1, 1.25, 1.5, 2, 2.5], ids=lambda factor: f"seen {factor} times larger")
def both(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    model = _network(factor=request.param)
    whole = _open(model)
    trim_to_keep(model, _sizes(factor=request.param))
    return whole, _open(model)


def _spans(length: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(0, length - 1), st.integers(1, length)).filter(lambda span: span[0] < span[1])


@settings(deadline=None, max_examples=40)
@given(rows=_spans(HEIGHT), cols=_spans(WIDTH))
def test_a_part_is_that_of_the_whole_tile(both: tuple[Any, Any], rows: tuple[int, int], cols: tuple[int, int]) -> None:
    image = np.random.default_rng(4).standard_normal((2, 3, HEIGHT, WIDTH)).astype(np.float32)
    whole, trimmed = both
    (expected,) = whole.run([LOGITS], {IMAGE: image})
    (made,) = trimmed.run([LOGITS], {IMAGE: image, KEEP: np.array([rows[0], cols[0], rows[1], cols[1]])})
    np.testing.assert_allclose(made, expected[:, :, slice(*rows), slice(*cols)], atol=1e-5)


@pytest.mark.parametrize(
    ("last", "step", "factor"),
    [("Softmax", 2, 1), ("Conv", 1, 1), ("Conv", 1, 1.5)],
    ids=["a last layer of another kind", "full resolution", "the resolution that a magnified network sees"],
)
def test_graphs_that_cannot_be_cut_or_need_not_stay_as_they_are(last: str, step: int, factor: float) -> None:
    model, before = _network(last, step, factor), onnx.ModelProto()
    before.CopyFrom(model)
    trim_to_keep(model, _sizes(step, factor))
    assert model == before


def test_an_output_made_small_by_an_average_of_many_pixels_is_not_cut() -> None:
    model = _network(factor=2.5)
    model.graph.node[-1].attribute.append(helper.make_attribute("antialias", 1))
    before = onnx.ModelProto()
    before.CopyFrom(model)
    trim_to_keep(model, _sizes(factor=2.5))
    assert model == before
