"""Which operators an ONNX model is made of, read from its bytes: the runtime has no ``onnx`` package to ask."""

from collections import Counter

from geoseg.model.protobuf import fields, unreadable

_GRAPH, _NODE, _OPERATOR = 7, 1, 4
"""Fields of ``ModelProto``, ``GraphProto`` and ``NodeProto`` in ``onnx.proto``."""


def count_operators(model: bytes) -> Counter[str]:
    """Count the nodes of an ONNX model's graph by operator; graphs within nodes are not looked into.

    Raises:
        ModelError: If the bytes are no protocol buffer message.
    """
    try:
        return Counter(
            bytes(content).decode(errors="replace")
            for graph in _inside(memoryview(model), _GRAPH)
            for node in _inside(graph, _NODE)
            for content in _inside(node, _OPERATOR)
        )
    except (IndexError, ValueError) as exc:
        raise unreadable(exc) from exc


def _inside(message: memoryview, number: int) -> list[memoryview]:
    return [content for found, content in fields(message) if found == number]
