"""Names of rasters: files, addresses on the web and in object stores, and what tells that one has changed."""

import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from geoseg.io.files import is_there
from geoseg.redact import redact

_STORES = {"s3": "/vsis3/", "gs": "/vsigs/", "gcs": "/vsigs/", "az": "/vsiaz/", "abfs": "/vsiaz/", "oss": "/vsioss/", "swift": "/vsiswift/"}
"""GDAL's names for object stores; it finds their credentials where their own tools look for them."""
_WEB = ("http://", "https://", "ftp://")
_NETWORK = ("/vsicurl", "/vsis3", "/vsigs", "/vsiaz", "/vsiadls", "/vsioss", "/vsiswift", "/vsihdfs", "/vsiwebhdfs")
_PATIENCE_S = 20
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
    """Return what changes when a raster does: time and size of a file, what a server says of an address; empty if nothing does."""
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
    """Return what a server says that changes with a file: its tag, time and size."""
    try:
        with urlopen(Request(web, method="HEAD"), timeout=_PATIENCE_S) as answer:
            return [answer.headers.get(key, "") for key in ("ETag", "Last-Modified", "Content-Length")]
    except HTTPError:
        pass
    except (URLError, OSError, ValueError):
        return []
    try:
        # signed addresses may be for GET only; nobody reads more than the first byte
        with urlopen(Request(web, headers={"Range": "bytes=0-0"}), timeout=_PATIENCE_S) as answer:
            size = answer.headers.get("Content-Range", "").rpartition("/")[2] or answer.headers.get("Content-Length", "")
            return [answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""), size]
    except (URLError, OSError, ValueError):
        return []


def without_signature(name: str) -> str:
    """Return an address without what signs it, and says for how long: a new signature makes no other raster."""
    start, mark, query = name.partition("?")
    given = [part.partition("=")[0].lower() for part in query.split("&")]
    if "://" not in start or not _SIGNATURES & set(given):
        return name
    kept = [part for part, key in zip(query.split("&"), given, strict=True) if key not in _SIGNING and not key.startswith(_SIGNING_STARTS)]
    return f"{start}{mark if kept else ''}{'&'.join(kept)}"


def checksum_names(names: Iterable[str]) -> str:
    """Return one checksum of many rasters; it changes when one of them does."""
    return sha256("\n".join(identify(name) for name in names).encode("utf-8", "surrogatepass")).hexdigest()


def shorten(names: list[str]) -> str:
    """Say in few words which rasters are meant."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def is_pattern(name: str) -> bool:
    """Tell whether a name stands for several files."""
    return is_plain_file(name) and re.search(r"[*?\[]", name) is not None and not is_there(Path(name))
