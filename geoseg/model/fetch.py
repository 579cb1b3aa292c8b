"""Files from elsewhere, fetched whole, with a limit and a checksum."""

import hashlib
import re
import urllib.request
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from geoseg.errors import GeosegError, MissingFileError, ModelError, UsageError

LARGEST_BYTES = 8 * 1024**3
"""Larger files are no segmentation model."""
_ADDRESS = re.compile(r"(https?|s3|gs|gcs|az|abfs)://", re.IGNORECASE)
PICKLES = frozenset({".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".bin", ".h5", ".keras"})
"""Endings of files that can run any code when they are read."""
_ENDINGS = PICKLES | {".json", ".onnx", ".pt2", ".zip"}
"""All that is taken of a remote name: in the rest of it systems see folders, drives and devices."""
_TIMEOUT_S = 60
_BLOCK_BYTES = 1 << 20
_HASHES = {"1220": "sha256", "1340": "sha512", "1330": "sha384"}
"""Multihash codes with the length that follows them."""


def is_address(name: str) -> bool:
    """Tell whether a name is an address on the web or in an object store."""
    return _ADDRESS.match(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What a server says of a file, by which it tells whether that has changed."""

    etag: str | None = None
    """``ETag``; in an object store, a hash of all that it says."""
    modified: str | None = None
    """``Last-Modified``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A file that was fetched."""

    path: Path
    """Where it lies now."""
    version: Version
    """Which one it is."""


def fetch_file(address: str, folder: Path) -> Path:
    """Fetch a file into a folder, under a name that has nothing of the remote one but its ending, if that is one of models.

    Args:
        address: ``http(s)://``, read by Python itself; ``s3://``, ``gs://``, ``az://``, read through fsspec with the usual credentials.
        folder: Takes it.

    Raises:
        MissingFileError: If there is nothing, nobody answers, or the file breaks off.
        ModelError: If it is larger than 8 GiB.
        UsageError: If the library for such addresses is not installed.
    """
    fetched = fetch_changed(address, folder, None)
    assert fetched is not None, "nothing is known of it"
    return fetched.path


def fetch_changed(address: str, folder: Path, known: Version | None) -> Fetched | None:
    """Fetch a file as :func:`fetch_file` does, unless it is the one that is known.

    Args:
        address: Of the file.
        folder: Takes it.
        known: The version that lies here; None if none does.

    Returns:
        The file; None if the known one is the latest, or nobody says otherwise: the connection is gone, or the server is out of order.

    Raises:
        MissingFileError: If there is nothing, or nothing is known and nobody answers.
        ModelError: If it is larger than 8 GiB.
        UsageError: If the library for such addresses is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        suffix = PurePosixPath(urlsplit(address).path).suffix.lower()
        target = folder / f"fetched{suffix if suffix in _ENDINGS else ''}"
        stream, version = _open(address, known or Version())
        if stream is None:
            return None
        with stream:
            _copy(stream, target, address)
    except Exception as exc:  # what the web and the libraries of object stores raise shares no base
        if known is not None and _is_no_answer(exc):
            return None
        if isinstance(exc, GeosegError):
            raise
        raise MissingFileError(f"{address} cannot be fetched: {exc}. Check the address and the connection.") from exc
    return Fetched(path=target, version=version)


def _copy(stream: Any, target: Path, address: str) -> None:
    taken, told = 0, getattr(stream, "length", None)
    with target.open("wb") as out:
        while block := stream.read(_BLOCK_BYTES):
            taken += len(block)
            if taken > LARGEST_BYTES:
                raise ModelError(f"{address} has more than {LARGEST_BYTES / 1e9:.1f} GB, which no segmentation model has.")
            out.write(block)
    if told is not None and taken != told:
        raise MissingFileError(f"{address} broke off after {taken} of {told} bytes. Try again.")


def _is_no_answer(exc: Exception) -> bool:
    """Tell whether nobody has said what has become of a file: not that it is gone, refused, or no model."""
    if isinstance(exc, HTTPError):
        return exc.code >= 500
    if isinstance(exc, MissingFileError):
        # it broke off
        return True
    return not isinstance(exc, GeosegError | FileNotFoundError | PermissionError)


def _open(address: str, known: Version) -> tuple[Any, Version]:
    """Return what reads a file, and its version; nothing to read if that is the known one."""
    if urlsplit(address).scheme.lower() in ("http", "https"):
        conditions = {"If-None-Match": known.etag, "If-Modified-Since": known.modified}
        asked = urllib.request.Request(address, headers={name: value for name, value in conditions.items() if value})
        try:
            stream = urllib.request.urlopen(asked, timeout=_TIMEOUT_S)
        except HTTPError as exc:
            if exc.code == 304:
                return None, known
            raise
        return stream, Version(etag=stream.headers.get("ETag"), modified=stream.headers.get("Last-Modified"))
    try:
        from fsspec.core import url_to_fs

        store, path = url_to_fs(address)
        version = Version(etag=str(store.ukey(path)))
        return (None if version == known else store.open(path, "rb")), version
    except ImportError as exc:
        raise UsageError(f"Reading {address} needs {exc.name or exc}: pip install s3fs, gcsfs or adlfs for s3://, gs:// or az://.") from exc


def check_multihash(path: Path, expected: object, origin: str) -> None:
    """Compare a file with the ``file:checksum`` of a STAC asset.

    Raises:
        ModelError: If it differs, or the checksum is of a kind that is not computed here.
    """
    text = str(expected).lower()
    name = _HASHES.get(text[:4])
    if name is None:
        raise ModelError(f"{origin} gives file:checksum {text[:12]!r}...; SHA-256 (1220...), SHA-384 or SHA-512 as multihash was expected.")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, name).hexdigest()
    if found != text[4:]:
        raise ModelError(
            f"The weights that {origin} names have the {name} {found[:12]}..., file:checksum says {text[4:16]}...: "
            "they are damaged or were changed. Get them again."
        )
