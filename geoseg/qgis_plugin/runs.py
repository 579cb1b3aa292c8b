"""Runs that this QGIS started: remembered by their folders, their state asked of geoseg itself."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qgis.core import QgsSettings

from .answers import CommandError, ask

SETTING = "geoseg/runs"
MOST = 30
"""Runs that are remembered, the last ones."""


@dataclass(frozen=True)
class RunState:
    """What a run folder tells of itself."""

    folder: str
    """The run folder."""
    state: str
    """``running``, ``stopped``, ``finished``, ``foreign`` or ``empty``, as geoseg says; ``gone`` or ``unknown``."""
    chunks_done: int | None = None
    """Chunks that are done."""
    chunks: int | None = None
    """Chunks in all, if they can be counted."""
    note: str = ""
    """Why it stopped, or why its state is unknown."""
    resume: tuple[str, ...] = ()
    """Arguments of the command that goes on; empty if there is none."""


def remembered() -> list[str]:
    """Return the folders of the runs, the newest first."""
    found = QgsSettings().value(SETTING, [])
    return [str(folder) for folder in ([found] if isinstance(found, str) else found or [])]


def remember(folder: str) -> None:
    """Put a run on top of the list."""
    QgsSettings().setValue(SETTING, [folder, *(other for other in remembered() if other != folder)][:MOST])


def forget(folder: str) -> None:
    """Take a run off the list; its files stay."""
    QgsSettings().setValue(SETTING, [other for other in remembered() if other != folder])


def read_states(python: str, folders: Sequence[str], poll: Callable[[], bool], tell: Callable[[RunState], None]) -> None:
    """Ask geoseg for the state of runs, one after the other.

    Args:
        python: Executable of an environment that has geoseg.
        folders: Run folders.
        poll: Says True when nobody waits for the answer any more.
        tell: Takes each state.
    """
    for folder in folders:
        if poll():
            return
        tell(read_state(python, folder, poll))


def read_state(python: str, folder: str, poll: Callable[[], bool]) -> RunState:
    """Ask geoseg for the state of one run."""
    if not Path(folder).is_dir():
        return RunState(folder, "gone")
    try:
        return parse_state(folder, ask(python, ["status", folder, "--json"], poll))
    except CommandError as exc:
        return RunState(folder, "unknown", note=str(exc))


def parse_state(folder: str, told: dict[str, Any]) -> RunState:
    """Turn what ``geoseg status --json`` says into a state."""
    command = shlex.split(told.get("next") or "")
    goes_on = told["state"] == "stopped" or (told["state"] == "finished" and bool(told.get("missing")))
    # an address with a password is not kept: it has to be given again
    can_resume = goes_on and command[:2] == ["geoseg", "segment"] and "RASTER" not in command
    return RunState(
        folder,
        told["state"],
        told.get("chunks_done"),
        told.get("chunks"),
        note=told.get("last_error") or "; ".join(told.get("missing") or ()),
        resume=(*command[1:], "--progress", "json") if can_resume else (),
    )
