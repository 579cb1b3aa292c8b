"""The QGIS plugin into a profile of QGIS."""

import os
import shutil
import sys
from pathlib import Path

from geoseg.errors import MissingFileError, UsageError, WriteError
from geoseg.packing.plugin import PLUGIN, plugin_files


def find_profiles() -> list[Path]:
    """Return the profile folders of QGIS on this machine, those of QGIS 4 first."""
    found = [profile for place in _profile_places() if place.is_dir() for profile in sorted(place.iterdir()) if profile.is_dir()]
    return [profile for profile in found if any((profile / name).exists() for name in ("QGIS", "qgis.org", "python", "symbology-style.db"))]


def _profile_places() -> list[Path]:
    custom = os.environ.get("QGIS_CUSTOM_CONFIG_PATH")
    if custom:
        return [Path(custom) / "profiles"]
    home = Path.home()
    if sys.platform == "win32":
        bases = [Path(os.environ.get("APPDATA") or home / "AppData/Roaming")]
    elif sys.platform == "darwin":
        bases = [home / "Library/Application Support"]
    else:
        bases = [Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share"), home / ".var/app/org.qgis.qgis/data"]
    return [base / "QGIS" / version / "profiles" for version in ("QGIS4", "QGIS3") for base in bases]


def choose_profiles(wanted: str | None) -> list[Path]:
    """Return the profiles to install into: the one that is named, or those called ``default``, or the only one of each QGIS.

    Args:
        wanted: Name of a profile, or its folder; None chooses.

    Raises:
        MissingFileError: If there is no such profile.
        UsageError: If it is not clear which one is meant.
    """
    if wanted is not None and (os.sep in wanted or "/" in wanted):
        if not Path(wanted).is_dir():
            raise MissingFileError(f"There is no profile folder {wanted}. QGIS shows it under Settings > User Profiles.")
        return [Path(wanted)]
    found = find_profiles()
    names = ", ".join(sorted({profile.name for profile in found})) or "none"
    chosen = [profile for profile in found if profile.name == (wanted or "default")]
    if not chosen and wanted is None and len(found) == 1:
        chosen = found
    if not chosen and found:
        raise UsageError(f"QGIS has no profile '{wanted or 'default'}'; it has {names}. Choose with --profile NAME.")
    if not chosen:
        raise MissingFileError(
            "No profile of QGIS was found. Start QGIS once, or name the profile's folder with --profile; it is shown under Settings > "
            "User Profiles > Open Active Profile Folder."
        )
    return chosen


def install_plugin(profile: Path, version: str, python: str) -> Path:
    """Copy the plugin into a profile in place of an older one, enable it, and have it use a Python.

    Args:
        profile: Folder of the profile.
        version: Of geoseg.
        python: Executable that the plugin starts geoseg with.

    Returns:
        The folder of the plugin.

    Raises:
        WriteError: If the disk does not take it.
    """
    folder = profile / "python" / "plugins" / PLUGIN
    made = folder.with_name(f".{PLUGIN}.part")
    try:
        shutil.rmtree(made, ignore_errors=True)
        for name, content in plugin_files(version).items():
            path = made / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
        _set(_settings_of(profile), {("PythonPlugins", PLUGIN): "true", ("geoseg", "python"): _ini_text(python)})
    except OSError as exc:
        raise WriteError(f"The plugin could not be written to {folder}: {exc}. Close QGIS and try again.") from exc
    return folder


def _settings_of(profile: Path) -> Path:
    """Return the settings of a profile; QGIS 4 has a file of another name."""
    name = "QGIS4.ini" if profile.parent.parent.name == "QGIS4" else "QGIS3.ini"
    return profile / ("qgis.org" if sys.platform == "darwin" else "QGIS") / name


def _set(path: Path, values: dict[tuple[str, str], str]) -> None:
    """Set keys of an INI file of Qt and leave every other line as it is."""
    # profiles are links where settings are kept elsewhere
    path = path.resolve()
    # what other programs wrote in other codings comes back as it was, and so do signs that end a line for Python alone
    written = path.read_text(encoding="utf-8", errors="surrogateescape").removesuffix("\n") if path.exists() else ""
    lines = written.split("\n") if written else []
    for (section, key), value in values.items():
        head = f"[{section}]"
        if head not in lines:
            lines += [*([""] if lines else []), head]
        start = lines.index(head) + 1
        stop = next((i for i in range(start, len(lines)) if lines[i].startswith("[")), len(lines))
        kept = [line for line in lines[start:stop] if line.partition("=")[0].strip() != key]
        lines[start:stop] = [f"{key}={value}", *kept]
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.part")
    made.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
    if path.exists():
        # it may hold passwords
        shutil.copymode(path, made)
    made.replace(path)


def _ini_text(text: str) -> str:
    """Write a text as Qt does: in quotes, with escapes."""
    written = ""
    after_escape = False
    # signs of Qt have 16 bits
    pairs = text.encode("utf-16-be", "surrogatepass")
    for sign in (chr(256 * high + low) for high, low in zip(pairs[::2], pairs[1::2], strict=True)):
        # a digit after an escape would belong to it
        after_escape = not sign.isascii() or (after_escape and sign in "0123456789abcdefABCDEF")
        written += f"\\x{ord(sign):x}" if after_escape else {"\\": "\\\\", '"': '\\"'}.get(sign, sign)
    return f'"{written}"'
