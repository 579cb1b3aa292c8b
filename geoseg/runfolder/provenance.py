"""What a result comes from: the run's id, the versions that made it, and the checksums of its files."""

import hashlib
import json
import platform
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import rasterio

from geoseg import __version__
from geoseg.config import RESULT_DEFAULTS
from geoseg.model.package import hash_file
from geoseg.redact import redact_all

ID_LENGTH = 16
"""Hex digits of a run's id."""
_LIBRARIES = ("numpy", "rasterio", "shapely")


def identify_run(fingerprint: dict[str, Any]) -> str:
    """Return the id of a run: a hash of everything that decides its result, so that equal ids mean equal results.

    Args:
        fingerprint: Options, checksum of the model and identity of the raster; values that are None count as missing.
    """
    text = json.dumps(_without_none(redact_all(fingerprint)), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:ID_LENGTH]


def list_versions(*more: str) -> dict[str, str]:
    """Return the versions of geoseg, Python, GDAL and its libraries, and of further ones that are installed."""
    versions = {"geoseg": __version__, "python": platform.python_version(), "gdal": rasterio.__gdal_version__}
    for name in (*_LIBRARIES, *more):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def checksum_files(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return size and SHA-256 of files and folders by name, as STAC's file extension writes them.

    Raises:
        OSError: If one cannot be read.
    """
    # hashing leaves the interpreter's lock
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda path: (path.name, *measure_product(path)), sorted(paths)))
    return {name: {"file:size": size, "file:checksum": f"1220{digest}"} for name, size, digest in found}


def measure_product(path: Path) -> tuple[int, str]:
    """Return size and SHA-256 of a file; of a folder those of all its files, the hash being that of a list of them.

    The list is that of ``sha256sum``: hash, two spaces, path from the folder, sorted by path as bytes.

    Raises:
        OSError: If something cannot be read.
    """
    if not path.is_dir():
        return path.stat().st_size, hash_file(path)
    files = sorted((str(file.relative_to(path)).encode(), file) for file in path.rglob("*") if file.is_file())
    lines = b"".join(hash_file(file).encode() + b"  " + name + b"\n" for name, file in files)
    return sum(file.stat().st_size for _, file in files), hashlib.sha256(lines).hexdigest()


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_without_none(inner) for inner in value]
    return value


def find_differences(earlier: dict[str, Any], now: dict[str, Any], *, recorded_only: bool = False) -> list[str]:
    """Say which values of a fingerprint are not what they were, by dotted name.

    What only the earlier one has counts where a fingerprint leaves it out at its default, and not where versions no longer know it.

    Args:
        earlier: The fingerprint that was recorded.
        now: What is compared with it.
        recorded_only: Leave out what was not recorded, such as options that a later version added.
    """
    before, after = _flatten(earlier), _flatten(now)
    compared = {key: value for key, value in after.items() if key in before or not recorded_only}
    left_out = {key: default for key, default in _flatten(RESULT_DEFAULTS).items() if key in before and key not in after}
    return [
        f"{key} was {before.get(key)!r}, is now {'the default' if key in left_out else repr(value)}"
        for key, value in (compared | left_out).items()
        if value != before.get(key)
    ]


def _flatten(table: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Return plain values by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{path}{key}.")
        else:
            flat[f"{path}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat
