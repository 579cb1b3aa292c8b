"""What a command of geoseg answers with ``--json``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from .runner import LINE, OnEvent, Result, Runner


class CommandError(RuntimeError):
    """A command of geoseg failed; the message is what it said."""


def carry_out(python: str, arguments: Sequence[str], on_event: OnEvent, poll: Callable[[], bool] | None = None) -> Result:
    """Run a command to its end.

    Args:
        python: Executable of an environment that has geoseg.
        arguments: Of the command line.
        on_event: Takes each event, in this thread.
        poll: Asked ten times a second; the command is ended when it says True.

    Raises:
        NotStartedError: If the environment cannot be used.
        CommandError: If the command failed.
    """
    result = Runner(python).start(arguments, on_event).wait(poll)
    if result.error_text:
        raise CommandError(result.error_text)
    return result


def ask(python: str, arguments: Sequence[str], poll: Callable[[], bool] | None = None) -> Any:
    """Run a command and return the JSON that it printed.

    Args:
        python: Executable of an environment that has geoseg.
        arguments: Of the command line, ``--json`` among them.
        poll: Asked ten times a second; the command is ended when it says True.

    Raises:
        NotStartedError: If the environment cannot be used.
        CommandError: If the command failed, was ended, or printed something else.
    """
    printed: list[str] = []

    def hear(event: dict[str, Any]) -> None:
        if event["event"] == LINE and event["stream"] == "stdout":
            printed.append(event["text"])

    if carry_out(python, arguments, hear, poll).cancelled:
        raise CommandError("It was cancelled.")
    try:
        return json.loads("\n".join(printed))
    except ValueError:
        raise CommandError(
            f"'geoseg {' '.join(arguments)}' of {python} did not print JSON but: {' '.join(printed)[:200]}. Install geoseg there anew."
        ) from None
