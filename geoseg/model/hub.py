"""Networks of the Hugging Face hub, as files: the configuration, safetensors, and a sheet; nothing that can hold code."""

import re
from pathlib import Path

from geoseg.errors import MissingFileError, UsageError

_NAME = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_FILES = ("config.json", "model.safetensors", "geoseg.toml", "geoseg.json")


def is_hub_name(name: str) -> bool:
    """Tell whether a name is meant for the hub: ``hf:ORG/NAME`` or ``hf:ORG/NAME@REVISION``."""
    return name.startswith("hf:")


def fetch_hub(name: str, cache: Path | None = None) -> Path:
    """Fetch a network's files, or take them from the hub's own cache on this machine where it holds them.

    Without a connection (or with ``HF_HUB_OFFLINE=1``) only the cache is asked.

    Args:
        name: ``hf:ORG/NAME`` or ``hf:ORG/NAME@REVISION``.
        cache: The hub's cache; None takes its usual one.

    Returns:
        The folder that holds them.

    Raises:
        UsageError: If the name is none, or huggingface_hub is not installed.
        MissingFileError: If there is no such network, or it cannot be had.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UsageError(f"{name} names no model of the hub; hf:ORG/NAME or hf:ORG/NAME@REVISION was expected.")
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as exc:
        raise UsageError(f"Models of the hub need {exc.name}: pip install huggingface_hub.") from exc
    try:
        return Path(snapshot_download(match["repository"], revision=match["revision"], cache_dir=cache, allow_patterns=list(_FILES)))
    except Exception as exc:  # the hub's errors share no public base with those of what it is reached by
        reason = " ".join(str(exc).split())[:300]
        raise MissingFileError(f"{name} cannot be had from the Hugging Face hub or its cache on this machine: {reason}") from exc
