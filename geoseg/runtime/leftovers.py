"""What a Dask scheduler keeps of tasks that are done, and of clients that are gone, and nobody needs: taken away."""

from contextlib import suppress
from typing import Any

from distributed import SchedulerPlugin

_ABSENT = (AttributeError, LookupError, TypeError)
"""What looking at something raises that another version of Dask keeps elsewhere, or not at all."""


class Sweeping(SchedulerPlugin):
    """Takes away what a scheduler keeps of a session and never looks at again, so that it grows neither with chunks nor with runs.

    While its client is there: Dask's spans hold a dictionary, always the same, for every graph that is submitted. When it has gone,
    also because it was killed: the last thousand events, and plugins, with loaded networks, on workers.

    Args:
        client: Who submits graphs.
        session: Its events; the names of its plugins begin with it.
    """

    def __init__(self, client: str, session: str) -> None:
        self._client = client
        self._session = session
        self.name = f"{session}-sweeping"

    async def start(self, scheduler: Any) -> None:
        """Take the place of the one of a client that lost its connection."""
        with suppress(ValueError):
            scheduler.remove_plugin(self.name)

    def update_graph(self, scheduler: Any, *, client: str, tasks: list[Any], **_about: Any) -> None:
        """Drop the note on a graph if it says what the one before it says."""
        if client != self._client or not tasks:
            return
        with suppress(*_ABSENT):
            span = scheduler.extensions["spans"].spans[scheduler.tasks[tasks[0]].group.span_id]
            notes = span.metadata["collections"]
            if notes[-1] == notes[-2]:
                notes.pop()

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Sweep up behind the client, and go."""
        if client != self._client:
            return
        with suppress(ValueError):
            scheduler.remove_plugin(self.name)
        with suppress(*_ABSENT):
            scheduler._broker.truncate(self._session)
        with suppress(*_ABSENT):
            for name in [name for name in scheduler.worker_plugins if name.startswith(self._session)]:
                scheduler.loop.add_callback(scheduler.unregister_worker_plugin, None, name)
