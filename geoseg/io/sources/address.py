"""Names of rasters: files, addresses on the web and in object stores, and what tells that one has changed."""

import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from hashlib import sha256
from http.client import HTTPException, InvalidURL
from pathlib import Path
from ssl import SSLCertVerificationError
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from geoseg.errors import RunError
from geoseg.io.files import is_there
from geoseg.redact import redact

_STORES = {"s3": "/vsis3/", "gs": "/vsigs/", "gcs": "/vsigs/", "az": "/vsiaz/", "abfs": "/vsiaz/", "oss": "/vsioss/", "swift": "/vsiswift/"}
"""GDAL's names for object stores; it finds their credentials where their own tools look for them."""
_WEB = ("http://", "https://", "ftp://")
_NETWORK = ("/vsicurl", "/vsis3", "/vsigs", "/vsiaz", "/vsiadls", "/vsioss", "/vsiswift", "/vsihdfs", "/vsiwebhdfs")
_PATIENCE_S = 20
_PAUSES_S = (0.5, 2.0)
"""Before a server is asked again, and once more."""
_PASSING = {408, 425, 429, *range(500, 600)} - {501, 505}
"""What servers answer that may answer otherwise a moment later."""
_AT_ONCE = 16
"""Files that servers are asked for at the same time."""
_SIGNATURES = {"sig", "signature", "x-amz-signature", "x-goog-signature"}
_SIGNING = _SIGNATURES | {
    *("st", "se", "sp", "sv", "sr", "spr", "sip", "skoid", "sktid", "skt", "ske", "sks", "skv"),
    *("awsaccesskeyid", "googleaccessid", "expires", "policy", "key-pair-id"),
}
_SIGNING_STARTS = ("x-amz-", "x-goog-")
"""Keys in addresses that Azure, Amazon and Google have signed."""


def gdal_name(name: str) -> str:
    """Return what GDAL calls a raster: ``https://...`` is read by ranges, ``s3://``, ``gs://`` and ``az://`` are object stores."""
    if name.lower().startswith(_WEB):
        return f"/vsicurl/{name}"
    scheme, found, rest = name.partition("://")
    return _STORES[scheme.lower()] + rest if found and scheme.lower() in _STORES else name


def is_remote(name: str) -> bool:
    """Tell whether a raster is read over a network."""
    return gdal_name(name).startswith(_NETWORK)


def is_plain_file(name: str) -> bool:
    """Tell whether a name is one of a file, and no address or connection string."""
    return "://" not in name and not name.startswith("/vsi") and ":" not in Path(name).name


def identify(name: str) -> str:
    """Return what changes when a raster does: its name, time and size of a file, what a server says of an address.

    Raises:
        RunError: If the server cannot be asked.
    """
    path = Path(name)
    if is_there(path):
        found = path.stat()
        return f"{path.absolute()} {found.st_size} {found.st_mtime_ns}"
    web = gdal_name(name).removeprefix("/vsicurl/")
    plain = without_signature(name)
    if not web.lower().startswith(("http://", "https://")):
        return redact(plain)
    return " ".join((redact(plain), *_ask_server(web)))


def _ask_server(web: str) -> list[str]:
    """Return what a server says that changes with a file: its tag, time and size; nothing if it tells nobody but GDAL.

    Raises:
        RunError: If it gives no answer.
    """
    failure: Exception | None = None
    # signed addresses may be for GET only; nobody reads more than the first byte
    for request in (Request(web, method="HEAD"), Request(web, headers={"Range": "bytes=0-0"})):
        try:
            said = _ask(request)
        except (OSError, HTTPException, ValueError) as exc:
            failure = exc
        else:
            size = said.get("Content-Range", "").rpartition("/")[2] or said.get("Content-Length", "")
            return [said.get("ETag", ""), said.get("Last-Modified", ""), size]
    if failure is not None and _may_pass(failure):
        raise RunError(
            f"The server of {without_signature(web)} could not be asked whether the raster has changed: {failure}. Check the network and, "
            "if there is a proxy, https_proxy; the same command again goes on."
        ) from failure
    return []


def _ask(request: Request) -> Message:
    """Return the headers of an answer; where another try may help, there are some, with pauses."""
    for pause_s in _PAUSES_S:
        try:
            return _ask_once(request)
        except (OSError, HTTPException) as exc:
            if not _may_pass(exc):
                raise
        time.sleep(pause_s)
    return _ask_once(request)


def _ask_once(request: Request) -> Message:
    try:
        with urlopen(request, timeout=_PATIENCE_S) as answer:
            headers: Message = answer.headers
            return headers
    except HTTPError as exc:
        exc.close()
        raise


def _may_pass(failure: Exception) -> bool:
    """Tell whether a failure may be one of the moment: refusals, and certificates that are not trusted, stay as they are."""
    if isinstance(failure, HTTPError):
        return failure.code in _PASSING
    if isinstance(failure, URLError):
        return not isinstance(failure.reason, SSLCertVerificationError)
    return not isinstance(failure, InvalidURL | ValueError)


def without_signature(name: str) -> str:
    """Return an address without what signs it, and says for how long: a new signature makes no other raster."""
    start, mark, query = name.partition("?")
    given = [part.partition("=")[0].lower() for part in query.split("&")]
    if "://" not in start or not _SIGNATURES & set(given):
        return name
    kept = [part for part, key in zip(query.split("&"), given, strict=True) if key not in _SIGNING and not key.startswith(_SIGNING_STARTS)]
    return f"{start}{mark if kept else ''}{'&'.join(kept)}"


def checksum_names(names: Iterable[str]) -> str:
    """Return one checksum of many rasters; it changes when one of them does.

    Raises:
        RunError: If a server cannot be asked.
    """
    return sha256("\n".join(_identify_all(list(names))).encode("utf-8", "surrogatepass")).hexdigest()


def _identify_all(names: list[str]) -> list[str]:
    if not any(map(is_remote, names)):
        return [identify(name) for name in names]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(identify, names))


def shorten(names: list[str]) -> str:
    """Say in few words which rasters are meant."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def is_pattern(name: str) -> bool:
    """Tell whether a name stands for several files."""
    return is_plain_file(name) and re.search(r"[*?\[]", name) is not None and not is_there(Path(name))
