"""Messages as protocol buffers write them, read without the schema or a library: ONNX models are looked into before anything runs them."""

from collections.abc import Iterator

from geoseg.errors import ModelError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of the fields of a message that have a length; others are skipped.

    Raises:
        IndexError: If the bytes end within a number.
        ValueError: If they are no message.
    """
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


def unreadable(exc: Exception) -> ModelError:
    """Return the error of a graph whose bytes are no message."""
    return ModelError(f"The graph is no ONNX model: {exc}. Get the package again, or make its graph anew.")
