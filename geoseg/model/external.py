"""Which files an ONNX model would open, read from its bytes before anything runs it: the runtime has no ``onnx`` package to ask."""

from collections.abc import Iterator
from enum import Enum, auto

from geoseg.model.protobuf import fields, unreadable

_DEEPEST = 32


class _Kind(Enum):
    MODEL = auto()
    TRAINING = auto()
    FUNCTION = auto()
    GRAPH = auto()
    NODE = auto()
    ATTRIBUTE = auto()
    SPARSE = auto()
    TENSOR = auto()
    ENTRY = auto()


_INNER: dict[_Kind, dict[int, _Kind]] = {
    _Kind.MODEL: {7: _Kind.GRAPH, 20: _Kind.TRAINING, 25: _Kind.FUNCTION},
    _Kind.TRAINING: {1: _Kind.GRAPH, 2: _Kind.GRAPH},
    _Kind.FUNCTION: {7: _Kind.NODE, 11: _Kind.ATTRIBUTE},
    _Kind.GRAPH: {1: _Kind.NODE, 5: _Kind.TENSOR, 15: _Kind.SPARSE},
    _Kind.NODE: {5: _Kind.ATTRIBUTE},
    _Kind.ATTRIBUTE: {5: _Kind.TENSOR, 6: _Kind.GRAPH, 10: _Kind.TENSOR, 11: _Kind.GRAPH, 22: _Kind.SPARSE, 23: _Kind.SPARSE},
    _Kind.SPARSE: {1: _Kind.TENSOR, 2: _Kind.TENSOR},
    _Kind.TENSOR: {13: _Kind.ENTRY},
}
"""Fields of each message of ``onnx.proto`` that hold a tensor somewhere below."""


def external_files(model: bytes) -> set[str]:
    """Return the locations of the external data that an ONNX model names, wherever in it they stand.

    Raises:
        ModelError: If the bytes are no protocol buffer message.
    """
    try:
        return {name.decode(errors="replace") for name in _locations(memoryview(model), _Kind.MODEL, 0)}
    except (IndexError, ValueError) as exc:
        raise unreadable(exc) from exc


def _locations(message: memoryview, kind: _Kind, depth: int) -> Iterator[bytes]:
    if depth > _DEEPEST:
        raise ValueError(f"it is nested deeper than {_DEEPEST} messages")
    if kind is _Kind.ENTRY:
        texts = dict(fields(message))
        if bytes(texts.get(1, b"")) == b"location":
            yield bytes(texts.get(2, b""))
        return
    for number, content in fields(message):
        inner = _INNER[kind].get(number)
        if inner is not None:
            yield from _locations(content, inner, depth + 1)
