"""Who may ask the server of a map, and what a browser may do with the answers."""

import hmac
from collections.abc import Collection
from hashlib import sha256
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
"""Names under which only programs of this machine reach it."""
_LONGEST_PATH = 1000
"""What a page asks for is shorter; numbers of thousands of digits are none."""
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """Lets only those through who name the server as it is called, come from its own page, and know its token.

    A page from elsewhere that has its name resolve to this machine (DNS rebinding) still names itself as the host; one that embeds
    tiles is told apart by what browsers say of where a request comes from.

    Args:
        app: What is guarded.
        hosts: Names under which it may be asked for; None takes any, which needs a token.
        token: What has to be known, once in the address, then in a cookie; None lets everybody in.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None = LOCAL_HOSTS, token: str | None = None) -> None:
        self._app, self._token = app, token
        self._hosts = None if hosts is None else {host.lower() for host in hosts}
        self._cookie = f"geoseg_{sha256((token or '').encode()).hexdigest()[:12]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the app do so."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refuse(scope)
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refuse(self, scope: Scope) -> Response | None:
        """Return the answer to those who may not pass, or who just brought the token."""
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if len(scope["path"]) > _LONGEST_PATH:
            return PlainTextResponse("There is no such address.", 414)
        if self._hosts is not None and _without_port(host) not in self._hosts:
            return PlainTextResponse(f"This map answers under {', '.join(sorted(self._hosts))} only.", 421)
        if _is_foreign(headers, host, scope["method"], scope["path"]):
            return PlainTextResponse("This map answers its own page only.", 403)
        return self._check_token(headers, scope) if self._token is not None else None

    def _check_token(self, headers: Headers, scope: Scope) -> Response | None:
        assert self._token is not None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if _equal(given, self._token) and scope["path"] == "/":
            # out of the address, so that it stands in no history and no screenshot
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            return answer
        known = cookie_parser(headers.get("cookie", "")).get(self._cookie, "")
        if _equal(known, self._token) or _equal(given, self._token):
            return None
        return PlainTextResponse("This map needs the token that stands in the address which geoseg view printed.", 401)


def _equal(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _is_foreign(headers: Headers, host: str, method: str, path: str) -> bool:
    """Tell whether a request comes from a page of somebody else."""
    if path != "/" and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return True
    origin = headers.get("origin")
    return method not in ("GET", "HEAD") and origin is not None and urlsplit(origin).netloc.lower() != host
