"""A web server on this machine, in a process of its own, whose files come slowly, and sometimes not at all.

In a process of its own, since GDAL holds the lock of the interpreter while it opens a file.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from geoseg.io.files import write_whole
from tests.soak.command import REPOSITORY

_PIECE_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How a server behaves."""

    pause_s: float = 0.0
    """Wait before each piece of 4 kB."""
    fails_every: int = 0
    """Every so many answers to a request for a piece of a file is an error of the server, or breaks off; 0 fails none."""
    fails_for_ever: bool = False
    """From now on every answer is an error of the server."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server under way."""

    folder: Path
    """Its folder; what it serves lies in ``files``."""
    address: str
    """Where it is."""

    def behave(self, manners: Manners) -> None:
        """Change how it behaves."""
        write_whole(self.folder / "manners.json", json.dumps(asdict(manners)).encode())

    def count_failed(self) -> int:
        """Return how many requests it did not answer as it should."""
        log = self.folder / "failed"
        return log.stat().st_size if log.exists() else 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, folder: Path, *given: object) -> None:
        self._folder = folder
        self._manners = Manners(**json.loads((folder / "manners.json").read_bytes()))
        super().__init__(*given)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self._folder / "files" / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        size, wanted = path.stat().st_size, self.headers.get("Range")
        first, last = 0, size - 1
        if wanted:
            begin, _, end = wanted.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(int(end) if end else last, last)
        fails = with_body and self._fails()
        if fails == "error":
            self.send_error(503)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if with_body:
            self._drip(path.read_bytes()[first : last + 1], breaks_off=fails == "break")

    def _fails(self) -> str:
        # requests come one after the other, as geoseg reads a file from one thread
        self._manners = manners = Manners(**json.loads((self._folder / "manners.json").read_bytes()))
        number = self._note("asked")
        if not (manners.fails_for_ever or (manners.fails_every and number % manners.fails_every == 0)):
            return ""
        return "error" if self._note("failed") % 2 or manners.fails_for_ever else "break"

    def _note(self, name: str) -> int:
        with (self._folder / name).open("ab") as log:
            log.write(b".")
            return log.tell()

    def _drip(self, content: bytes, *, breaks_off: bool) -> None:
        for start in range(0, len(content), _PIECE_BYTES):
            time.sleep(self._manners.pause_s)
            if breaks_off and start >= len(content) // 2:
                self.close_connection = True
                return
            self.wfile.write(content[start : start + _PIECE_BYTES])


@contextmanager
def serve(folder: Path, manners: Manners) -> Iterator[Server]:
    """Serve what lies in ``files`` of a folder."""
    server = Server(folder, "")
    server.behave(manners)
    command = [sys.executable, "-m", "tests.soak.dripping", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        try:
            yield Server(folder, process.stdout.readline().strip())
        finally:
            process.kill()


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, Path(sys.argv[1])))
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
