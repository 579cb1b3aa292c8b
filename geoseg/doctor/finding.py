"""What an examination finds."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    """Short name, for example ``PROJ data``."""
    state: State
    """``failed`` where geoseg does not work so, ``warning`` where some of it does not or may not."""
    message: str
    """What is there, with versions and numbers."""
    advice: str = ""
    """What to do about it; empty where all is well."""


Look = Callable[[], Iterable[Finding]]
"""Looks at something; whatever it raises is a finding too."""


def ok(name: str, message: str) -> Finding:
    """Return a finding of something that works."""
    return Finding(name=name, state="ok", message=message)


def warning(name: str, message: str, advice: str) -> Finding:
    """Return a finding of something that works in part."""
    return Finding(name=name, state="warning", message=message, advice=advice)


def failed(name: str, message: str, advice: str) -> Finding:
    """Return a finding of something that does not work."""
    return Finding(name=name, state="failed", message=message, advice=advice)


REINSTALL = "Install geoseg anew into an environment of its own: in the folder of its source, pip install --force-reinstall ."
"""No name for an index: geoseg is in none, and who takes its name there decides what is installed."""


def look(name: str, at: Look) -> Iterator[Finding]:
    """Yield what is found, and what looking itself breaks on."""
    try:
        yield from at()
    except Exception as exc:
        yield failed(name, describe_error(exc), REINSTALL)


def describe_error(exc: BaseException) -> str:
    """Return the kind and the first lines of an error."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return f"{type(exc).__name__}: {' '.join(lines[:3])}"
