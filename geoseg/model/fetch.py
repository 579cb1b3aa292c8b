"""Files from elsewhere, fetched whole, with a limit and a checksum."""

import hashlib
import re
import urllib.request
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from geoseg.errors import GeosegError, MissingFileError, ModelError, UsageError

LARGEST_BYTES = 8 * 1024**3
"""Larger files are no segmentation model."""
_ADDRESS = re.compile(r"(https?|s3|gs|gcs|az|abfs)://", re.IGNORECASE)
_TIMEOUT_S = 60
_BLOCK_BYTES = 1 << 20
_HASHES = {"1220": "sha256", "1340": "sha512", "1330": "sha384"}
"""Multihash codes with the length that follows them."""


def is_address(name: str) -> bool:
    """Tell whether a name is an address on the web or in an object store."""
    return _ADDRESS.match(name) is not None


def fetch_file(address: str, folder: Path) -> Path:
    """Fetch a file into a folder, under the last part of its address.

    Args:
        address: ``http(s)://``, read by Python itself; ``s3://``, ``gs://``, ``az://``, read through fsspec with the usual credentials.
        folder: Takes it.

    Raises:
        MissingFileError: If there is nothing, nobody answers, or the file breaks off.
        ModelError: If it is larger than 8 GiB.
        UsageError: If the library for such addresses is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        target = folder / (PurePosixPath(urlsplit(address).path).name or "model")
        with _open(address) as stream, target.open("wb") as out:
            taken, told = 0, getattr(stream, "length", None)
            while block := stream.read(_BLOCK_BYTES):
                taken += len(block)
                if taken > LARGEST_BYTES:
                    raise ModelError(f"{address} has more than {LARGEST_BYTES / 1e9:.1f} GB, which no segmentation model has.")
                out.write(block)
            if told is not None and taken != told:
                raise MissingFileError(f"{address} broke off after {taken} of {told} bytes. Try again.")
    except Exception as exc:  # what the web and the libraries of object stores raise shares no base
        if isinstance(exc, GeosegError):
            raise
        raise MissingFileError(f"{address} cannot be fetched: {exc}. Check the address and the connection.") from exc
    return target


def _open(address: str) -> Any:
    if urlsplit(address).scheme.lower() in ("http", "https"):
        return urllib.request.urlopen(address, timeout=_TIMEOUT_S)
    try:
        import fsspec

        return fsspec.open(address, "rb").open()
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
