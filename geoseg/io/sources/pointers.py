"""Small files that only point at others: VRT and its like. What they point at has to lie beside them."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from geoseg.errors import RasterError

_HEAD_BYTES = 65_536
_MOST_BYTES = 256_000_000
"""A VRT of a million sources is that large."""
_DEEPEST = 8
_SERVICES = {
    *("GDAL_WMS", "WCS_GDAL", "GDAL_WMTS", "OGCAPI", "GDALTileIndexDataset", "OGRVRTDataSource", "OGRVRTLayer", "OGRVRTWarpedLayer"),
    *("OGRVRTUnionLayer", "VRTMultiDimDataset"),
}
"""Roots of other XML files that make GDAL fetch or open what they name."""
_NAMES = {"SourceFilename", "SourceDataset", "SrcDSName", "Filename", "File"}
"""Elements of a VRT that name a file."""
_ADVICE = (
    "Turn it into a GeoTIFF with gdal_translate where it comes from; of imagery that is segmented, say --trust-vrt if you know who made it."
)


def refuse_far_pointers(path: Path) -> None:
    """Refuse a file that makes GDAL open files elsewhere than in its own folder and below, or addresses.

    Files that do not point at others pass, whatever they hold.

    Raises:
        RasterError: If it points elsewhere, holds code or entities, or points at more files of its kind than eight deep.
    """
    _refuse(path, path.resolve().parent, 0)


def _refuse(path: Path, home: Path, depth: int) -> None:
    root = _read_root(path)
    if root is None:
        return
    if root.tag in _SERVICES:
        raise RasterError(f"{path} is a {root.tag}: it makes GDAL open what it names. {_ADVICE}")
    if root.tag != "VRTDataset":
        return
    if depth >= _DEEPEST:
        raise RasterError(f"{path} points at virtual rasters more than {_DEEPEST} deep. {_ADVICE}")
    for node in root.iter("PixelFunctionCode"):
        raise RasterError(f"{path} holds code ({(node.text or '').strip()[:40]!r}), which is never run. Remove it.")
    for name, found in _sources(root, path):
        if found is None or not found.is_relative_to(home):
            raise RasterError(f"{path} points out of its folder, at {name}. {_ADVICE}")
        if found != path.resolve():
            _refuse(found, home, depth + 1)


def _sources(root: ElementTree.Element, path: Path) -> Iterator[tuple[str, Path | None]]:
    """Return every name in a VRT, and the file that it stands for; None for what is no plain name of a file."""
    for node in root.iter():
        if node.tag not in _NAMES or not (node.text or "").strip():
            continue
        name = (node.text or "").strip()
        # GDAL's connection strings: /vsicurl/, https://, NETCDF:"a.nc":b, <VRTDataset>
        is_plain = not name.startswith(("/vsi", "<", "{")) and ":" not in name and "\x00" not in name
        base = path.parent if node.get("relativeToVRT") == "1" else Path.cwd()
        yield name, (base / name).resolve() if is_plain else None


def _read_root(path: Path) -> ElementTree.Element | None:
    """Return the root of an XML file; None if it is none, or no kind that points at files."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            # GDAL, too, looks for the tag up to the first zero
            head = stream.read(_HEAD_BYTES).split(b"\x00")[0]
        if not any(f"<{tag}".encode() in head for tag in (*_SERVICES, "VRTDataset")):
            return None
        if path.stat().st_size > _MOST_BYTES:
            raise RasterError(f"{path} has {path.stat().st_size / 1e6:.0f} MB of XML; at most {_MOST_BYTES / 1e6:.0f} MB are read.")
        content = path.read_bytes()
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise RasterError(f"{path} declares a document type or entities, which could make it grow or read files. Remove them.")
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError, OSError, RecursionError) as exc:
        raise RasterError(f"{path} is no XML that can be checked: {exc}. Correct it, or turn it into a GeoTIFF.") from exc
