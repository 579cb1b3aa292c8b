"""Networks of segmentation-models-pytorch that were saved with ``save_pretrained``."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from geoseg.errors import ModelError
from geoseg.model.network import build_network, save_weights
from geoseg.model.package import WEIGHTS_NAME
from geoseg.model.sheet import Sheet, make_spec
from geoseg.model.spec import ModelSpec

SMP_CONFIG, SMP_WEIGHTS = "config.json", "model.safetensors"
_NOT_OPTIONS = {"in_channels", "classes", "encoder_name", "encoder_weights", "activation", "aux_params"}
_NUMBERS = {"classes": (1, 255), "in_channels": (3, 4096), "encoder_depth": (5, 10)}
"""What stands in their place where SMP's defaults are meant, and the most that is taken in."""


def tell_smp(folder: Path) -> Sheet:
    """Return what a folder says of its network: bands by number, and the network.

    Raises:
        ModelError: If its configuration cannot be read.
    """
    config = _read_config(folder)
    return {"bands": [f"band_{i + 1}" for i in range(_read_number(folder, config, "in_channels"))]}


def write_smp(folder: Path, spec: ModelSpec, target: Path) -> None:
    """Write the weights of a network that ``save_pretrained`` wrote into a package's folder, as float16.

    Raises:
        ModelError: If configuration and weights do not fit each other.
    """
    module = build_network(spec)
    try:
        state = load_file(folder / SMP_WEIGHTS)
        # stages of the encoder that its depth leaves unused are not built
        fitting = {name: tensor for name, tensor in state.items() if name in module.state_dict()}
        module.load_state_dict(fitting)
    except (RuntimeError, OSError, ValueError, SafetensorError) as exc:
        raise ModelError(f"{folder / SMP_WEIGHTS} does not fit {SMP_CONFIG}: {' '.join(str(exc).split())}") from exc
    save_weights(module, target / WEIGHTS_NAME)


def describe_smp(folder: Path, sheet: Sheet) -> ModelSpec:
    """Describe a network that ``save_pretrained`` wrote.

    Args:
        folder: With ``config.json`` and ``model.safetensors``.
        sheet: ``bands``, ``mean``, ``std``, ``classes``, ``tile_size_px`` and, where known, other fields of the spec.
            The halo is a quarter of the tile until it is measured.

    Raises:
        ModelError: If something is missing from the sheet, or sheet and configuration do not fit each other.
    """
    config = _read_config(folder)
    classes, bands = (_read_number(folder, config, key) for key in ("classes", "in_channels"))
    if config.get("activation") is not None:
        raise ModelError(f"{folder} applies '{config['activation']}' itself; a network that returns logits was expected (activation=None).")
    if all(key in sheet for key in ("bands", "classes")) and (classes, bands) != (len(sheet["classes"]), len(sheet["bands"])):
        raise ModelError(
            f"{folder} has {bands} bands and {classes} channels; the sheet names {len(sheet['bands'])} bands and "
            f"{len(sheet['classes'])} classes, one channel each. Name as many."
        )
    network = {
        "architecture": config["_model_class"].lower(),
        "encoder": config.get("encoder_name", ""),
        "options": {key: value for key, value in config.items() if key not in _NOT_OPTIONS and not key.startswith("_")},
        "stride_px": 2 ** _read_number(folder, config, "encoder_depth"),
    }
    return make_spec(folder, {"network": network}, sheet)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / SMP_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise ModelError(f"{folder / SMP_CONFIG} cannot be read: {exc}.") from exc
    if not isinstance(config, dict) or not isinstance(config.get("_model_class"), str):
        raise ModelError(f"{folder / SMP_CONFIG} names no _model_class; a folder written by SMP's save_pretrained was expected.")
    return config


def _read_number(folder: Path, config: dict[str, Any], key: str) -> int:
    default, most = _NUMBERS[key]
    value = config.get(key, default)
    if not isinstance(value, int) or not 0 < value <= most:
        raise ModelError(f"{folder / SMP_CONFIG} says {key} = {value!r}; a whole number from 1 to {most} was expected.")
    return value
