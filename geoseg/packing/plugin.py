"""The files of the QGIS plugin, and the archive that its repository takes."""

import re
import zipfile
from io import BytesIO
from pathlib import Path

from geoseg.errors import UsageError
from geoseg.io.files import write_whole
from geoseg.packing.texts import collect_texts, write_ts

PLUGIN = "geoseg_qgis"
"""Folder of the plugin in QGIS; ``geoseg`` would hide the package from the Python of QGIS."""
_SOURCE = Path(__file__).parents[1] / "qgis_plugin"
_ENDINGS = {".py", ".txt", ".svg", ".ts", ".qm", ""}
_FIXED_DATE = (2000, 1, 1, 0, 0, 0)


def plugin_files(version: str) -> dict[str, bytes]:
    """Return the files of the plugin by their names: with the version of geoseg in its metadata, and its texts to translate."""
    found = {}
    for path in sorted(_SOURCE.rglob("*")):
        if path.is_file() and path.suffix in _ENDINGS and "__pycache__" not in path.parts:
            found[path.relative_to(_SOURCE).as_posix()] = path.read_bytes()
    found["metadata.txt"] = re.sub(rb"(?m)^version=.*$", f"version={version}".encode(), found["metadata.txt"])
    found["i18n/geoseg.ts"] = write_ts(plugin_texts()).encode()
    return found


def plugin_texts() -> dict[str, str]:
    """Return all texts of the plugin, each with the file that it is in."""
    return collect_texts(_SOURCE)


def pack_plugin(path: Path, version: str, overwrite: bool = False) -> int:
    """Write the archive for the plugin repository; equal plugins make equal bytes.

    Args:
        path: File to write, a ``.zip``.
        version: Of geoseg.
        overwrite: Replace an existing file.

    Returns:
        Number of files in it.

    Raises:
        UsageError: If the name does not end in ``.zip``, is that of a folder, or a file stands there and is not to be replaced.
        WriteError: If the disk does not take it.
    """
    if path.suffix.lower() != ".zip":
        raise UsageError(f"{path} ends in {path.suffix or 'nothing'}; expected .zip.")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; expected the name of a .zip file to write.")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists. Name another file, or replace it with --overwrite.")
    files = plugin_files(version)
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(f"{PLUGIN}/{name}", _FIXED_DATE)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    write_whole(path, packed.getvalue())
    return len(files)
