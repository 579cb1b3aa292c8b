"""What a run folder tells of its run: ``run.toml``, ``summary.json`` and ``item.json``, read and checked."""

import json
import tomllib
from pathlib import Path
from typing import Any

from geoseg import __version__
from geoseg.config import RunConfig, to_toml
from geoseg.errors import RunFolderError
from geoseg.redact import redact_all

_KINDS: dict[str, type] = {
    **dict.fromkeys(("classes", "missing", "warnings"), list),
    **dict.fromkeys(("counts", "timing_s", "source", "model", "tiles"), dict),
}
"""What stands in a summary, if it does."""


def read_record(path: Path) -> dict[str, Any]:
    """Return what ``run.toml`` holds.

    Raises:
        RunFolderError: If it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, OSError) as exc:
        raise RunFolderError(f"{path} could not be read: {exc}. Choose another -o, or start over with --overwrite.") from exc


def read_summary(path: Path) -> dict[str, Any]:
    """Return what ``summary.json`` holds.

    Raises:
        RunFolderError: If there is none, or it cannot be read.
    """
    if not path.exists():
        raise RunFolderError(f"The run in {path.parent} is not finished: there is no {path.name}. geoseg segment goes on with it.")
    try:
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = {"classes", "counts", "timing_s"} - summary.keys()
    except (ValueError, AttributeError, RecursionError, OSError) as exc:
        raise RunFolderError(f"{path} could not be read: {exc}. Make the run again with --overwrite.") from exc
    if missing:
        raise RunFolderError(f"{path} lacks {', '.join(sorted(missing))}. Make the run again with --overwrite.")
    odd = [name for name, kind in _KINDS.items() if not isinstance(summary.get(name, kind()), kind)]
    if not odd:
        are_rows = all(isinstance(row, dict) and "value" in row and _is_number(row.get("area_m2", 0)) for row in summary["classes"])
        odd += [] if are_rows else ["classes"]
        odd += [] if all(map(_is_number, summary["timing_s"].values())) else ["timing_s"]
        odd += [] if all(map(_is_chunk, summary.get("missing", ()))) else ["missing"]
    if odd:
        raise RunFolderError(f"{path} is damaged: what stands under {', '.join(odd)} is no summary's. Make the run again with --overwrite.")
    return summary


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _is_chunk(row: object) -> bool:
    if not isinstance(row, dict) or not {"chunk", "window", "error"} <= row.keys():
        return False
    window = row["window"]
    return isinstance(window, list) and len(window) == 4 and all(isinstance(number, int) for number in window)


def is_refining(path: Path) -> bool:
    """Tell whether a summary is that of a first map, which stands until its run is finished; one that cannot be read is not."""
    try:
        quick = json.loads(path.read_bytes())["quick"]
        return bool(quick["state"] == "refining")
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def read_item(path: Path) -> dict[str, Any]:
    """Return what ``item.json`` holds.

    Raises:
        RunFolderError: If there is none, or it cannot be read.
    """
    try:
        item = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as exc:
        raise RunFolderError(f"{path} could not be read: {exc}. Make the run again with --overwrite.") from exc
    if not isinstance(item, dict) or not isinstance(item.get("assets"), dict):
        raise RunFolderError(f"{path} is no STAC Item with assets. Make the run again with --overwrite.")
    return item


def describe_missing(chunk: dict[str, Any]) -> str:
    """Say of a chunk that a finished run lacks where it is, and why it is not there."""
    col, row, width, height = chunk["window"]
    return f"chunk {chunk['chunk']} (columns {col}-{col + width}, rows {row}-{row + height}): {chunk['error']}"


def describe_config(config: RunConfig, fingerprint: dict[str, Any]) -> bytes:
    """Write ``run.toml``; secrets in addresses are hidden."""
    table = {"geoseg_version": __version__, "run": config.model_dump(mode="json"), "fingerprint": fingerprint}
    return to_toml(redact_all(table)).encode()
