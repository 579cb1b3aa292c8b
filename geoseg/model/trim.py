"""The last layers of a network computed for the kept part of a tile alone: its halo is thrown away before them, not after."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from geoseg.model.graph import KEEP, LOGITS

_LOCAL = {"Relu", "BatchNormalization"}
"""What gives a pixel by that pixel alone."""


def trim_to_keep(model: Any, sizes: dict[str, tuple[int, ...]]) -> None:
    """Give a graph an input that names the kept part of its tiles, and have it compute no more than that behind its last sum of two maps.

    The logits of the part are those of whole tiles to the bit: as far as the layers behind the cut see, a margin is left around it.
    Graphs whose end is something else than convolutions and enlargements stay as they are.

    Args:
        model: An ``onnx.ModelProto``, its nodes in the order of computing; it is changed.
        sizes: Shapes of what is between the nodes, for tiles of one size.
    """
    graph = model.graph
    cut = _find_cut({node.output[0]: node for node in graph.node}, sizes)
    if cut is None:
        return
    whole, trimmed, reach, step = f"{LOGITS}.whole", f"{cut.name}.trimmed", cut.reach_px, cut.step_px
    tensors = {
        "plane": [2, 3],
        "first": [0],
        "second": [2],
        "third": [4],
        "none": [0],
        "reach": [reach],
        "up": [reach + step - 1],
        "step": [step],
    }
    for name, values in tensors.items():
        graph.initializer.append(numpy_helper.from_array(np.array(values), f"{KEEP}.{name}"))
    nodes: list[Any] = [
        _make("Slice", [KEEP, f"{KEEP}.first", f"{KEEP}.second"], f"{KEEP}.begin"),
        _make("Slice", [KEEP, f"{KEEP}.second", f"{KEEP}.third"], f"{KEEP}.end"),
        _make("Sub", [f"{KEEP}.begin", f"{KEEP}.reach"], f"{KEEP}.seen"),
        _make("Max", [f"{KEEP}.seen", f"{KEEP}.none"], f"{KEEP}.there"),
        _make("Div", [f"{KEEP}.there", f"{KEEP}.step"], f"{KEEP}.from"),
        _make("Add", [f"{KEEP}.end", f"{KEEP}.up"], f"{KEEP}.beyond"),
        _make("Div", [f"{KEEP}.beyond", f"{KEEP}.step"], f"{KEEP}.to"),
        _make("Mul", [f"{KEEP}.from", f"{KEEP}.step"], f"{KEEP}.origin"),
        _make("Sub", [f"{KEEP}.begin", f"{KEEP}.origin"], f"{KEEP}.inner"),
        _make("Sub", [f"{KEEP}.end", f"{KEEP}.origin"], f"{KEEP}.outer"),
    ]
    for node in graph.node:
        inputs = [trimmed if name == cut.name else name for name in node.input]
        outputs = [whole if name == LOGITS else name for name in node.output]
        del node.input[:], node.output[:]
        node.input.extend(inputs)
        node.output.extend(outputs)
        nodes.append(node)
        if cut.name in outputs:
            nodes.append(_make("Slice", [cut.name, f"{KEEP}.from", f"{KEEP}.to", f"{KEEP}.plane"], trimmed))
    nodes.append(_make("Slice", [whole, f"{KEEP}.inner", f"{KEEP}.outer", f"{KEEP}.plane"], LOGITS))
    del graph.node[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info(KEEP, TensorProto.INT64, [4]))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """Where a network can be cut."""

    name: str
    """The sum behind which it is."""
    step_px: int
    """Pixels of the tile along each side of one of its own."""
    reach_px: int
    """How far the layers behind it see, in pixels of the tile."""


def _find_cut(makers: dict[str, Any], sizes: dict[str, tuple[int, ...]]) -> _Cut | None:
    """Walk from the logits backwards to the last sum of two maps."""
    name, step, reach = LOGITS, 1, 0
    while name in makers:
        node = makers[name]
        if node.op_type == "Add" and all(term in makers for term in node.input):
            # at the tile's own resolution there is nothing to save
            return _Cut(name=name, step_px=step, reach_px=reach) if step > 1 else None
        before, after = (sizes.get(known, ()) for known in (node.input[0], name))
        if node.op_type == "Conv" and after[2:] and before[2:] == after[2:]:
            reach += step * (max(_kernel(node)) // 2)
        elif node.op_type == "Resize" and len(before) == 4 and after == (*before[:2], 2 * before[2], 2 * before[3]) and _is_nearest(node):
            step *= 2
        elif node.op_type not in _LOCAL:
            return None
        name = node.input[0]
    return None


def _kernel(node: Any) -> list[int]:
    """Return the sides of a convolution's kernel, its gaps included."""
    known = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    sides, gaps = known["kernel_shape"], known.get("dilations", [1, 1])
    return [(side - 1) * gap + 1 for side, gap in zip(sides, gaps, strict=True)]


def _is_nearest(node: Any) -> bool:
    return any(a.name == "mode" and a.s == b"nearest" for a in node.attribute)


def _make(kind: str, inputs: list[str], output: str) -> Any:
    return helper.make_node(kind, inputs, [output], name=output)
