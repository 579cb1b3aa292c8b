"""Imagery by its description: STAC items, collections of items, and searches for them.

The assets that hold the wanted bands are opened where they lie; nothing is downloaded first.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError
from urllib.parse import parse_qs, urljoin, urlsplit
from urllib.request import urlopen

from geoseg.errors import GeosegError, MissingFileError, RasterError, UsageError
from geoseg.io.files import is_there
from geoseg.io.sources.address import is_remote
from geoseg.io.sources.bands import Names, common_name
from geoseg.io.sources.dataset import RasterOptions
from geoseg.io.sources.imagery import FileImagery, describe_file
from geoseg.io.sources.stack import Stack, stack_imagery

_ENDINGS = (".json", ".geojson")
_WEB = ("http://", "https://")
_NOT_IMAGERY = {"thumbnail", "overview", "metadata", "visual"}
"""Roles of assets that are pictures of the imagery, or words about it."""
_INVALID = (AttributeError, KeyError, TypeError, ValueError)
"""What numbers where tables belong, and the like, end in."""
_PATIENCE_S = 60
_COLORS = 3
_MOST_ITEMS = 10_000
_ASKED = {"collections", "ids", "bbox", "datetime", "cloud_cover", "limit"}
"""What the address of a search may ask for."""


def is_stac(name: str) -> bool:
    """Tell whether a name is one of STAC items: a JSON file, ``.../items`` or ``.../search?...`` on the web, one item with ``#id``."""
    plain = name.partition("#")[0]
    if plain.lower().startswith(_WEB):
        path = urlsplit(plain).path.rstrip("/")
        return path.lower().endswith((*_ENDINGS, "/search", "/items")) or "/items/" in path
    return plain.lower().endswith(_ENDINGS)


def describe_items(name: str, wanted: Sequence[str], options: RasterOptions) -> list[FileImagery | Stack]:
    """Check items and the assets of theirs that hold the wanted bands.

    Args:
        name: See :func:`is_stac`.
        wanted: Names or common names of bands; empty takes the only asset that is imagery.
        options: How assets are opened.

    Returns:
        One imagery for each item: its bands in the order of its assets.

    Raises:
        MissingFileError: If there is no such file.
        RasterError: If there is no item, or one lacks a band.
    """
    try:
        items = read_items(name)
        if not items:
            raise RasterError(f"{name} holds no item. Check dates, box, collections and cloud cover of the search.")
        return [_describe_item(item, base, wanted, options) for item, base in items]
    except GeosegError:
        raise
    except _INVALID as exc:
        raise _refuse(name, exc) from exc


def read_items(name: str) -> list[tuple[dict[str, Any], str]]:
    """Return items as they are written, with what their relative addresses start from.

    Raises:
        MissingFileError: If there is no such file.
        RasterError: If it cannot be read, or is not STAC.
    """
    try:
        return list(_read_each(name))
    except GeosegError:
        raise
    except _INVALID as exc:
        raise _refuse(name, exc) from exc


def _refuse(name: str, exc: Exception) -> RasterError:
    return RasterError(f"{name} is no valid STAC: {exc}. Check it with a STAC validator.")


def _read_each(name: str) -> Iterator[tuple[dict[str, Any], str]]:
    plain, _, wanted_id = name.partition("#")
    path = urlsplit(plain).path.rstrip("/")
    if plain.lower().startswith(_WEB) and path.endswith("/search"):
        found: list[dict[str, Any]] = _search(plain)
    else:
        found = _read_pages(plain)
    for item in found:
        if item.get("type") != "Feature" or not isinstance(item.get("assets"), dict):
            raise RasterError(f"{name} holds no STAC item: expected a Feature with assets, or a FeatureCollection of them.")
        if not wanted_id or str(item.get("id")) == wanted_id:
            yield item, _self_of(item, plain)


def _read_pages(name: str) -> list[dict[str, Any]]:
    """Read an item, or a collection of items; a server gives out large ones page by page."""
    table = _read_json(name)
    if table.get("type") != "FeatureCollection":
        return [table]
    found, seen = list(table.get("features") or ()), {name}
    while name.lower().startswith(_WEB) and len(found) < _MOST_ITEMS:
        following = [urljoin(name, str(link.get("href"))) for link in table.get("links") or () if link.get("rel") == "next"]
        if not following or following[0] in seen:
            break
        name = following[0]
        seen.add(name)
        table = _read_json(name)
        found += table.get("features") or ()
    return found[:_MOST_ITEMS]


def _self_of(item: dict[str, Any], read_from: str) -> str:
    """Return the address that the relative ones of an item start from; one on the web never starts on this machine."""
    links = [link.get("href", "") for link in item.get("links") or () if link.get("rel") == "self"]
    return str(links[0]) if links and str(links[0]).lower().startswith(_WEB) else read_from


def _read_json(name: str) -> dict[str, Any]:
    try:
        if name.lower().startswith(_WEB):
            with urlopen(name, timeout=_PATIENCE_S) as answer:
                table = json.loads(answer.read())
        elif not is_there(Path(name)):
            raise MissingFileError(f"There is no file {name}. Check the path.")
        else:
            table = json.loads(Path(name).read_bytes())
    except (URLError, OSError, ValueError, RecursionError) as exc:
        if isinstance(exc, MissingFileError):
            raise
        raise RasterError(f"{name} could not be read as STAC: {exc}. Expected an item or a collection of items as JSON.") from exc
    if not isinstance(table, dict):
        raise RasterError(f"{name} is no STAC: it holds a {type(table).__name__}, an object was expected.")
    return table


def _search(address: str) -> list[dict[str, Any]]:
    """Search by the words of an address: collections, ids, bbox, datetime, cloud_cover (percent, at most) and limit."""
    client_module = _client()
    root, query = address.partition("?")[0].rstrip("/").removesuffix("/search"), parse_qs(urlsplit(address).query)
    asked = {key: values[-1] for key, values in query.items()}
    unknown = sorted(set(asked) - _ASKED)
    if unknown:
        raise UsageError(f"A search knows {', '.join(sorted(_ASKED))}; {address} asks for {unknown[0]}.")
    words: dict[str, Any] = {key: asked[key].split(",") for key in ("collections", "ids") if key in asked}
    words |= {"datetime": asked["datetime"]} if "datetime" in asked else {}
    try:
        words |= {"bbox": [float(number) for number in asked["bbox"].split(",")]} if "bbox" in asked else {}
        cloudy = float(asked.get("cloud_cover", 100))
        most = int(asked.get("limit", _MOST_ITEMS))
    except ValueError as exc:
        raise UsageError(f"{address} holds what is no number: {exc}. Write for example bbox=85.5,27.6,85.6,27.7&cloud_cover=20.") from exc
    try:
        client = client_module.Client.open(root)
        if cloudy < 100 and client.conforms_to(client_module.ConformanceClasses.QUERY):
            words["query"] = {"eo:cloud_cover": {"lte": cloudy}}
        found = list(client.search(max_items=most, **words).items_as_dicts())
    except (client_module.exceptions.APIError, OSError, ValueError, KeyError) as exc:
        raise RasterError(f"The search {address} failed: {exc}. Check the address of the STAC API.") from exc
    # not every server knows how to ask for it
    return [item for item in found if (item.get("properties", {}).get("eo:cloud_cover") or 0) <= cloudy]


def _client() -> ModuleType:
    try:
        import pystac_client
        import pystac_client.exceptions
    except ImportError as exc:
        raise UsageError("Searching STAC needs pystac-client. Install it with: pip install 'geoseg[stac]'") from exc
    return pystac_client


def _describe_item(item: dict[str, Any], base: str, wanted: Sequence[str], options: RasterOptions) -> FileImagery | Stack:
    called = {key: _name_asset(key, asset) for key, asset in item["assets"].items() if _is_imagery(asset)}
    keys = [key for name in wanted for key in [_holder(name, called)] if key is not None]
    if not wanted or len(keys) < len(wanted):
        keys = list(called) if len(called) == 1 else keys
    if not keys or (len(called) > 1 and len(keys) < len(wanted)):
        told = "; ".join(f"{key}: {', '.join('/'.join(n) for n in names)}" for key, names in called.items())
        raise RasterError(
            f"Item {item.get('id')} was searched for {', '.join(wanted) or 'one asset'}, but holds {told or 'no imagery'}. "
            "Name bands with --bands."
        )
    files = [_open_asset(item, key, called[key], base, options) for key in dict.fromkeys(keys)]
    return files[0] if len(files) == 1 else stack_imagery(files, name=str(item.get("id")))


def _is_imagery(asset: dict[str, Any]) -> bool:
    kind = str(asset.get("type", "")).lower()
    return not _NOT_IMAGERY & set(asset.get("roles") or ()) and (not kind or kind.startswith(("image/tiff", "image/jp2", "image/vnd.stac")))


def _name_asset(key: str, asset: dict[str, Any]) -> tuple[Names, ...]:
    """Return what the bands of an asset are called: by STAC 1.1's bands, or the extensions before it."""
    bands = asset.get("bands") or asset.get("eo:bands") or [{}]
    named = [[band[word] for word in ("eo:common_name", "common_name", "name") if band.get(word)] for band in bands]
    if len(named) == 1:
        named[0].append(key)
    return tuple(tuple(dict.fromkeys(common_name(name) for name in names)) for names in named)


def _holder(name: str, called: dict[str, tuple[Names, ...]]) -> str | None:
    return next((key for key, bands in called.items() if any(common_name(name) in names for names in bands)), None)


def _open_asset(item: dict[str, Any], key: str, names: tuple[Names, ...], base: str, options: RasterOptions) -> FileImagery:
    asset = item["assets"][key]
    place = _locate(str(asset.get("href", "")), base, item, options)
    file = describe_file(place, options, needs_georeference=True)
    # three bands are told of, one with a table of colors is there
    file = file.in_colors() if len(names) == _COLORS else file
    if len(names) == len(file.bands):
        file = replace(file, bands=names)
    return replace(file, scales=_find_scales(item, asset, file))


def _find_scales(item: dict[str, Any], asset: dict[str, Any], file: FileImagery) -> tuple[tuple[float, float], ...]:
    """Return scale and offset of each band: by its own entry, else by what its asset or item says of all; a file's own where none does."""
    count = len(file.bands)
    lists = [bands for bands in (asset.get("bands"), asset.get("raster:bands")) if bands and len(bands) == count]
    found = []
    for number in range(count):
        own = [(bands[number], ("raster:scale", "scale"), ("raster:offset", "offset")) for bands in lists]
        above = [(table, ("raster:scale",), ("raster:offset",)) for table in (asset, item.get("properties") or {})]
        scale = _first_number((table, words) for table, words, _ in (*own, *above))
        offset = _first_number((table, words) for table, _, words in (*own, *above))
        if scale is None and offset is None:
            found.append(file.scales[number])
        else:
            found.append((1.0 if scale is None else scale, 0.0 if offset is None else offset))
    return tuple(found)


def _first_number(places: Iterable[tuple[dict[str, Any], tuple[str, ...]]]) -> float | None:
    return next((float(table[word]) for table, words in places for word in words if table.get(word) is not None), None)


def _locate(href: str, base: str, item: dict[str, Any], options: RasterOptions) -> str:
    """Return where an asset lies; on this machine only beside or below the item that names it."""
    if is_remote(href):
        return href
    if base.lower().startswith(_WEB):
        address = urljoin(base, href)
        if not is_remote(address):
            raise RasterError(
                f"Item {item.get('id')} at {base} points at {href}, which is no address. Correct it where the item comes from."
            )
        return address
    home = Path(base).resolve().parent
    path = (home / href.removeprefix("file://")).resolve()
    if not options.trust_vrt and not path.is_relative_to(home):
        raise RasterError(
            f"Item {item.get('id')} in {base} points out of its folder, at {href}. "
            "Move the files together, or say --trust-vrt if you know it."
        )
    return str(path)
