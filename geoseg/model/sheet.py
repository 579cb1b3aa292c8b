"""Sheets: what a model from elsewhere does not say of itself, in TOML or JSON, beside it or asked for."""

import json
import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from geoseg.errors import MissingFileError, ModelError
from geoseg.model.spec import ModelSpec

Sheet = dict[str, Any]
"""Fields of :class:`geoseg.model.spec.ModelSpec`, and the tables ``ports`` (of a network that came as a whole) and ``kinds``."""
Ask = Callable[[str, str], str]
"""Takes a question and the answer that an empty line gives, and returns the answer."""
NEEDED = ("bands", "mean", "std", "classes", "tile_size_px")
"""What no model can be run without."""
_FILLED = {"name": "imported", "version": "1", "license": "other", "description": "Imported; its accuracy was not measured."}
_NAMES = ("geoseg.toml", "geoseg.json")
_LONGEST_BYTES = 1_000_000
_COARSEST_STRIDE_PX = 32
_COLORS = (
    "#c8b48c",
    "#dc2828",
    "#3c78d8",
    "#38a05a",
    "#e6a532",
    "#8c50b4",
    "#50c8c8",
    "#787878",
    "#f06eaa",
    "#a0d250",
    "#7d4f2a",
    "#1f3b73",
)
_EXAMPLE = (
    'bands = ["red", "green", "blue"]\nmean = [112, 112, 104]\nstd = [56, 53, 54]\ntile_size_px = 512\nresolution_m = 0.3\n'
    'classes = [{value = 0, name = "land", color = "#c8b48c"}, {value = 1, name = "house", color = "#dc2828", kind = "building"}]'
)


def read_sheet(path: Path | None) -> Sheet:
    """Read a sheet, JSON where the file is named so, else TOML.

    Raises:
        MissingFileError: If there is no such file.
        ModelError: If it cannot be read as what its name says, or is larger than a megabyte.
    """
    if path is None:
        return {}
    if not path.is_file():
        raise MissingFileError(f"There is no {path}. Check --sheet.")
    if path.stat().st_size > _LONGEST_BYTES:
        raise ModelError(f"{path} has {path.stat().st_size} bytes; a sheet has {_LONGEST_BYTES} at most.")
    form = "JSON" if path.suffix == ".json" else "TOML"
    try:
        text = path.read_text(encoding="utf-8")
        table = json.loads(text) if form == "JSON" else tomllib.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ModelError(f"{path} is not valid {form}: {exc}.") from exc
    if not isinstance(table, dict):
        raise ModelError(f"{path} holds a {type(table).__name__}; a table of fields was expected.")
    return table


def sheet_beside(source: Path) -> Path | None:
    """Return the sheet of a model: ``geoseg.toml`` or ``geoseg.json`` in it, ``NAME.toml`` or ``NAME.geoseg.json`` beside it."""
    names = _NAMES if source.is_dir() else (f"{source.stem}.toml", f"{source.stem}.geoseg.json")
    folder = source if source.is_dir() else source.parent
    return next((folder / name for name in names if (folder / name).is_file()), None)


def make_spec(origin: object, told: Sheet, sheet: Sheet) -> ModelSpec:
    """Make the spec of a model from elsewhere.

    Args:
        origin: What the model is called in messages.
        told: What it says of itself; the sheet overrules it.
        sheet: What is said of it.

    Raises:
        ModelError: If something is missing, or does not fit; the message names it.
    """
    fields = merge(told, sheet)
    missing = [key for key in NEEDED if key not in fields]
    if missing:
        raise ModelError(
            f"{origin} does not say {', '.join(missing)}. Write them into a TOML file and name it with --sheet, or answer questions "
            f"with --interactive. For example:\n{_EXAMPLE}"
        )
    kinds, ports = fields.pop("kinds", {}), fields.pop("ports", None)
    fields["classes"] = _dress(origin, fields["classes"], kinds)
    network = {**fields.get("network", {}), **({"options": ports} if ports is not None else {})}
    network.setdefault("stride_px", _fitting_stride(fields["tile_size_px"]))
    fields["network"] = network
    fields.setdefault("heads", {"semantic": {"start": 0, "stop": len(fields["classes"]), "activation": "softmax"}})
    fields.setdefault("halo", _first_halo(fields["tile_size_px"], network["stride_px"], fields.pop("overlap_px", None)))
    fields.pop("overlap_px", None)
    try:
        return ModelSpec.model_validate({**_FILLED, **fields})
    except ValidationError as exc:
        faults = "; ".join(f"{'.'.join(map(str, f['loc'])) or 'sheet'}: {f['msg']}" for f in exc.errors())
        raise ModelError(f"What is said of {origin} does not describe a model: {faults}.") from exc


def merge(told: Sheet, sheet: Sheet) -> Sheet:
    """Return what is said of a model, tables within it merged."""
    tables = {key: {**told[key], **value} for key, value in sheet.items() if isinstance(value, dict) and isinstance(told.get(key), dict)}
    return {**told, **sheet, **tables}


def name_classes(names: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return class rows with colors of geoseg's choice."""
    return [{"value": value, "name": name, "color": _COLORS[i % len(_COLORS)]} for i, (value, name) in enumerate(sorted(names.items()))]


def ask_sheet(told: Sheet, ask: Ask) -> Sheet:
    """Ask for what a model does not say of itself.

    Args:
        told: What it says; the answer that an empty line gives.
        ask: Asks one question.

    Returns:
        A sheet with the answers.

    Raises:
        ModelError: If an answer cannot be read.
    """
    bands = _words(ask("Bands in the network's order", ", ".join(told.get("bands", ("red", "green", "blue")))))
    mean = _numbers(ask("Mean of each band, in the raster's values (0 if pixels go in as they are)", _shown(told.get("mean"))), "mean")
    std = _numbers(ask("Standard deviation of each band (255 brings bytes to 0..1; 1 leaves them)", _shown(told.get("std"))), "std")
    answers: Sheet = {
        "bands": bands,
        "mean": mean * len(bands) if len(mean) == 1 else mean,
        "std": std * len(bands) if len(std) == 1 else std,
        "tile_size_px": int(_numbers(ask("Side of a tile in pixels", str(told.get("tile_size_px", 512))), "tile_size_px")[0]),
    }
    answers |= _ask_resolution(told, ask)
    names = _words(ask("Classes in channel order", ", ".join(row["name"] for row in told.get("classes", ()))))
    answers["classes"] = name_classes(dict(enumerate(names)))
    kinds = {kind: ask(f"Which of them is {what}, if any", "") for kind, what in (("building", "buildings"), ("road", "roads"))}
    answers["kinds"] = {name.strip(): kind for kind, name in kinds.items() if name.strip()}
    return answers


def sheet_of_words(words: dict[str, Any], ports: dict[str, Any], kinds: list[str]) -> Sheet:
    """Make a sheet of what stands on a command line; None means not given.

    Args:
        words: Fields of the spec; lists are written with commas.
        ports: Fields of the table ``ports``.
        kinds: ``CLASS=KIND`` each.

    Raises:
        ModelError: If something cannot be read.
    """
    given: Sheet = {key: value for key, value in words.items() if value is not None}
    for key in ("mean", "std"):
        if key in given:
            given[key] = _numbers(given[key], key)
    if "bands" in given:
        given["bands"] = _words(given["bands"])
    if "classes" in given:
        given["classes"] = name_classes(dict(enumerate(_words(given["classes"]))))
    wrong = [text for text in kinds if text.count("=") != 1]
    if wrong:
        raise ModelError(f"--kind takes CLASS=KIND, for example house=building; got {wrong[0]!r}.")
    tables = {"ports": {key: value for key, value in ports.items() if value is not None}, "kinds": dict(text.split("=") for text in kinds)}
    return given | {key: table for key, table in tables.items() if table}


def _ask_resolution(told: Sheet, ask: Ask) -> Sheet:
    answer = ask("Pixel size on the ground that it was trained for, in metres (empty: imagery as it is)", str(told.get("resolution_m", "")))
    return {"resolution_m": _numbers(answer, "resolution_m")[0]} if answer.strip() else {}


def _words(answer: str) -> list[str]:
    return [word.strip() for word in answer.split(",") if word.strip()]


def _shown(values: Any) -> str:
    return ", ".join(f"{value:g}" for value in values or ())


def _numbers(answer: str, what: str) -> list[float]:
    try:
        found = [float(word) for word in _words(answer)]
    except ValueError:
        found = []
    if not found or not all(map(math.isfinite, found)):
        raise ModelError(f"Numbers were expected for {what}, for example 112, 112, 104; got {answer!r}.")
    return found


def _dress(origin: object, rows: Any, kinds: Any) -> list[Any]:
    """Give classes the kinds that were said by name."""
    if not isinstance(rows, list | tuple) or not isinstance(kinds, dict):
        raise ModelError(f"What is said of {origin} needs 'classes' as a list of tables, and 'kinds' as a table of names.")
    names = [row.get("name") if isinstance(row, dict) else None for row in rows]
    unknown = sorted(set(map(str, kinds)) - set(map(str, names)))
    if unknown:
        raise ModelError(f"{origin} has no class '{unknown[0]}' that could be a {kinds[unknown[0]]}; it has {', '.join(map(str, names))}.")
    return [{**row, "kind": kinds[row["name"]]} if name in kinds else row for row, name in zip(rows, names, strict=True)]


def _fitting_stride(tile: Any) -> int:
    """Return the coarsest stride of common networks that a tile, and the quarter of it that a halo takes, are multiples of."""
    return math.gcd(tile, tile // 4, _COARSEST_STRIDE_PX) if isinstance(tile, int) and tile > 0 else _COARSEST_STRIDE_PX


def _first_halo(tile: Any, stride: Any, overlap: Any) -> dict[str, Any]:
    """Return the halo until it is measured: half of the overlap that a model asks for, else a quarter of the tile."""
    if not isinstance(tile, int) or not isinstance(stride, int) or stride < 1:
        return {"default_px": 0, "exact_px": 0}
    wanted = tile // 4 if overlap is None else -(-overlap // (2 * stride)) * stride
    halo = min(wanted, (tile - 1) // 2) // stride * stride
    return {"default_px": halo, "exact_px": halo, "measured_on": ""}
