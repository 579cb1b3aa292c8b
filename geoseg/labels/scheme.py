"""Class schemes from wherever they stand: a file of classes, a training configuration, a model."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from geoseg.errors import ConfigError
from geoseg.model.source import find_model
from geoseg.model.spec import ClassRow
from geoseg.pixels.classes import ClassScheme, LandClass


def find_scheme(name: str) -> ClassScheme:
    """Read the classes of a TOML file (``classes`` at the top or below ``model``), or of a model.

    Raises:
        ConfigError: If the file holds no classes, or they do not fit.
        MissingFileError: If there is neither such a file nor such a model.
    """
    path = Path(name)
    if path.suffix != ".toml" or not path.is_file():
        return find_model(name).spec.scheme
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        rows = TypeAdapter(tuple[ClassRow, ...]).validate_python(content.get("classes") or content.get("model", {}).get("classes") or ())
    except (tomllib.TOMLDecodeError, AttributeError, UnicodeDecodeError, ValidationError) as exc:
        raise ConfigError(f"{path} does not hold classes as expected: {exc}") from exc
    return ClassScheme(classes=tuple(LandClass(value=c.value, name=c.name, color=c.color, kind=c.kind) for c in rows))
