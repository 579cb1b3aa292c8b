"""Where tensors lie in a safetensors file."""

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import ModelError

_LENGTH = struct.Struct("<Q")
_LONGEST = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A tensor on disk."""

    dtype: str
    """As safetensors name it: ``F16``, ``F32``, ``I64``, ..."""
    shape: tuple[int, ...]
    """Its shape."""
    offset_bytes: int
    """From the start of the file."""
    length_bytes: int
    """Its size."""


def read_header(path: Path) -> bytes:
    """Read what a file says of its tensors, as it stands there.

    Raises:
        ModelError: If it is no safetensors file.
    """
    with path.open("rb") as stream:
        start = stream.read(_LENGTH.size)
        length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
        header = stream.read(length) if 0 < length <= _LONGEST else b""
    if not header or len(header) != length:
        raise ModelError(f"{path} is no safetensors file. Get the package again.")
    return start + header


def find_tensors(path: Path) -> dict[str, Place]:
    """Return where each tensor of a file lies.

    Raises:
        ModelError: If it is no safetensors file.
    """
    header = read_header(path)
    try:
        table = json.loads(header[_LENGTH.size :])
        return {name: _place(entry, len(header)) for name, entry in table.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ModelError(f"{path} is no safetensors file: {exc}. Get the package again.") from exc


def layout_of(path: Path) -> str:
    """Return a checksum of names, types, shapes and places: files of one layout differ in the values of their tensors alone.

    Raises:
        ModelError: If it is no safetensors file.
    """
    return hashlib.sha256(read_header(path)).hexdigest()


def _place(entry: dict[str, list[int]], data_start: int) -> Place:
    begin, end = entry["data_offsets"]
    return Place(dtype=str(entry["dtype"]), shape=tuple(entry["shape"]), offset_bytes=data_start + begin, length_bytes=end - begin)
