"""Which files an ONNX model would open, read from its bytes before anything runs it: the runtime has no ``onnx`` package to ask."""

from collections.abc import Iterator
from enum import Enum, auto

from geoseg.errors import ModelError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
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
        raise ModelError(f"The graph is no ONNX model: {exc}. Get the package again, or make its graph anew.") from exc


def _locations(message: memoryview, kind: _Kind, depth: int) -> Iterator[bytes]:
    if depth > _DEEPEST:
        raise ValueError(f"it is nested deeper than {_DEEPEST} messages")
    if kind is _Kind.ENTRY:
        texts = dict(_fields(message))
        if bytes(texts.get(1, b"")) == b"location":
            yield bytes(texts.get(2, b""))
        return
    for number, content in _fields(message):
        inner = _INNER[kind].get(number)
        if inner is not None:
            yield from _locations(content, inner, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of the fields of a message that have a length; others are skipped."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        # protocol buffers read tags as 32 bits and drop what is above them
        tag &= 0xFFFFFFFF
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"byte {at} starts a field of the unknown kind {kind}")
        if at + size > len(message):
            raise ValueError(f"a field of {size} bytes at byte {at} reaches past the end of {len(message)}")
        if kind == _BYTES:
            yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        value |= (message[at] & 0x7F) << shift
        at += 1
        if message[at - 1] < 0x80:
            return value, at
    raise ValueError(f"a number at byte {at} does not end")
