"""Addresses that a catalog lets nobody read before they are signed, and only for some time."""

import json
import math
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from http.client import HTTPException
from threading import Lock
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qs, quote, urlsplit
from urllib.request import Request, urlopen

from geoseg.errors import RasterError
from geoseg.plugins import SIGNERS, load_plugin
from geoseg.redact import redact

_WEB = ("http://", "https://")
_PATIENCE_S = 20
_MARGIN_S = 120
"""How long before its end a signature is renewed; a read that begins before should be over by then."""
_UNTOLD_S = 600
"""How long a signature is used that does not say how long it holds, or by this clock did not hold when it was made."""
_AGAIN_S = 20
"""How long a signature is used further whose renewal failed; most hold somewhat longer."""
_MANY = 1000
"""Signatures from which those that are over are looked for."""


@dataclass(frozen=True, slots=True)
class Signed:
    """An address that may be read for some time."""

    address: str
    """With its signature."""
    renew_at: float
    """Unix time from which another one is to be used, in seconds."""

    @property
    def is_fresh(self) -> bool:
        """Whether reading may begin with it now."""
        return time.time() < self.renew_at


class _Signatures:
    """The signatures of this process; nobody is asked twice for one that still holds."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], Signed] = {}
        self._many = _MANY
        self._lock = Lock()

    def get(self, href: str, signer: str) -> Signed:
        with self._lock:
            held = self._held.get((href, signer))
        if held is not None and held.is_fresh:
            return held
        try:
            address = sign_address(href, signer)
            signed = Signed(address, _renewal(address))
        except RasterError:
            if held is None:
                raise
            signed = Signed(held.address, time.time() + _AGAIN_S)
        with self._lock:
            self._held[href, signer] = signed
            if len(self._held) > self._many:
                self._forget(time.time() - _MARGIN_S)
        return signed

    def _forget(self, moment: float) -> None:
        """Let go what was to be renewed before a moment; looked for as seldom as keeps many assets from being gone through for each."""
        self._held = {key: signed for key, signed in self._held.items() if signed.renew_at > moment}
        self._many = max(_MANY, 2 * len(self._held))

    def drop(self, signer: str) -> None:
        with self._lock:
            self._held = {key: signed for key, signed in self._held.items() if key[1] != signer}


_SIGNATURES = _Signatures()


def hold_signature(href: str, signer: str) -> Signed:
    """Sign an address, or return the signature that it has got in this process as long as that holds; see :func:`sign_address`."""
    return _SIGNATURES.get(href, signer)


def drop_signatures(signer: str) -> None:
    """Have addresses signed anew when they are next used: with a signature that one has got, it could not be read."""
    _SIGNATURES.drop(signer)


def sign_address(href: str, signer: str) -> str:
    """Sign an address on the web; others, such as ``s3://``, have credentials of their own and stay as they are.

    Args:
        href: Where an asset lies.
        signer: Address of a service that is asked with ``?href=`` and answers ``{"href": ...}``, as
            ``https://planetarycomputer.microsoft.com/api/sas/v1/sign`` does; or the name of an entry point of ``geoseg.signers``.

    Returns:
        The same address with a signature in its query.

    Raises:
        RasterError: If the service refuses, cannot be reached, or answers with another place.
        ConfigError: If there is no such plugin.
    """
    if not href.lower().startswith(_WEB):
        return href
    signed = _ask(href, signer) if signer.lower().startswith(_WEB) else _have_signed(href, signer)
    if urlsplit(signed)._replace(query="", fragment="") != urlsplit(href)._replace(query="", fragment=""):
        raise RasterError(
            f"{signer} was asked to sign {redact(href)} and answered with another place, {redact(signed)[:200]}. Only the part after ? "
            "may differ; check the address of the service."
        )
    return signed


def _ask(href: str, service: str) -> str:
    address = f"{service}{'&' if '?' in service else '?'}href={quote(href, safe='')}"
    try:
        with urlopen(Request(address, headers={"Accept": "application/json"}), timeout=_PATIENCE_S) as answer:
            return str(json.loads(answer.read())["href"])
    except HTTPError as exc:
        raise RasterError(f"{service} does not sign {redact(href)}: {exc.code} {exc.reason}. Check --stac-sign.") from exc
    except (URLError, OSError, HTTPException, ValueError, KeyError, TypeError) as exc:
        raise RasterError(
            f"{service} could not be asked to sign {redact(href)}: {type(exc).__name__} {exc}. Expected an answer such as "
            '{"href": "https://..."}; check --stac-sign and the network.'
        ) from exc


def _have_signed(href: str, plugin: str) -> str:
    sign = _load_signer(plugin)
    try:
        return str(sign(href))
    except Exception as exc:  # code of others may raise anything
        raise RasterError(
            f"'{plugin}' could not sign {redact(href)}: {type(exc).__name__}: {exc}. Check what that package needs, and the network."
        ) from exc


@cache
def _load_signer(plugin: str) -> Any:
    """Load a plugin once: looking through all installed packages for it takes longer than many a signature."""
    return load_plugin(SIGNERS, plugin)


def _renewal(address: str) -> float:
    """Return when a signature is to be renewed, in Unix time."""
    now, ends = time.time(), float("nan")
    with suppress(ValueError, OverflowError):
        ends = _told_end({key.lower(): values[-1] for key, values in parse_qs(urlsplit(address).query).items()})
    # one that is over at birth tells of a clock that is wrong, here or there
    if not math.isfinite(ends) or ends <= now:
        return now + _UNTOLD_S
    # one for less time than the margin is used for half of that
    return max(ends - _MARGIN_S, now + (ends - now) / 2)


def _told_end(query: dict[str, str]) -> float:
    """Return when a signature ends, by what Azure, CloudFront, Amazon and Google write into addresses; NaN if it does not say."""
    if "se" in query:
        return _unix_time(query["se"])
    for vendor in ("x-amz", "x-goog"):
        if f"{vendor}-expires" in query and f"{vendor}-date" in query:
            return _unix_time(query[f"{vendor}-date"]) + float(query[f"{vendor}-expires"])
    return float(query.get("expires", "nan"))


def _unix_time(told: str) -> float:
    """Read a time as ISO 8601 has it; without a zone it is in UTC."""
    moment = datetime.fromisoformat(told)
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
