"""Where pictures lie that have no georeference: by what a drone's camera noted, or nowhere, in coordinates of pixels."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affine import Affine
from pyproj import Transformer

from geoseg.errors import RasterError

PIXELS = "pixels"
"""Stands for the coordinates of pixels where a CRS is asked for; ``pixels:0.3`` says how many metres a pixel is wide."""
_PLANE = "+proj=aeqd +lat_0=0 +lon_0=0 +datum=WGS84 +units=m +no_defs +type=crs"
"""A plane of metres that are metres on the ground, as far as pictures reach."""
_FULL_FRAME_MM = math.hypot(36, 24)
"""Diagonal that focal lengths in 35 mm equivalents refer to."""
_EXIF, _GPS = 0x8769, 0x8825
_FOCAL_35MM = 41989
_LATITUDE, _LONGITUDE, _HEADING = 2, 4, 17
_SEXAGESIMAL = (1, 60, 3600)
"""Degrees, minutes and seconds of a degree."""
_STRAIGHT_DOWN_DEG = -90.0
_MOST_OBLIQUE_DEG = 30.0
_PICTURES = {".jpg", ".jpeg"}
_ADVICE = "Leave it out, or segment it in coordinates of pixels with --assume-crs pixels."


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a picture lies that does not say so by a grid of its own."""

    transform: Affine
    """From pixels to the CRS; may be rotated."""
    crs: str
    """CRS."""
    is_place: bool = True
    """Whether it lies there on the earth; else its coordinates are only those of its pixels."""
    is_measured: bool = True
    """Whether anybody knows how wide its pixels are on the ground."""


def describe_placement(name: str, placed: Placement) -> str:
    """Say what a placement means for a result."""
    if placed.is_place:
        return (
            f"{name} is placed by its camera's position, heading and height: its footprint is approximate, some metres off, "
            "and areas are as good as the height."
        )
    size = placed.transform.a
    unit = "pixels; areas called m2 are square pixels, lengths called m pixels." if size == 1 else f"metres at {size:g} m a pixel."
    return f"{name} has no place on the earth: coordinates count from its lower left corner, x to the right and y upwards, in {unit}"


def place_nowhere(asked: str, height_px: int) -> Placement | None:
    """Return coordinates of pixels: x to the right, y upwards from the lower left corner.

    Args:
        asked: ``pixels``, or with the width of a pixel in metres ``pixels:0.3``; a CRS gives None.
        height_px: Rows of the picture.

    Raises:
        RasterError: If the width is no number above 0.
    """
    word, _, size = asked.strip().lower().partition(":")
    if word != PIXELS:
        return None
    try:
        width_m = float(size) if size else 1.0
    except ValueError:
        width_m = math.nan
    if not 0 < width_m < math.inf:
        raise RasterError(f"--assume-crs pixels:METRES takes the width of a pixel, for example pixels:0.3; got {asked!r}.")
    transform = Affine(width_m, 0.0, 0.0, 0.0, -width_m, height_px * width_m)
    return Placement(transform=transform, crs=_PLANE, is_place=False, is_measured=bool(size))


def may_be_placed(path: Path) -> bool:
    """Tell whether a file is of a kind in which cameras note where they were."""
    return path.suffix.lower() in _PICTURES


def place_by_camera(path: Path) -> Placement | None:
    """Place a picture by what its camera noted of position, heading and height: approximately, on level ground.

    The ground below a lens of focal length f (35 mm equivalent) at height h is h times 43.3 mm / f along the diagonal.

    Args:
        path: A JPEG of a drone.

    Returns:
        None if it has no position.

    Raises:
        RasterError: If its camera knew no position, or the picture lacks what else is needed, or looks too far sideways.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            exif, size = picture.getexif(), picture.size
            gps, camera, xmp = exif.get_ifd(_GPS), exif.get_ifd(_EXIF), _read_xmp(picture.info)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return None
    if _LATITUDE not in gps or _LONGITUDE not in gps:
        return None
    lon, lat = _degrees(gps, _LONGITUDE, "W"), _degrees(gps, _LATITUDE, "S")
    if lon is None or lat is None or not _is_position(lon, lat):
        raise RasterError(
            f"{path} was taken without a position: its camera noted latitude {gps[_LATITUDE]} and longitude {gps[_LONGITUDE]}, which is no "
            f"place in degrees, minutes and seconds that satellites gave. {_ADVICE}"
        )
    told = {
        "a height above ground (RelativeAltitude or AboveGroundAltitude in XMP)": _first(xmp, "RelativeAltitude", "AboveGroundAltitude"),
        "a heading (GimbalYawDegree, FlightYawDegree or Yaw in XMP, or GPSImgDirection)": _heading(xmp, gps),
        "a focal length in 35 mm equivalents (FocalLengthIn35mmFilm)": _number(camera.get(_FOCAL_35MM)) or None,
    }
    lacking = [what for what, value in told.items() if value is None]
    if lacking:
        raise RasterError(f"{path} has a position but lacks {' and '.join(lacking)}, so that it cannot be placed. {_ADVICE}")
    height_m, heading_deg, focal_mm = (float(value) for value in told.values() if value is not None)
    pitch = _first(xmp, "GimbalPitchDegree", "Pitch")
    if pitch is not None and abs(pitch - _STRAIGHT_DOWN_DEG) > _MOST_OBLIQUE_DEG:
        aside = abs(pitch - _STRAIGHT_DOWN_DEG)
        raise RasterError(
            f"{path} looks {aside:.0f} degrees away from straight down, {_MOST_OBLIQUE_DEG:.0f} at most are placed. {_ADVICE}"
        )
    if height_m <= 0:
        raise RasterError(f"{path} was taken {height_m:g} m above ground, so that it cannot be placed. {_ADVICE}")
    pixel_m = height_m * _FULL_FRAME_MM / focal_mm / math.hypot(*size)
    return _lay_flat(lon, lat, heading_deg, pixel_m, size)


def _lay_flat(lon: float, lat: float, heading_deg: float, pixel_m: float, size: tuple[int, int]) -> Placement:
    """Return the plane of the picture with its middle below the camera and its upper edge towards the heading."""
    crs = f"EPSG:{(32600 if lat >= 0 else 32700) + min(int((lon + 180) // 6) + 1, 60)}"
    east, north = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    width, height = size
    turned = Affine.translation(east, north) @ Affine.rotation(-heading_deg) @ Affine.scale(pixel_m, -pixel_m)
    return Placement(transform=turned @ Affine.translation(-width / 2, -height / 2), crs=crs)


def _read_xmp(info: dict[Any, Any]) -> str:
    found = info.get("xmp", b"")
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)


def _first(xmp: str, *names: str) -> float | None:
    """Return the first of some numbers in XMP, whatever maker's name space it stands in."""
    for name in names:
        found = re.search(rf":{name}(?:=\"|>)\s*([+-]?[0-9]+(?:\.[0-9]+)?)", xmp)
        if found:
            return float(found[1])
    return None


def _heading(xmp: str, gps: dict[int, Any]) -> float | None:
    yaw = _first(xmp, "GimbalYawDegree", "FlightYawDegree", "Yaw")
    return _number(gps.get(_HEADING)) if yaw is None else yaw


def _number(noted: object) -> float | None:
    """Return what a tag of one number holds; cameras write 0/0 for what they do not know."""
    try:
        value = float(noted)  # type: ignore[arg-type]  # any object may stand there, and most are no numbers
    except (TypeError, ValueError, ArithmeticError):
        return None
    return value if math.isfinite(value) else None


def _is_position(lon: float, lat: float) -> bool:
    """Tell whether satellites gave a place; cameras without them write exactly 0 N 0 E."""
    return abs(lon) <= 180 and abs(lat) <= 90 and (lon, lat) != (0.0, 0.0)


def _degrees(gps: dict[int, Any], tag: int, negative: str) -> float | None:
    """Return degrees of degrees, minutes and seconds, None if they are not all there; the tag before says on which side."""
    parts = [_number(part) for part in gps[tag]] if isinstance(gps[tag], tuple) else []
    known = [part for part in parts if part is not None]
    if len(known) != len(parts) or len(known) != len(_SEXAGESIMAL) or not all(0 <= part <= _SEXAGESIMAL[1] for part in known[1:]):
        return None
    value = sum(part / unit for part, unit in zip(known, _SEXAGESIMAL, strict=True))
    return -value if str(gps.get(tag - 1, "")).upper().startswith(negative) else value
