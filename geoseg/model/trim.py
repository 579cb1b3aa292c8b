"""The last layers of a network computed for the kept part of a tile alone: its halo is thrown away before them, not after."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from geoseg.model.graph import KEEP, LOGITS

_LOCAL = {"Relu", "BatchNormalization"}
"""What gives a pixel by that pixel alone."""
_HALF_PIXEL = {b"half_pixel", b"pytorch_half_pixel"}
"""Ways of counting places that a shift by whole pixels leaves as they are."""


def trim_to_keep(model: Any, sizes: dict[str, tuple[int, ...]]) -> None:
    """Give a graph an input that names the kept part of its tiles, and have it compute no more than that behind its last sum of two maps.

    The logits of the part are those of whole tiles: as far as the layers behind the cut see, a margin is left around it. They are so to
    the bit, but for networks that see their input enlarged: where their output is made small again, places are rounded as counted from
    the cut. Graphs whose end is something else than convolutions and changes of size stay as they are.

    Args:
        model: An ``onnx.ModelProto``, its nodes in the order of computing; it is changed.
        sizes: Shapes of what is between the nodes, for tiles of one size.
    """
    graph = model.graph
    cut = _find_cut({node.output[0]: node for node in graph.node}, sizes)
    if cut is None:
        return
    whole, trimmed, reach = f"{LOGITS}.whole", f"{cut.name}.trimmed", math.ceil(cut.reach_px)
    # pixels of the tile, and of the map, after which their borders meet again
    step, count = cut.step_px.as_integer_ratio()
    tensors = {
        "plane": [2, 3],
        "first": [0],
        "second": [2],
        "third": [4],
        "none": [0],
        "reach": [reach],
        "up": [reach + step - 1],
        "step": [step],
        "count": [count],
    }
    for name, values in tensors.items():
        graph.initializer.append(numpy_helper.from_array(np.array(values), f"{KEEP}.{name}"))
    nodes: list[Any] = [
        _make("Slice", [KEEP, f"{KEEP}.first", f"{KEEP}.second"], f"{KEEP}.begin"),
        _make("Slice", [KEEP, f"{KEEP}.second", f"{KEEP}.third"], f"{KEEP}.end"),
        _make("Sub", [f"{KEEP}.begin", f"{KEEP}.reach"], f"{KEEP}.seen"),
        _make("Max", [f"{KEEP}.seen", f"{KEEP}.none"], f"{KEEP}.there"),
        _make("Div", [f"{KEEP}.there", f"{KEEP}.step"], f"{KEEP}.steps"),
        _make("Mul", [f"{KEEP}.steps", f"{KEEP}.count"], f"{KEEP}.from"),
        _make("Add", [f"{KEEP}.end", f"{KEEP}.up"], f"{KEEP}.beyond"),
        _make("Div", [f"{KEEP}.beyond", f"{KEEP}.step"], f"{KEEP}.limit"),
        _make("Mul", [f"{KEEP}.limit", f"{KEEP}.count"], f"{KEEP}.to"),
        _make("Mul", [f"{KEEP}.steps", f"{KEEP}.step"], f"{KEEP}.origin"),
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
    step_px: Fraction
    """Pixels of the tile along each side of one of its own."""
    reach_px: Fraction
    """How far the layers behind it see, in pixels of the tile."""


def _find_cut(makers: dict[str, Any], sizes: dict[str, tuple[int, ...]]) -> _Cut | None:
    """Walk from the logits backwards to the last sum of two maps."""
    name, step, reach, enlarged = LOGITS, Fraction(1), Fraction(0), False
    while name in makers:
        node = makers[name]
        if node.op_type == "Add" and all(term in makers for term in node.input):
            # at the resolution of the last layer there is nothing to save
            return _Cut(name=name, step_px=step, reach_px=reach) if enlarged else None
        before, after = (sizes.get(known, ()) for known in (node.input[0], name))
        if node.op_type == "Conv" and after[2:] and before[2:] == after[2:]:
            reach += step * (max(_kernel(node)) // 2)
        elif node.op_type == "Resize" and len(before) == 4 and after == (*before[:2], 2 * before[2], 2 * before[3]) and _is_nearest(node):
            step *= 2
            enlarged = True
        elif node.op_type == "Resize" and name == LOGITS and (reduced := _reduction(node, before, after)) is not None:
            step *= reduced
            reach += step
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


def _reduction(node: Any, before: tuple[int, ...], after: tuple[int, ...]) -> Fraction | None:
    """Return pixels made of one pixel along both sides, by a linear interpolation that looks at neighbors only."""
    known = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if (
        known.get("mode") != b"linear"
        or known.get("antialias")
        or known.get("coordinate_transformation_mode", b"half_pixel") not in _HALF_PIXEL
    ):
        return None
    if len(before) != 4 or len(after) != 4 or before[:2] != after[:2]:
        return None
    rows, cols = (Fraction(made, given) for made, given in zip(after[2:], before[2:], strict=True))
    return rows if rows == cols < 1 else None


def _make(kind: str, inputs: list[str], output: str) -> Any:
    return helper.make_node(kind, inputs, [output], name=output)
