"""What the bands of a raster are called, and which of them a model means."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rasterio.enums import ColorInterp

from geoseg.errors import RasterError

Names = tuple[str, ...]
"""What one band is called, in lower case."""
_COLORS = {
    **{ColorInterp[name]: name for name in ("red", "green", "blue", "pan")},
    **{ColorInterp[name]: name for name in ("coastal", "rededge", "nir", "swir")},
}
_SAME = {
    **dict.fromkeys(("near infrared", "near-infrared", "nir1", "ir", "nir08", "infrared"), "nir"),
    **dict.fromkeys(("panchromatic", "gray", "grey"), "pan"),
    **dict.fromkeys(("red edge", "red-edge", "rededge1", "rededge071"), "rededge"),
    **dict.fromkeys(("r",), "red"),
    **dict.fromkeys(("g",), "green"),
    **dict.fromkeys(("b",), "blue"),
    **dict.fromkeys(("coastal aerosol", "coastal blue", "coastal-blue"), "coastal"),
}
"""Other spellings of STAC's common names."""


def common_name(name: str) -> str:
    """Return a band's name in lower case, in STAC's spelling where it has one."""
    plain = name.strip().lower()
    return _SAME.get(plain, plain)


def mean_colors(names: Iterable[str]) -> bool:
    """Tell whether some of the bands that a model means are colors of light that one sees."""
    return not {"red", "green", "blue"}.isdisjoint(map(common_name, names))


def name_bands(dataset: Any, path: str) -> tuple[Names, ...]:
    """Return what the bands of a file are called: by description, by color, and a single band by the file's name."""
    named = []
    for number, (description, color) in enumerate(zip(dataset.descriptions, dataset.colorinterp, strict=True), start=1):
        found = [description] if description else []
        told = dataset.tags(number)
        found += [told[key] for key in ("common_name", "BandName", "wavelength_name") if told.get(key)]
        found += [_COLORS[color]] if color in _COLORS and not description else []
        if dataset.count == 1 and not found:
            found = [re.split(r"[?#]", Path(path).name)[0].partition(".")[0]]
        named.append(tuple(dict.fromkeys(common_name(name) for name in found)))
    return tuple(named)


def find_bands(wanted: Sequence[int | str], names: Sequence[Names], raster: str) -> tuple[int, ...]:
    """Return the numbers of the bands that are asked for by number or name.

    Args:
        wanted: 1-based numbers, or names.
        names: Of the raster's bands.
        raster: Its name, for messages.

    Raises:
        RasterError: If there is no such band, or several.
    """
    return tuple(_find(one, names, raster) for one in wanted)


def match_bands(wanted: Iterable[str], names: Sequence[Names]) -> tuple[int, ...] | None:
    """Return the bands that a model means by its names, or None where the raster does not call a band of its own by each of them."""
    numbers = []
    for name in wanted:
        found = _called(name, names)
        if len(found) != 1:
            return None
        numbers.append(found[0])
    return tuple(numbers) if len(set(numbers)) == len(numbers) else None


def list_lacking(wanted: Iterable[str], names: Sequence[Names]) -> tuple[str, ...]:
    """Return the bands that a model means and a raster lacks, where the raster names all of its bands and some of them are meant."""
    asked = tuple(wanted)
    lacking = tuple(name for name in asked if not _called(name, names))
    return lacking if all(names) and len(lacking) < len(asked) else ()


def _find(one: int | str, names: Sequence[Names], raster: str) -> int:
    if isinstance(one, int):
        if not 1 <= one <= len(names):
            raise RasterError(f"{raster} has {len(names)} bands; --bands asks for {one}. Choose from 1 to {len(names)}.")
        return one
    found = _called(one, names)
    if len(found) != 1:
        told = ", ".join(f"{i}: {'/'.join(n) or 'no name'}" for i, n in enumerate(names, start=1))
        raise RasterError(
            f"{raster} has {len(found) or 'no'} bands called {one!r}; one was expected. They are {told}. Choose by number with --bands."
        )
    return found[0]


def _called(name: str, names: Sequence[Names]) -> list[int]:
    return [number for number, called in enumerate(names, start=1) if common_name(name) in called]
