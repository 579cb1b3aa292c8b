"""What stands in a ``torch.export`` archive (.pt2): a graph in JSON, and weights as raw numbers. No pickle in it is read."""

import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from geoseg.errors import MissingFileError, ModelError

_LARGEST_BYTES = 8 * 1024**3
_LONGEST_JSON_BYTES = 200_000_000
_OLD_FORM = "serialized_exported_program.json"
_ADVICE = "Save it again: torch.export.save of torch 2.9 or later writes weights as raw numbers."


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTensor:
    """A tensor of an archive, as bytes."""

    content: bytes
    """The whole file that it lies in."""
    dtype: int
    """torch's code of its type."""
    sizes: tuple[int, ...]
    """Its shape."""
    strides: tuple[int, ...]
    """Elements from one index to the next."""
    offset: int
    """Elements before its first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A program and its tensors."""

    graph: dict[str, Any]
    """``graph_module`` of the program."""
    tensors: dict[str, RawTensor]
    """Weights, buffers and constants by name."""


def read_archive(path: Path) -> Archive:
    """Read an archive with one program.

    Raises:
        MissingFileError: If there is no such file.
        ModelError: If it is no such archive, or would need pickle, or code of its own.
    """
    if not path.is_file():
        raise MissingFileError(f"There is no {path}. Check the name of the model.")
    try:
        with zipfile.ZipFile(path) as opened:
            return _read(opened, path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as exc:
        raise ModelError(f"{path} is no archive of torch.export that can be read: {exc}. Get it again.") from exc
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as exc:
        if isinstance(exc, ModelError):
            raise
        raise ModelError(f"{path} is no archive of torch.export as expected ({type(exc).__name__}: {exc}). {_ADVICE}") from exc


def _read(opened: zipfile.ZipFile, path: Path) -> Archive:
    members = {_inner(info.filename): info for info in opened.infolist()}
    size = sum(info.file_size for info in opened.infolist())
    if size > _LARGEST_BYTES:
        raise ModelError(f"{path} unpacks to {size / 1e9:.1f} GB; at most {_LARGEST_BYTES / 1e9:.1f} GB are taken in.")
    if _OLD_FORM in {PurePosixPath(name).name for name in opened.namelist()}:
        raise ModelError(f"{path} is of the form that torch wrote up to 2.7, whose weights are pickles; these are never read. {_ADVICE}")
    programs = [name for name in members if name.startswith("models/") and name.endswith(".json")]
    if len(programs) != 1:
        raise ModelError(f"{path} holds {len(programs)} programs; an archive of torch.export with one was expected.")
    if any(name.startswith("data/aotinductor/") for name in members):
        raise ModelError(f"{path} holds compiled code (AOTInductor), which is never run. Save the exported program instead.")
    name = PurePosixPath(programs[0]).stem
    tensors: dict[str, RawTensor] = {}
    for folder in ("weights", "constants"):
        if f"data/{folder}/{name}.pt" in members:
            raise ModelError(f"The {folder} of {path} are one pickle, which is never read. {_ADVICE}")
        config = _json(opened, members[f"data/{folder}/{name}_{folder}_config.json"])["config"]
        tensors.update(_tensors(opened, members, folder, config, path))
    return Archive(graph=_json(opened, members[programs[0]])["graph_module"], tensors=tensors)


def _inner(name: str) -> str:
    """Return a member's name without the folder that torch puts everything into."""
    return name.split("/", 1)[1] if "/" in name else name


def _tensors(
    opened: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], folder: str, config: dict[str, Any], path: Path
) -> Iterator[tuple[str, RawTensor]]:
    contents: dict[str, bytes] = {}
    for name, entry in config.items():
        meta = entry["tensor_meta"]
        if entry["use_pickle"] or meta is None:
            raise ModelError(
                f"'{name}' of {path} is kept as a pickle, which is never read: it is no plain tensor. Leave it out of the program."
            )
        place = f"data/{folder}/{entry['path_name']}"
        if place not in contents:
            contents[place] = opened.read(members[place])
        sizes, strides = (tuple(int(size["as_int"]) for size in meta[key]) for key in ("sizes", "strides"))
        offset = int(meta["storage_offset"]["as_int"])
        if min((*sizes, *strides, offset, 0)) < 0 or len(sizes) != len(strides):
            raise ModelError(f"'{name}' of {path} has the sizes {sizes} and strides {strides}, which no tensor has. Get it again.")
        yield name, RawTensor(content=contents[place], dtype=int(meta["dtype"]), sizes=sizes, strides=strides, offset=offset)


def _json(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> dict[str, Any]:
    if info.file_size > _LONGEST_JSON_BYTES:
        raise ModelError(
            f"{info.filename} has {info.file_size / 1e6:.0f} MB; a description of a network has {_LONGEST_JSON_BYTES / 1e6:.0f} at most."
        )
    table: dict[str, Any] = json.loads(opened.read(info))
    return table
