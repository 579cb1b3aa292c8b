"""A traced network made small and fast: its weights stay where they are, enlargements are whole factors and come late."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference

from geoseg.model.graph import IMAGE, LAYOUT_KEY
from geoseg.model.layout import Place, find_tensors, layout_of
from geoseg.model.package import WEIGHTS_NAME
from geoseg.model.subpixel import convolve_before_enlarging
from geoseg.model.trim import trim_to_keep

_TYPES = {"F16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16, "F32": TensorProto.FLOAT}

_NO_VECTOR = np.zeros(())


def slim_graph(model: Any, weights: Path, shape: tuple[int, int]) -> Any:
    """Take the weights out of an ONNX model.

    What stands in the safetensors file becomes external data in it, with a cast to float32 that onnxruntime does once, when it
    loads the graph; it then folds batch norm into convolutions itself. Nearest-neighbor enlargement by computed sizes becomes
    one by constant factors, which onnxruntime runs in its blocked memory layout; convolutions over enlarged maps are computed on
    the small ones where that is less work, and the last layers for the kept part of a tile alone.

    Args:
        model: An ``onnx.ModelProto`` whose initializers have the names of the safetensors file; it is changed.
        weights: The safetensors file.
        shape: Height and width that the model was traced with.

    Returns:
        The same model.
    """
    _fold_concatenations(model.graph)
    sizes = _sizes(model, shape)
    _scale_by_factors(model, sizes)
    convolve_before_enlarging(model, sizes)
    trim_to_keep(model, sizes)
    _drop_unused(model)
    _point_to(model.graph, find_tensors(weights))
    for node in model.graph.node:
        node.doc_string = ""
    helper.set_model_props(model, {LAYOUT_KEY: layout_of(weights)})
    return model


def _fold_concatenations(graph: Any) -> None:
    """Make vectors of the constants that they are put together from: no size is inferred from factors that are not vectors."""
    constants: dict[str, NDArray[Any]] = {}
    nodes = []
    for node in graph.node:
        known = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant" and "value" in known:
            constants[node.output[0]] = numpy_helper.to_array(known["value"])
        elif node.op_type == "Concat" and node.input and all(constants.get(name, _NO_VECTOR).ndim == 1 for name in node.input):
            vector = constants[node.output[0]] = np.concatenate([constants[name] for name in node.input])
            graph.initializer.append(numpy_helper.from_array(vector, node.output[0]))
            continue
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _point_to(graph: Any, places: dict[str, Place]) -> None:
    kept, casts = [], []
    for tensor in graph.initializer:
        place = places.get(tensor.name)
        if place is None or place.dtype not in _TYPES or tuple(tensor.dims) != place.shape:
            kept.append(tensor)
            continue
        name = tensor.name if place.dtype == "F32" else f"{tensor.name}.stored"
        kept.append(_external(name, place))
        if name != tensor.name:
            casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)


def _external(name: str, place: Place) -> Any:
    tensor = TensorProto(name=name, data_type=_TYPES[place.dtype], dims=place.shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", WEIGHTS_NAME), ("offset", place.offset_bytes), ("length", place.length_bytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _scale_by_factors(model: Any, sizes: dict[str, tuple[int, ...]]) -> None:
    for node in model.graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type != "Resize" or attributes.get("mode") != b"nearest" or len(node.input) != 4:
            continue
        before, after = sizes.get(node.input[0]), sizes.get(node.output[0])
        if before is None or after is None or any(a % b for a, b in zip(after, before, strict=True)):
            continue
        name = f"{node.output[0]}_factors"
        factors = np.array([a // b for a, b in zip(after, before, strict=True)], np.float32)
        model.graph.initializer.append(numpy_helper.from_array(factors, name))
        node.input[2] = name
        del node.input[3:]


def _sizes(model: Any, shape: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of everything between input and output of tiles of one size, where they are known."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    (image,) = (i for i in fixed.graph.input if i.name == IMAGE)
    dims = image.type.tensor_type.shape.dim
    for dim, size in zip((dims[0], dims[2], dims[3]), (1, *shape), strict=True):
        dim.dim_value = size
    inferred = shape_inference.infer_shapes(fixed, data_prop=True).graph
    found = {}
    for value in (*inferred.value_info, *inferred.input, *inferred.output):
        dims = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        if dims and all(dims):
            found[value.name] = dims
    return found


def _drop_unused(model: Any) -> None:
    """Remove nodes and tensors that nothing needs any more."""
    graph = model.graph
    count = -1
    while count != len(graph.node):
        count = len(graph.node)
        used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        kept = [node for node in graph.node if used & set(node.output)]
        del graph.node[:]
        graph.node.extend(kept)
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
