"""A training configuration as it stands in ``configs/train-*.toml``."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geoseg.errors import ConfigError, MissingFileError
from geoseg.labels.site import Site
from geoseg.model.spec import ModelSpec


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Schedule(_Strict):
    """How long and how fast."""

    epochs: int = Field(gt=0)
    """Each of ``steps_per_epoch`` steps; a checkpoint is written after each."""
    steps_per_epoch: int = Field(default=50, gt=0)
    """Optimizer steps."""
    batch_size: int = Field(default=8, gt=0)
    """Windows in a step."""
    window_px: int = Field(default=256, gt=0)
    """Side of a training window."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak, reached after the warm-up and let down by a cosine."""
    warm_up: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps."""
    weight_decay: float = 0.02
    """AdamW."""
    ema_decay: float = Field(default=0.995, gt=0, lt=1)
    """Exponential moving average of the weights, which is what is kept."""
    seed: int = 0
    """Of weights, windows and augmentation."""


class Augmentation(_Strict):
    """How windows are varied; rotation and mirroring are always on."""

    scale: tuple[float, float] = (0.65, 1.6)
    """Smallest and largest magnification, log-uniform."""
    color: float = Field(default=1.0, ge=0)
    """Strength of brightness, contrast, color and haze; 0 leaves colors alone."""
    gray: float = Field(default=0.05, ge=0, le=1)
    """Probability of a gray window."""


class LossWeights(_Strict):
    """What counts how much."""

    classes: tuple[float, ...]
    """Weight of each class in the cross entropy, in channel order."""
    not_building: float = 1.0
    """Weight of pixels that are only known to be no building; raise it where training sites are denser built than the world."""
    dice: float = 0.5
    """Soft Dice of the object classes."""
    lovasz: float = 0.0
    """Lovasz-softmax of all classes, which stands for the mean IoU."""
    interior: float = 1.0
    """Building interior."""
    boundary: float = 1.0
    """Building boundary."""


class Recipe(_Strict):
    """Everything that leads from data to a model package."""

    model: ModelSpec
    """The spec of the package; halo and accuracy are filled in by training."""
    sites: Annotated[tuple[Site, ...], Field(min_length=1)]
    """What is learned from."""
    tests: tuple[Site, ...] = ()
    """What is measured on, once, at the end."""
    schedule: Schedule
    """Length and speed."""
    augmentation: Augmentation = Augmentation()
    """Variation of windows."""
    loss: LossWeights
    """Weights of the loss."""
    start_from: str | None = None
    """Model package whose weights training starts from; None starts from random ones."""


def read_recipe(path: Path) -> Recipe:
    """Read and check a training configuration.

    Raises:
        MissingFileError: If there is no such file.
        ConfigError: If it is no TOML or a key does not fit; each fault is named.
    """
    if not path.exists():
        raise MissingFileError(f"There is no training configuration {path}. The shipped ones are in configs/.")
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path} is not valid TOML: {exc}.") from exc
    except ValidationError as exc:
        raise ConfigError(f"{path} does not fit: {describe_faults(exc)}.") from exc


def describe_faults(error: ValidationError) -> str:
    """Say in one line what pydantic found."""
    return "; ".join(f"{'.'.join(str(p) for p in f['loc']) or 'file'}: {f['msg']}" for f in error.errors())
