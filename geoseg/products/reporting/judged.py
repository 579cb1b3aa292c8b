"""What a person, or labels, said about a run: the JSON files of ``geoseg accuracy area`` and ``geoseg evaluate``."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from geoseg.errors import LabelError, MissingFileError

REPORT = "report.html"
"""Name in the run folder of the report."""
ACCURACY = "accuracy.json"
"""Name in the run folder of what was said about its class map."""


class _Read(BaseModel):
    # later versions of geoseg may write more
    model_config = ConfigDict(frozen=True, extra="ignore")


class ClassAccuracy(_Read):
    """One class of an :class:`Accuracy`; what is not defined is None, margins are half of a 95 % confidence interval."""

    name: str
    """Name of the class."""
    points: int
    """Points that were looked at."""
    users: float | None
    """Of what is mapped as the class, how much is."""
    users_margin: float | None
    """Its margin."""
    producers: float | None
    """Of what is the class, how much is mapped as such."""
    producers_margin: float | None
    """Its margin."""
    area_m2: float | None
    """Estimated area."""
    area_m2_margin: float | None
    """Its margin."""


class Accuracy(_Read):
    """What a sample of points says about a class map."""

    overall_accuracy: float
    """Share of the map's area that is right."""
    overall_accuracy_margin: float
    """Half of its 95 % confidence interval."""
    classes: tuple[ClassAccuracy, ...]
    """Class by class."""


class Evaluated(_Read):
    """One raster of an :class:`Evaluation`."""

    name: str
    """What it is called."""
    metrics: dict[str, float]
    """Scores by name."""


class Evaluation(_Read):
    """What labels say about a run."""

    title: str
    """Heading."""
    data: tuple[Evaluated, ...]
    """Raster by raster."""


def read_accuracy(path: Path) -> Accuracy:
    """Read what ``geoseg accuracy area -o`` wrote.

    Raises:
        MissingFileError: If there is no such file.
        LabelError: If it holds something else.
    """
    told = _read(path, "geoseg accuracy area POINTS --classmap OUT -o")
    try:
        named = [{**row, "name": row.get("class")} for row in told["classes"]]
        return Accuracy.model_validate({**told, "classes": named})
    except (ValidationError, LookupError, TypeError, AttributeError) as exc:
        raise _foreign(path, "geoseg accuracy area POINTS --classmap OUT -o", exc) from exc


def read_evaluation(path: Path) -> Evaluation:
    """Read ``evaluation.json``, or the one in a folder, which ``geoseg evaluate -o`` wrote.

    Raises:
        MissingFileError: If there is no such file.
        LabelError: If it holds something else.
    """
    path = path / "evaluation.json" if path.is_dir() else path
    told = _read(path, "geoseg evaluate OUT --labels FILE -o")
    try:
        return Evaluation.model_validate(told)
    except ValidationError as exc:
        raise _foreign(path, "geoseg evaluate OUT --labels FILE -o", exc) from exc


def _read(path: Path, command: str) -> dict[str, Any]:
    if not path.exists():
        raise MissingFileError(f"There is no file {path}. {command} writes one.")
    try:
        told = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as exc:
        raise _foreign(path, command, exc) from exc
    if not isinstance(told, dict):
        raise _foreign(path, command, TypeError("it is no table"))
    return told


def _foreign(path: Path, command: str, exc: Exception) -> LabelError:
    lines = str(exc).splitlines()
    return LabelError(f"{path} is not what {command} writes: {type(exc).__name__}: {' '.join(line.strip() for line in lines[:3])}.")
