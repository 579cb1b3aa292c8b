"""STAC items with the Machine Learning Model extension (MLM), written by others: what geoseg understands of them.

The extension: https://github.com/stac-extensions/mlm
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from geoseg.errors import MissingFileError, ModelError
from geoseg.model.fetch import check_multihash, fetch_file, is_address
from geoseg.model.sheet import Sheet, merge

_FORMS = {"onnx": ".onnx", "torch.export.save": ".pt2", "torch.export": ".pt2", "torch.export.pt2": ".pt2"}
"""Kinds of artifacts that are read, by MLM's word."""
_TASKS = frozenset({"semantic-segmentation", "segmentation"})
_AXES = frozenset({"band", "bands", "channel", "channels"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What an item says of a model."""

    weights: Path
    """Its file, on this machine, verified where the item gives a checksum."""
    sheet: Sheet
    """What the item says of it."""


def read_item(item: dict[str, Any], path: Path, base: str, work: Path, given: Sheet) -> Described:
    """Read an item, and fetch the model that it names.

    Args:
        item: The item.
        path: Where it lies on this machine, for messages.
        base: Where it came from: its path or its address, which relative names start from.
        work: Folder that takes the model if it has to be fetched.
        given: What the user says of the model; it stands in for what geoseg does not understand.

    Raises:
        MissingFileError: If the model cannot be had.
        ModelError: If the item asks for what geoseg does not do, or the checksum differs; the message names the field.
    """
    properties = item.get("properties")
    if not isinstance(properties, dict) or not any(str(key).startswith("mlm:") for key in properties):
        raise ModelError(f"{path} is no STAC item with the MLM extension: it has no field mlm:... . Give an item that describes a model.")
    try:
        unsupported = list(_find_unsupported(properties, given))
        if unsupported:
            raise ModelError(f"{path} asks for what geoseg does not do: {'; '.join(unsupported)}.")
        sheet = _read_properties(properties)
        asset, form = _find_asset(item, path)
        weights = _get_asset(asset, form, path, base, work)
        return Described(weights=weights, sheet=_with_kinds(sheet, weights, given))
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as exc:
        if isinstance(exc, ModelError):
            raise
        raise ModelError(
            f"{path} does not follow the MLM extension ({type(exc).__name__}: {exc}). Check it with a STAC validator."
        ) from exc


def list_beside(item: dict[str, Any], path: Path) -> list[Path]:
    """Return the files beside an item, or below, that its assets name and that are there."""
    assets = item.get("assets")
    named = [asset.get("href") for asset in assets.values() if isinstance(asset, dict)] if isinstance(assets, dict) else []
    files = [path.parent / href for href in named if isinstance(href, str) and "\0" not in href and not is_address(href)]
    inside = path.parent.resolve()
    return [file for file in files if file.suffix != ".json" and file.resolve().is_relative_to(inside) and file.is_file()]


def _find_unsupported(properties: dict[str, Any], given: Sheet) -> Iterator[str]:
    inputs, outputs = properties["mlm:input"], properties["mlm:output"]
    if len(inputs) != 1:
        yield f"mlm:input describes {len(inputs)} inputs, one image was expected"
    if len(outputs) != 1:
        yield f"mlm:output describes {len(outputs)} outputs, one class map was expected"
    tasks = {*properties.get("mlm:tasks", ()), *(task for output in outputs for task in output.get("tasks", ()))}
    if not tasks & _TASKS:
        yield f"mlm:tasks says {', '.join(sorted(tasks)) or 'nothing'}, semantic-segmentation was expected"
    for entry, key, instead in (
        *((entry, "pre_processing_function", ("mean", "std")) for entry in inputs),
        *((entry, "post_processing_function", ("ports",)) for entry in outputs),
    ):
        if entry.get(key) is not None and not all(name in given for name in instead):
            yield f"{key} is code ({str(entry[key])[:60]}), which is never run; say what it does by {' and '.join(instead)} in a sheet"
    for entry in inputs:
        order = [str(axis) for axis in entry["input"].get("dim_order", ())]
        if order and (len(order) != 4 or not {order[1], order[3]} & _AXES):
            yield f"dim_order is {', '.join(order)}, batch, bands, height, width was expected"
        if not {"mean", "std"} <= given.keys():
            yield from _odd_scalings(entry)


def _odd_scalings(entry: dict[str, Any]) -> Iterator[str]:
    for scaling in entry.get("value_scaling") or ():
        if scaling.get("type") not in (None, "min-max", "z-score", "offset", "scale"):
            yield f"value_scaling of the type {scaling.get('type')!r}, one of min-max, z-score, offset, scale was expected"
    if entry.get("norm_type") not in (None, "min-max", "z-score") or entry.get("norm_clip"):
        yield f"norm_type {entry.get('norm_type')!r} with clipping {entry.get('norm_clip')}, min-max or z-score without was expected"


def _read_properties(properties: dict[str, Any]) -> Sheet:
    (given,), (output,) = properties["mlm:input"], properties["mlm:output"]
    bands = [band if isinstance(band, str) else band["name"] for band in given.get("bands") or properties.get("bands") or ()]
    order = given["input"].get("dim_order") or ["batch", "bands", "height", "width"]
    shape = [int(size) for size in given["input"]["shape"]]
    last = order[3] in _AXES
    count = shape[3] if last else shape[1]
    side = min(size for axis, size in zip(order, shape, strict=True) if axis not in _AXES and axis != "batch")
    told: Sheet = {"ports": {"channels_last": last}, "name": str(properties.get("mlm:name") or properties.get("title") or "imported")}
    if bands:
        told["bands"] = bands
    if side > 0:
        told["tile_size_px"] = side
    scaling = _read_scaling(given, len(bands) or count)
    if scaling is not None:
        told |= scaling
    classes = output.get("classification:classes") or ()
    if classes:
        told["classes"] = [_read_class(row, index) for index, row in enumerate(classes)]
    for key, name in (("description", "description"), ("license", "license"), ("version", "version"), ("gsd", "resolution_m")):
        if properties.get(key) is not None:
            told[name] = properties[key]
    told["network"] = {"architecture": str(properties.get("mlm:architecture") or "graph")}
    return told


def _read_class(row: dict[str, Any], index: int) -> dict[str, Any]:
    hint = str(row.get("color_hint") or "").removeprefix("#")
    color = f"#{hint.lower()}" if re.fullmatch("[0-9a-fA-F]{6}", hint) else f"#{(index * 2654435761) % 0xFFFFFF:06x}"
    return {"value": int(row["value"]), "name": str(row.get("name") or row.get("title") or row["value"]), "color": color}


def _with_kinds(sheet: Sheet, weights: Path, given: Sheet) -> Sheet:
    """Return what an item says, with the classes as a model that geoseg exported keeps them, for items have no place for kinds."""
    if "classes" not in sheet or weights.suffix != ".onnx":
        return sheet
    # onnxruntime is only loaded for models that it runs
    from geoseg.model.onnxfile import open_whole, read_onnx

    told = open_whole(str(weights), read_onnx(weights), merge(sheet, given)["ports"]).told
    own = {(row["value"], row["name"]): row for row in told.get("classes", ()) if "kind" in row}
    return {**sheet, "classes": [own.get((row["value"], row["name"]), row) for row in sheet["classes"]]}


def _read_scaling(given: dict[str, Any], bands: int) -> Sheet | None:
    """Return mean and std, whichever version of the extension says them; None if it says none."""
    entries = given.get("value_scaling")
    if entries is None and given.get("norm_type") is not None:
        entries = [{**entry, "type": given["norm_type"]} for entry in given.get("statistics") or ()]
    if not entries:
        return None
    pairs = [_mean_and_std(entry) for entry in entries]
    if len(pairs) not in (1, bands):
        raise ModelError(f"value_scaling has {len(pairs)} entries for {bands} bands; one, or one per band, was expected.")
    pairs = pairs * bands if len(pairs) == 1 else pairs
    return {"mean": [mean for mean, _ in pairs], "std": [std for _, std in pairs]}


def _mean_and_std(entry: dict[str, Any]) -> tuple[float, float]:
    kind = entry["type"]
    if kind == "z-score":
        return float(entry["mean"]), float(entry["stddev"])
    if kind == "min-max":
        return float(entry["minimum"]), float(entry["maximum"]) - float(entry["minimum"])
    if kind is None:
        return 0.0, 1.0
    if kind == "offset":
        return float(entry["value"]), 1.0
    return 0.0, float(entry["value"])


def _find_asset(item: dict[str, Any], path: Path) -> tuple[dict[str, Any], str]:
    models = [asset for asset in item["assets"].values() if "mlm:model" in (asset.get("roles") or ())]
    for asset in models:
        form = _FORMS.get(str(asset.get("mlm:artifact_type")))
        if form is not None:
            return asset, form
    kinds = ", ".join(str(asset.get("mlm:artifact_type")) for asset in models) or "none with the role mlm:model"
    raise ModelError(
        f"The assets of {path} are of the mlm:artifact_type {kinds}; onnx or torch.export.save was expected. "
        "Pickles (torch.save, torch.jit.save) can run any code and are never read."
    )


def _get_asset(asset: dict[str, Any], form: str, path: Path, base: str, work: Path) -> Path:
    href = str(asset["href"])
    if is_address(href) or is_address(base):
        address = href if is_address(href) else urljoin(base, href)
        if urlsplit(address).scheme not in ("http", "https") and not is_address(address):
            raise ModelError(f"{path} names the model {href!r}; an address on the web or in an object store was expected.")
        fetched = fetch_file(address, work / "asset")
    else:
        fetched = (path.parent / href).absolute()
        inside = path.parent.resolve()
        if not fetched.resolve().is_relative_to(inside):
            raise ModelError(f"{path} names {href!r}, which lies outside its folder {inside}. Put the model beside the item.")
        if not fetched.is_file():
            raise MissingFileError(f"{path} names {href!r}, which is not there. Get the model too.")
    if asset.get("file:checksum") is not None:
        check_multihash(fetched, asset["file:checksum"], str(path))
    if fetched.suffix == form:
        return fetched
    work.mkdir(parents=True, exist_ok=True)
    named = work / f"model{form}"
    named.write_bytes(fetched.read_bytes())
    return named
