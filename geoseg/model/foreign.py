"""Networks of segmentation-models-pytorch that were saved with ``save_pretrained``, wrapped as packages."""

import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from geoseg.errors import MissingFileError, ModelError, WriteError
from geoseg.model.network import build_network, save_weights
from geoseg.model.package import WEIGHTS_NAME, ModelPackage, write_card
from geoseg.model.spec import ModelSpec

SMP_CONFIG, SMP_WEIGHTS = "config.json", "model.safetensors"
_NEEDED = ("bands", "mean", "std", "classes", "tile_size_px")
_FILLED = {"name": "imported", "version": "1", "license": "other", "description": "Imported; its accuracy was not measured."}
_NOT_OPTIONS = {"in_channels", "classes", "encoder_name", "encoder_weights", "activation", "aux_params"}


def is_smp_folder(folder: Path) -> bool:
    """Tell whether a folder was written by ``save_pretrained``."""
    return (folder / SMP_CONFIG).is_file() and (folder / SMP_WEIGHTS).is_file()


def read_sheet(path: Path | None) -> dict[str, Any]:
    """Read what a foreign model does not say of itself: fields of :class:`geoseg.model.spec.ModelSpec` in TOML.

    Raises:
        MissingFileError: If there is no such file.
        ModelError: If it is no TOML.
    """
    if path is None:
        return {}
    if not path.is_file():
        raise MissingFileError(f"There is no {path}. Check --sheet.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ModelError(f"{path} is not valid TOML: {exc}.") from exc


def import_smp(folder: Path, target: Path, sheet: dict[str, Any]) -> ModelPackage:
    """Wrap an SMP network as a package; the weights are stored as float16.

    Args:
        folder: With ``config.json`` and ``model.safetensors``.
        target: New folder of the package.
        sheet: ``bands``, ``mean``, ``std``, ``classes``, ``tile_size_px`` and, where known, other fields of the spec.
            The halo is a quarter of the tile until it is measured.

    Raises:
        ModelError: If something is missing from the sheet, or sheet, configuration and weights do not fit each other.
        WriteError: If the target exists.
    """
    if target.exists():
        raise WriteError(f"{target} is there already. Choose a new name with -o, or remove it.")
    missing = [key for key in _NEEDED if key not in sheet]
    if missing:
        raise ModelError(
            f"{folder} does not say {', '.join(missing)}. Write them into a TOML file and name it with --sheet, for example:\n"
            'bands = ["red", "green", "blue"]\nmean = [112, 112, 104]\nstd = [56, 53, 54]\ntile_size_px = 512\nresolution_m = 0.3\n'
            'classes = [{value = 0, name = "land", color = "#c8b48c"}, {value = 1, name = "house", color = "#dc2828", kind = "building"}]'
        )
    spec = _make_spec(folder, sheet)
    module = build_network(spec)
    try:
        state = load_file(folder / SMP_WEIGHTS)
        # stages of the encoder that its depth leaves unused are not built
        fitting = {name: tensor for name, tensor in state.items() if name in module.state_dict()}
        module.load_state_dict(fitting)
    except (RuntimeError, OSError, ValueError, SafetensorError) as exc:
        raise ModelError(f"{folder / SMP_WEIGHTS} does not fit {SMP_CONFIG}: {' '.join(str(exc).split())}") from exc
    target.mkdir(parents=True)
    save_weights(module, target / WEIGHTS_NAME)
    return write_card(target, spec)


def _make_spec(folder: Path, sheet: dict[str, Any]) -> ModelSpec:
    config = _read_config(folder)
    classes, bands = int(config.get("classes", 1)), int(config.get("in_channels", 3))
    if config.get("activation") is not None:
        raise ModelError(f"{folder} applies '{config['activation']}' itself; a network that returns logits was expected (activation=None).")
    if (classes, bands) != (len(sheet["classes"]), len(sheet["bands"])):
        raise ModelError(
            f"{folder} has {bands} bands and {classes} channels; the sheet names {len(sheet['bands'])} bands and "
            f"{len(sheet['classes'])} classes, one channel each. Name as many."
        )
    stride = 2 ** int(config.get("encoder_depth", 5))
    halo = int(sheet["tile_size_px"]) // 4 // stride * stride
    given: dict[str, Any] = {
        **_FILLED,
        "heads": {"semantic": {"start": 0, "stop": classes, "activation": "softmax"}},
        "halo": {"default_px": halo, "exact_px": halo, "measured_on": ""},
        "network": {
            "architecture": config["_model_class"].lower(),
            "encoder": config.get("encoder_name", ""),
            "options": {key: value for key, value in config.items() if key not in _NOT_OPTIONS and not key.startswith("_")},
            "stride_px": stride,
        },
    }
    network = {**given["network"], **sheet.get("network", {})}
    try:
        return ModelSpec.model_validate({**given, **sheet, "network": network})
    except ValidationError as exc:
        faults = "; ".join(f"{'.'.join(map(str, f['loc'])) or 'sheet'}: {f['msg']}" for f in exc.errors())
        raise ModelError(f"What is said of {folder} does not describe a model: {faults}.") from exc


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / SMP_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ModelError(f"{folder / SMP_CONFIG} cannot be read: {exc}.") from exc
    if not isinstance(config, dict) or not isinstance(config.get("_model_class"), str):
        raise ModelError(f"{folder / SMP_CONFIG} names no _model_class; a folder written by SMP's save_pretrained was expected.")
    return config
