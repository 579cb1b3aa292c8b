"""A server on loopback that serves files by ranges, and counts."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(slots=True)
class Web:
    """What a server was asked for."""

    address: str
    """Of the folder that it serves."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of each."""
    sent_bytes: int = 0
    """Of all bodies."""
    answers: dict[str, bytes] = field(default_factory=dict)
    """Documents that are no files, by path."""
    signature: str = ""
    """Query without which no file is given out; ``/sign?href=`` answers with it."""

    hiccups: int = 0
    """Requests that are answered with 503 from now on."""
    is_silent: bool = False
    """Whether nothing but the size is told of a file."""
    gets_only: bool = False
    """Whether ``HEAD`` is forbidden, as by addresses that were signed for ``GET``."""
    refusal: int = 404
    """Status of an answer without content."""

    def find(self, folder: Path, target: str) -> bytes | None:
        """What is given out for a path with its query."""
        self.refusal = 503 if self.hiccups else 404
        if self.hiccups:
            self.hiccups -= 1
            return None
        asked = urlsplit(target)
        if self.signature and asked.path == "/sign":
            return json.dumps({"href": f"{parse_qs(asked.query)['href'][0]}?{self.signature}"}).encode()
        path = folder / asked.path.lstrip("/")
        given_out = path.is_file() and self.signature in ("", asked.query)
        return self.answers.get(asked.path) or (path.read_bytes() if given_out else None)


@contextmanager
def serve(folder: Path) -> Iterator[Web]:
    """Serve the files of a folder until the context ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            if web.gets_only:
                self.send_error(403)
            else:
                self._answer(False)

        def do_GET(self) -> None:
            self._answer(True)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer(True)

        def _answer(self, body: bool) -> None:
            web.requests.append((self.command, self.path))
            content = web.find(folder, self.path)
            if content is None:
                self.send_response(web.refusal)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "") if body else None
            start, stop = (int(asked[1]), min(int(asked[2] or len(content) - 1) + 1, len(content))) if asked else (0, len(content))
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("X-None" if web.is_silent else "ETag", f'"{len(content)}-{hash(content)}"')
            self.send_header("Content-Type", "application/geo+json" if content[:1] == b"{" else "application/octet-stream")
            self.send_header("Content-Length", str(stop - start))
            # who reads no more than headers goes on as soon as they are there
            web.sent_bytes += (stop - start) * body
            self.end_headers()
            if body:
                self.wfile.write(content[start:stop])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web = Web(address=f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
