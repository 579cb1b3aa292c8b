"""The metadata keys of the QGIS plugin Deepness, which GeoDeep and WebODM read too: what they say of an ONNX model.

Keys and their meaning: https://qgis-plugin-deepness.readthedocs.io/en/latest/creators/creators_add_metadata_to_model.html
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from geoseg.errors import ModelError
from geoseg.model.sheet import Sheet, merge, name_classes
from geoseg.model.spec import ModelSpec

_KEYS = (
    "model_type",
    "class_names",
    "resolution",
    "tile_size",
    "tiles_size",
    "tiles_overlap",
    "standardization_mean",
    "standardization_std",
    "seg_thresh",
    "det_conf",
    "det_type",
)
_DECODERS = {"YOLO_Ultralytics_segmentation": "yolo-seg"}
"""Detectors that give masks, by Deepness's name."""
_TILE_KEYS = ("tile_size", "tiles_size")
_BYTE = 255.0
"""Deepness divides bytes by it before anything else."""
_BACKGROUND = "background"
_RGB = ["red", "green", "blue"]


def is_deepness(meta: Mapping[str, str]) -> bool:
    """Tell whether a model has any of the keys."""
    return any(key in meta for key in _KEYS)


def read_deepness(meta: Mapping[str, str], bands: int | None, channels: tuple[int | None, ...], outputs: tuple[str, ...]) -> Sheet:
    """Read what the keys say.

    Args:
        meta: Metadata of the ONNX model.
        bands: Channels of its input; None if the model does not say.
        channels: Channels of each output; None where the model does not say.
        outputs: Their names.

    Returns:
        A sheet; what the keys do not say is left open.

    Raises:
        ModelError: If a key is not what it should be, or asks for what geoseg does not do; the message names it.
    """
    if not is_deepness(meta):
        return {}
    kind = _read_json(meta, "model_type", "Segmentor")
    if kind not in ("Segmentor", "Detector"):
        raise ModelError(
            f"The key model_type says {kind!r}; geoseg makes classes and objects, so 'Segmentor' or 'Detector' was expected. "
            'If its outputs are class scores, set model_type to "Segmentor".'
        )
    ports: Sheet = {}
    sheet: Sheet = {"ports": ports, "dtype": "uint8", "network": {"architecture": str(kind).lower()}}
    if bands is not None:
        sheet["bands"] = _RGB if bands == len(_RGB) else [f"band_{i + 1}" for i in range(bands)]
        sheet |= _read_scaling(meta, bands)
    if "resolution" in meta:
        sheet["resolution_m"] = _read_number(meta, "resolution", least=0) / 100
    tile = _read_tile(meta)
    if tile is not None:
        sheet["tile_size_px"] = tile
        if "tiles_overlap" in meta:
            sheet["overlap_px"] = round(tile * _read_number(meta, "tiles_overlap", least=-1, most=100) / 100)
    if kind == "Detector":
        ports["min_score"] = _read_number(meta, "det_conf", least=-1, most=1, otherwise=0.5)
        ports["decoder"] = _find_decoder(meta)
    elif "seg_thresh" in meta:
        # 0 asks for the best class whatever its probability
        ports["threshold"] = _read_number(meta, "seg_thresh", least=-1, most=1) or 0.5
    return merge(sheet, _read_classes(meta, channels, outputs, detector=kind == "Detector"))


def describe_deepness(spec: ModelSpec) -> dict[str, str]:
    """Return the keys for a model whose exported network takes bytes / 255 and gives probabilities of its classes.

    The halo becomes the overlap of two tiles. Deepness and GeoDeep read values from JSON.
    """
    side = spec.tile_size_px
    keys: dict[str, Any] = {
        "model_type": "Segmentor",
        "class_names": {str(i): row.name for i, row in enumerate(spec.classes)},
        "tiles_size": side,
        "tiles_overlap": round(100 * 2 * spec.halo.default_px / side, 3),
        # the best class wins, however probable, and no patch is too small: as geoseg decides
        "seg_thresh": 0.0,
        "seg_small_segment": 0,
    }
    if spec.resolution_m is not None:
        keys["resolution"] = round(100 * spec.resolution_m, 6)
    return {key: json.dumps(value) for key, value in keys.items()}


def _find_decoder(meta: Mapping[str, str]) -> str:
    kind = _read_json(meta, "det_type", "none")
    if kind not in _DECODERS:
        raise ModelError(
            f"The key det_type says {kind!r}, a detector of boxes; geoseg joins masks, so one of {', '.join(_DECODERS)} was expected. "
            "Export the network for segmentation."
        )
    return _DECODERS[kind]


def _read_classes(meta: Mapping[str, str], channels: tuple[int | None, ...], outputs: tuple[str, ...], *, detector: bool) -> Sheet:
    """Return classes and the outputs that they come from."""
    if "class_names" not in meta:
        return {}
    tables = _read_json(meta, "class_names", {})
    tables = tables if isinstance(tables, list) else [tables]
    names = [_read_names(table) for table in tables]
    if detector:
        return {"classes": name_classes(_with_background(names[0]))}
    if len(names) != len(outputs):
        raise ModelError(f"The key class_names describes {len(names)} outputs; the model has {len(outputs)} ({', '.join(outputs)}).")
    if len(names) == 1:
        alone = channels[0] == 1 and len(names[0]) == 1
        return {"classes": name_classes(_with_background(names[0]) if alone else names[0])}
    if any(len(each) > 1 for each in names):
        return {"ports": {"outputs": list(outputs), "choices": [name_classes(each) for each in names]}}
    return {"classes": name_classes(_with_background({i: each[min(each)] for i, each in enumerate(names)}))}


def _with_background(names: dict[int, str]) -> dict[int, str]:
    """Put the background, that such models do not name, before their classes."""
    first = _BACKGROUND if _BACKGROUND not in names.values() else "none"
    return {0: first, **{i + 1: name for i, (_, name) in enumerate(sorted(names.items()))}}


def _read_names(table: Any) -> dict[int, str]:
    try:
        names = {int(value): str(name) for value, name in table.items()}
    except (AttributeError, TypeError, ValueError):
        names = {}
    if not names:
        raise ModelError(f'The key class_names holds {table!r}; a table such as {{"0": "land", "1": "building"}} was expected.')
    return names


def _read_scaling(meta: Mapping[str, str], bands: int) -> Sheet:
    """Return mean and std in bytes: Deepness scales (value / 255 - mean) / std."""
    found: dict[str, list[float]] = {}
    for key, neutral in (("mean", 0.0), ("std", 1.0)):
        name = f"standardization_{key}"
        values = _read_json(meta, name, [neutral] * bands)
        if not isinstance(values, list) or len(values) != bands or not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
            raise ModelError(f"The key {name} holds {values!r}; a list of {bands} numbers, one per band, was expected.")
        found[key] = [value * _BYTE for value in values]
    return dict(found)


def _read_tile(meta: Mapping[str, str]) -> int | None:
    sizes = {key: round(_read_number(meta, key, least=0)) for key in _TILE_KEYS if key in meta}
    if len(set(sizes.values())) > 1:
        raise ModelError(f"The keys tile_size and tiles_size say {sizes['tile_size']} and {sizes['tiles_size']}; remove the wrong one.")
    return next(iter(sizes.values()), None)


def _read_json(meta: Mapping[str, str], key: str, otherwise: Any) -> Any:
    if key not in meta:
        return otherwise
    try:
        return json.loads(meta[key])
    except (ValueError, RecursionError) as exc:
        raise ModelError(f"The key {key} holds {meta[key][:80]!r}, which is not JSON: {exc}.") from exc


def _read_number(meta: Mapping[str, str], key: str, *, least: float, most: float = math.inf, otherwise: float | None = None) -> float:
    value = _read_json(meta, key, otherwise)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not least < value <= most:
        raise ModelError(
            f"The key {key} holds {value!r}; a number above {least:g}{'' if math.isinf(most) else f', at most {most:g},'} was expected."
        )
    return float(value)
