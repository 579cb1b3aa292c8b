"""Addresses that a catalog lets nobody read before they are signed."""

import json
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from geoseg.errors import RasterError
from geoseg.plugins import SIGNERS, load_plugin
from geoseg.redact import redact

_WEB = ("http://", "https://")
_PATIENCE_S = 20


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
    signed = _ask(href, signer) if signer.lower().startswith(_WEB) else str(load_plugin(SIGNERS, signer)(href))
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
    except (URLError, OSError, ValueError, KeyError, TypeError) as exc:
        raise RasterError(
            f"{service} could not be asked to sign {redact(href)}: {type(exc).__name__} {exc}. Expected an answer such as "
            '{"href": "https://..."}; check --stac-sign and the network.'
        ) from exc
