"""What onnxruntime is kept from."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest

from geoseg.errors import ModelError
from geoseg.model.execution import Execution
from geoseg.model.operators import count_operators
from geoseg.model.session import open_session

OPEN = """
import os
from geoseg.errors import ModelError
from geoseg.model.execution import Execution
from geoseg.model.session import open_session
try:
    open_session(b"none", "none", Execution())
except ModelError:
    print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


def test_onnxruntime_tells_nobody_and_leaves_nothing_in_the_temporary_folder(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", OPEN], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert list(tmp_path.iterdir()) == []


def convolutions(count: int) -> bytes:
    """Return a model of some convolutions, one after the other, and a sum."""
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("Conv", [f"map {i}", "kernel"], [f"map {i + 1}"]) for i in range(count)]
    nodes.append(helper.make_node("Add", [f"map {count}", f"map {count}"], ["scores"]))
    maps = [helper.make_tensor_value_info(name, number, [1, 3, "rows", "cols"]) for name in ("map 0", "scores")]
    kernel = helper.make_tensor("kernel", number, [3, 3, 1, 1], [1.0] * 9)
    graph = helper.make_graph(nodes, "graph", maps[:1], maps[1:], [kernel])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    return bytes(model.SerializeToString())


def test_operators_of_a_model_are_counted() -> None:
    assert count_operators(convolutions(3)) == {"Conv": 3, "Add": 1}
    with pytest.raises(ModelError, match="no ONNX model"):
        count_operators(convolutions(3)[:-3])


@pytest.mark.parametrize(("count", "blocked"), [(0, True), (1, False), (2, True)])
def test_only_convolutions_that_follow_one_another_have_blocked_layouts(count: int, blocked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    session = onnxruntime.InferenceSession

    def spy(*args: Any, **named: Any) -> Any:
        asked.update(named)
        return session(*args, **named)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    open_session(convolutions(count), "some", Execution())
    assert asked["disabled_optimizers"] == ([] if blocked else ["NchwcTransformer"])
