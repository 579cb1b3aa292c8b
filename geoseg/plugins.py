"""What others add to geoseg: objects that installed packages name as entry points, loaded when they are asked for by name."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from geoseg.errors import ConfigError

MODELS = "geoseg.models"
"""Group of functions ``load(package, execution) -> Predictor``; see :class:`geoseg.model.load.LoadModel`."""
DECODERS = "geoseg.decoders"
"""Group of functions that turn a detector's outputs into masks; see :class:`geoseg.model.detector.Decode`."""
SIGNERS = "geoseg.signers"
"""Group of functions ``sign(href) -> href``; see :func:`geoseg.io.sources.signing.sign_address`."""
WRITERS = "geoseg.writers"
"""Group of functions that write an output of a run."""


def plugin_names(group: str) -> tuple[str, ...]:
    """Return the names that installed packages add to a group, sorted; nothing of theirs is loaded."""
    return tuple(sorted({entry.name for entry in entry_points(group=group)}))


def load_plugin(group: str, name: str) -> Any:
    """Load what an installed package adds to a group.

    Args:
        group: For example ``geoseg.models``.
        name: Name of the entry point.

    Raises:
        ConfigError: If no package adds such a name, two packages do, or the object that it names cannot be loaded or called.
    """
    entries = tuple(entry_points(group=group, name=name))
    if not entries:
        there = ", ".join(plugin_names(group)) or "none"
        raise ConfigError(f"No installed package adds '{name}' to {group} (there are: {there}). Install the package that does.")
    origins = sorted({f"{_origin(entry)} ({entry.value})" for entry in entries})
    if len(origins) > 1:
        raise ConfigError(f"{len(origins)} packages add '{name}' to {group}: {', '.join(origins)}. Uninstall all but one.")
    try:
        loaded = entries[0].load()
    except Exception as exc:  # code of others may raise anything
        raise ConfigError(
            f"'{name}' of {group}, from {origins[0]}, cannot be loaded: {type(exc).__name__}: {exc}. Repair that package."
        ) from exc
    if not callable(loaded):
        raise ConfigError(f"'{name}' of {group}, from {origins[0]}, is a {type(loaded).__name__}; something to call was expected.")
    return loaded


def _origin(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "an unnamed package"
