"""Convolutions over enlarged maps, computed before they are enlarged: fewer multiplications, the same sums in another order."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_LEAST_CHANNELS = 64
"""Of the enlarged map, from which saved multiplications are worth the pixels that have to be put in their places."""
_CONVOLUTION = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1], "dilations": [1, 1], "group": 1}
_ROWS_SEEN = np.array([[[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]]], np.float32)
"""Of the lower and the upper row around a border between pixels of the small map: which rows of a kernel see the pixel above and below."""


def convolve_before_enlarging(model: Any, sizes: dict[str, tuple[int, ...]]) -> None:
    """Split convolutions over an enlarged map with another one beside it, as decoders of U-Nets have them.

    A map that is made twice as large by nearest neighbor has four equal pixels in place of one. A kernel of 3 x 3 sees no more than
    2 x 2 different ones of them: one of 2 x 2 over the small map, with summed weights for each of the four places, gives the same by 4
    multiplications in place of 9 (Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?"). Batch norm goes
    into the weights on the way. What is computed from weights alone, onnxruntime computes once, when it loads the graph.

    Args:
        model: An ``onnx.ModelProto``, its nodes in the order of computing; it is changed.
        sizes: Shapes of what is between the nodes, for tiles of one size.
    """
    graph = model.graph
    takers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            takers.setdefault(name, []).append(node)
    nodes, split = [], {match.norm.name: match for node in graph.node if (match := _find(node, takers, sizes)) is not None}
    for node in graph.node:
        nodes += [node] if node.name not in split else _Writer(graph, split[node.name]).write()
    del graph.node[:]
    graph.node.extend(nodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A convolution that can be split."""

    small: str
    """The map before it is enlarged."""
    beside: str
    """The map whose channels stand after its own."""
    channels: tuple[int, int, int]
    """Of the small map, of both, and of the result."""
    weights: str
    """Of the convolution."""
    norm: Any
    """Node of the batch norm behind it."""


def _find(node: Any, takers: dict[str, list[Any]], sizes: dict[str, tuple[int, ...]]) -> _Found | None:
    """Return what an enlargement belongs to, where that can be split."""
    if node.op_type != "Resize" or _attributes(node).get("mode") != b"nearest":
        return None
    before, after = sizes.get(node.input[0], ()), sizes.get(node.output[0], ())
    if len(before) != 4 or after != (*before[:2], 2 * before[2], 2 * before[3]) or before[1] < _LEAST_CHANNELS:
        return None
    concat = _only_taker(node, takers, "Concat")
    convolution = _only_taker(concat, takers, "Conv")
    norm = _only_taker(convolution, takers, "BatchNormalization")
    if norm is None or _attributes(convolution) != _CONVOLUTION or len(convolution.input) != 2 or concat.input[0] != node.output[0]:
        return None
    if len(concat.input) != 2 or not {concat.output[0], convolution.output[0]} <= sizes.keys():
        return None
    channels = before[1], sizes[concat.output[0]][1], sizes[convolution.output[0]][1]
    return _Found(small=node.input[0], beside=concat.input[1], channels=channels, weights=convolution.input[1], norm=norm)


def _only_taker(node: Any, takers: dict[str, list[Any]], kind: str) -> Any:
    found = [] if node is None else takers.get(node.output[0], [])
    return found[0] if len(found) == 1 and found[0].op_type == kind else None


def _attributes(node: Any) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


class _Writer:
    """Writes what stands in place of a convolution and its batch norm.

    Args:
        graph: Takes constants.
        found: What is split.
    """

    def __init__(self, graph: Any, found: _Found) -> None:
        self._graph = graph
        self._found = found
        self._nodes: list[Any] = []

    def write(self) -> list[Any]:
        """Return the nodes, in the order of computing."""
        found, name = self._found, self._found.norm.output[0]
        small, both, _ = found.channels
        weights, shift = self._fold_norm()
        axis = self._keep("channel_axis", np.array([1]))
        bounds = [self._keep(f"channels_{at}", np.array([at])) for at in (0, small, both)]
        own = self._add("Slice", [weights, *bounds[:2], axis], "own")
        others = self._add("Slice", [weights, *bounds[1:], axis], "others")
        places = self._add("Conv", [found.small, self._sum_up(own)], "places", kernel_shape=[2, 2], pads=[1, 1, 1, 1])
        put = self._put(places)
        # a pixel more on each side: what lies around the outermost borders
        edges = [self._keep(key, np.array(values)) for key, values in {"begin": [1, 1], "end": [-1, -1], "plane": [2, 3]}.items()]
        enlarged = self._add("Slice", [put, *edges], "enlarged")
        beside = self._add("Conv", [found.beside, others, shift], "beside", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        self._nodes.append(helper.make_node("Add", [beside, enlarged], [name], name=found.norm.name))
        return self._nodes

    def _put(self, places: str) -> str:
        """Return the pixels of the four places, (N, 4 K, H, W), where they belong: (N, K, 2 H, 2 W).

        Columns first and rows after them, both as plain transpositions: onnxruntime's ``DepthToSpace`` does it pixel by pixel on one
        thread, and takes more than twice the time.
        """
        made = self._found.channels[2]
        ends = [self._keep(f"rows_{key}", np.array([at])) for key, at in {"from": 2, "to": 3, "axis": 0}.items()]
        rows = self._add("Slice", [self._add("Shape", [places], "shape"), *ends], "rows")
        twice = self._add("Mul", [rows, self._keep("twice", np.array([2]))], "twice_the_rows")
        lines = self._add("Mul", [rows, self._keep("made", np.array([made]))], "lines")
        rest = self._keep("rest", np.array([-1]))
        sides = self._add("Reshape", [places, self._keep("left_right", np.array([0, 2, -1]))], "left_and_right")
        columns = self._add("Transpose", [sides], "columns", perm=[0, 2, 1])
        shape = self._add("Concat", [self._keep("upper_lower", np.array([0, 2])), lines, rest], "shape_of_halves", axis=0)
        halves = self._add("Reshape", [columns, shape], "upper_and_lower")
        woven = self._add("Transpose", [halves], "woven", perm=[0, 2, 1, 3])
        shape = self._add("Concat", [self._keep("maps", np.array([0, made])), twice, rest], "shape_of_maps", axis=0)
        return self._add("Reshape", [woven, shape], "put")

    def _fold_norm(self) -> tuple[str, str]:
        """Return the weights times what batch norm multiplies by, and what it adds."""
        scale, shift, mean, variance = self._found.norm.input[1:5]
        least = self._keep("epsilon", np.array([_attributes(self._found.norm)["epsilon"]], np.float32))
        deviation = self._add("Sqrt", [self._add("Add", [variance, least], "spread")], "deviation")
        factor = self._add("Div", [scale, deviation], "factor")
        column = self._add("Reshape", [factor, self._keep("column", np.array([-1, 1, 1, 1]))], "factors")
        moved = self._add("Sub", [shift, self._add("Mul", [mean, factor], "middle")], "moved")
        return self._add("Mul", [self._found.weights, column], "scaled"), moved

    def _sum_up(self, weights: str) -> str:
        """Return kernels of 2 x 2 for the four places around each corner between pixels: (4 K, C, 2, 2) of (K, C, 3, 3).

        Those on the left come first, and of them the upper ones.
        """
        small, _, made = self._found.channels
        seen = np.einsum("apk,bql->klbapq", _ROWS_SEEN, _ROWS_SEEN).reshape(9, 16)
        flat = self._add("Reshape", [weights, self._keep("flat", np.array([made, small, 9]))], "flattened")
        summed = self._add("MatMul", [flat, self._keep("seen", seen)], "summed")
        apart = self._add("Reshape", [summed, self._keep("apart", np.array([made, small, 4, 4]))], "by_place")
        turned = self._add("Transpose", [apart], "place_first", perm=[2, 0, 1, 3])
        return self._add("Reshape", [turned, self._keep("kernels", np.array([4 * made, small, 2, 2]))], "corners")

    def _add(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        output = f"{self._found.norm.output[0]}.{name}"
        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def _keep(self, name: str, values: NDArray[Any]) -> str:
        output = f"{self._found.norm.output[0]}.{name}"
        self._graph.initializer.append(numpy_helper.from_array(values, output))
        return output
