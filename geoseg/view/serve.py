"""A map on this machine: a port, a browser, and an end with Ctrl-C."""

import ipaddress
import os
import secrets
import signal
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from geoseg.errors import UsageError
from geoseg.view.guard import LOCAL_HOSTS

FIRST_PORT = 8765
"""Tried first where no port is asked for, so that bookmarks go on to work."""
_GRACE_S = 1
"""What requests that are under way may take when the server ends."""


def is_local(host: str) -> bool:
    """Tell whether only programs of this machine reach a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def make_token(host: str) -> str | None:
    """Return a token that nobody guesses for a host that others reach, none for one that only this machine reaches."""
    return None if is_local(host) else secrets.token_urlsafe(24)


def allowed_hosts(host: str) -> tuple[str, ...] | None:
    """Return the names under which a server on a host may be asked for; None for one on all addresses of the machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return (*LOCAL_HOSTS, host)
    if address.is_unspecified:
        return None
    return (*LOCAL_HOSTS, f"[{address}]" if address.version == 6 else str(address))


def bind(host: str, port: int | None) -> socket.socket:
    """Take a port.

    Args:
        host: Address or name.
        port: None takes a usual one, or a free one if that is taken; 0 takes a free one.

    Raises:
        UsageError: If it cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as exc:
        raise UsageError(f"There is no host {host!r}: {exc}. Leave --host out to show the map on this machine only.") from exc
    for tried in (FIRST_PORT, 0) if port is None else (port,):
        taken = socket.socket(family, socket.SOCK_STREAM)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((address[0], tried))
        except (OSError, OverflowError) as exc:
            taken.close()
            fault = exc
            continue
        taken.listen(128)
        return taken
    raise UsageError(f"Port {port} of {host} cannot be had: {fault}. Choose another --port, or 0 for a free one.")


def describe_address(host: str, port: int, token: str | None) -> str:
    """Return what a browser of this machine opens."""
    return _address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port, token)


def describe_elsewhere(host: str, port: int, token: str | None) -> str | None:
    """Return what browsers of other machines open where all of them are let in; None where that is no other address."""
    families = {"0.0.0.0": (socket.AF_INET, "192.0.2.1"), "::": (socket.AF_INET6, "2001:db8::1")}
    if host not in families:
        return None
    family, anywhere = families[host]
    try:
        # nothing is sent: the system only says from where it would be
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((anywhere, 9))
            name = str(asking.getsockname()[0])
    except OSError:
        name = socket.gethostname()
    return _address(name, port, token)


def _address(name: str, port: int, token: str | None) -> str:
    return f"http://{f'[{name}]' if ':' in name else name}:{port}/" + (f"?token={token}" if token else "")


def serve(app: Starlette, taken: socket.socket, on_ready: Callable[[], None]) -> None:
    """Answer until Ctrl-C.

    Args:
        app: The map.
        taken: The port.
        on_ready: Called once the first request would be answered.

    Raises:
        KeyboardInterrupt: When it was stopped so.
        GeosegError: If what the map needs cannot be had, as the folder that another map works in.
    """
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=_GRACE_S, ws="none")
    server = _MapServer(config, app)

    def tell() -> None:
        while not server.started:
            time.sleep(0.02)
        on_ready()

    threading.Thread(target=tell, name="ready", daemon=True).start()
    with taken:
        server.run(sockets=[taken])
    if server.is_stopped:
        raise KeyboardInterrupt


class _MapServer(uvicorn.Server):
    """Begins and ends the app's work by itself: what it cannot begin with is an error, and not a traceback in a log."""

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._map, self._stack = app, AsyncExitStack()
        self.is_stopped = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # not sent again in the end, as uvicorn does: a second Ctrl-C ends the process in the middle of that
        self.force_exit = self.should_exit
        self.should_exit = self.is_stopped = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._stack.enter_async_context(self._map.router.lifespan_context(self._map))
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        await self._stack.aclose()


def end_with_input() -> None:
    """End this process, as a first Ctrl-C would, when standard input ends: it lasts as long as whoever holds its other end."""

    def follow() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, name="input", daemon=True).start()


def open_browser(address: str) -> None:
    """Open a page in the browser of whoever sits at this machine; without one, the address that was printed has to do."""
    webbrowser.open(address)
