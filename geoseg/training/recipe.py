"""A training configuration as it stands in ``configs/train-*.toml``."""

import tomllib
import typing
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from geoseg.errors import ConfigError, MissingFileError
from geoseg.labels.site import Site
from geoseg.model.spec import ModelSpec
from geoseg.pixels.classes import ClassKind

TRAINED_HEADS = ("semantic", "building_interior", "building_boundary", "building_distance")
"""Heads that there is a loss for."""
_WITH_LABELS = ("sites", "validation", "tests")
_Share = Annotated[float, Field(ge=0, le=1)]
_Weight = Annotated[float, Field(ge=0)]


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
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of weights, windows and augmentation."""
    gradient_clip: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient; 0 leaves gradients as they are."""
    deterministic: bool = False
    """Whether to take deterministic kernels on a GPU where there are any; a CPU's always are."""
    validate_every: int = Field(default=1, gt=0)
    """Epochs between two measurements on the ``[[validation]]`` sites."""
    patience: int = Field(default=0, ge=0)
    """Measurements without a better score after which training stops early; 0 never stops."""
    keep: Literal["best", "last"] = "best"
    """Which weights become the package: those of the best measurement, or the last ones. Without validation, the last."""


class Sampling(_Strict):
    """Where windows are drawn."""

    class_balance: _Share = 0.6
    """Share of the windows that are drawn around a pixel of a class drawn at random; the others lie anywhere."""
    rarity: _Share = 0.0
    """Power of a class's inverse frequency in that draw: 0 draws all classes alike, 0.5 by inverse square root, 1 by inverse frequency."""
    stay_inside: bool = False
    """Whether windows that would reach past their raster are moved into it, as far as they fit."""
    tries: int = Field(default=10, gt=0)
    """How often a window without any labelled pixel is drawn anew."""


class Augmentation(_Strict):
    """How windows are varied; rotation and mirroring are always on."""

    scale: tuple[float, float] = (0.65, 1.6)
    """Smallest and largest magnification, log-uniform."""
    color: _Weight = 1.0
    """Strength of brightness, contrast, color, haze and noise; 0 leaves colors alone, and haze, blur and noise out."""
    gray: _Share = 0.05
    """Probability of a gray window, where there are at least three bands."""
    haze: _Share = 0.15
    """Probability of haze."""
    haze_strength: _Share = 0.4
    """Largest share of the signal that haze takes, times ``color``."""
    blur: _Share = 0.2
    """Probability of blur."""
    blur_px: _Weight = 0.0
    """Largest standard deviation of a Gaussian blur, as optics blur; 0 averages 3 x 3 pixels."""
    noise: _Share = 0.3
    """Probability of noise."""
    noise_strength: _Weight = 0.03
    """Standard deviation of the noise as a share of the range, times ``color``."""
    shadow: _Share = 0.0
    """Probability of a shadow: a building's, with straight sides, or a cloud's, round and soft."""
    shadow_strength: _Share = 0.5
    """Largest share of the light that a shadow takes."""
    jpeg: _Share = 0.0
    """Probability of losses as JPEG compression makes them."""
    jpeg_quality: tuple[int, int] = (30, 90)
    """Lowest and highest quality, within 1..100."""
    band_drop: _Share = 0.0
    """Probability that one band is replaced by its mean, where there are at least two."""
    other_colors: _Share = 0.0
    """Probability that a window takes the colors of another raster of the sites: mean and standard deviation of each band."""
    class_mix: _Share = 0.0
    """Probability that half of the classes of another window are pasted onto a window, pixels and labels."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must rise from above 0; it is {list(self.scale)}")
        if not 1 <= self.jpeg_quality[0] <= self.jpeg_quality[1] <= 100:
            raise ValueError(f"jpeg_quality must rise within 1..100; it is {list(self.jpeg_quality)}")
        return self


class LossWeights(_Strict):
    """What counts how much. Terms of heads that the model lacks are left out; a weight of 0 saves the work."""

    classes: tuple[_Weight, ...]
    """Weight of each class in the cross entropy, in channel order."""
    not_building: _Weight = 1.0
    """Weight of pixels that are only known to be no building; raise it where training sites are denser built than the world."""
    semantic: _Weight = 1.0
    """Cross entropy of the classes."""
    edge_smoothing: _Share = 0.0
    """Share of a pixel's label that is spread over the labels around it: softens labels at class borders only."""
    edge_px: int = Field(default=2, gt=0)
    """How far ``edge_smoothing`` looks."""
    focal: _Weight = 0.0
    """Focal loss of the classes."""
    focal_gamma: _Weight = 2.0
    """How strongly the focal loss leaves out pixels that are already right."""
    dice: _Weight = 0.5
    """Soft Dice of the object classes."""
    lovasz: _Weight = 0.0
    """Lovasz-softmax of all classes, which stands for the mean IoU."""
    contour: _Weight = 0.0
    """Boundary loss of all classes: probability weighed by its distance from the true border."""
    interior: _Weight = 1.0
    """Building interior."""
    boundary: _Weight = 1.0
    """Building boundary."""
    distance: _Weight = 1.0
    """Distance to the building's edge."""
    distance_px: float = Field(default=8.0, gt=0)
    """Distance from the edge at which the target of ``building_distance`` reaches 1."""


class Decision(_Strict):
    """When a pixel counts as a class; built into the weights once they are trained."""

    odds: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    """By name of class, what its odds are multiplied by: 2 makes a pixel count, of two classes, from a third on instead of a half."""


class Recipe(_Strict):
    """Everything that leads from data to a model package."""

    model: ModelSpec
    """The spec of the package; halo and accuracy are filled in by training."""
    sites: Annotated[tuple[Site, ...], Field(min_length=1)]
    """What is learned from."""
    tests: tuple[Site, ...] = ()
    """What is measured on, once, at the end."""
    validation: tuple[Site, ...] = ()
    """What is measured on while training; it decides which weights are kept, so keep it apart from the tests."""
    schedule: Schedule
    """Length and speed."""
    sampling: Sampling = Sampling()
    """Where windows are drawn."""
    augmentation: Augmentation = Augmentation()
    """Variation of windows."""
    loss: LossWeights
    """Weights of the loss."""
    decision: Decision = Decision()
    """When a pixel counts as a class."""
    start_from: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Model packages whose weights training starts from the average of; one may be given as text; none starts from random ones."""

    @field_validator("start_from", mode="before")
    @classmethod
    def _take_one(cls, given: object) -> object:
        if given is None:
            return ()
        return (given,) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _check(self) -> Self:
        found = next((site.name for site in (*self.tests, *self.validation) if site.kind == "run"), None)
        if found is not None:
            raise ValueError(f"site '{found}' is a run; what a model found is no truth to measure by, only to learn from")
        if len(self.loss.classes) != len(self.model.classes):
            raise ValueError(f"loss.classes has {len(self.loss.classes)} weights; the model has {len(self.model.classes)} classes")
        untrained = sorted(set(self.model.heads) - set(TRAINED_HEADS))
        if untrained:
            raise ValueError(f"there is no loss for head '{untrained[0]}'; heads are {', '.join(TRAINED_HEADS)}")
        buildings = [row.name for row in self.model.scheme.of_kind(ClassKind.BUILDING)]
        if len(buildings) > 1:
            raise ValueError(
                f"the model has {len(buildings)} classes of buildings ({', '.join(buildings)}); objects are made of one alone. "
                "Give all but one of them the kind surface"
            )
        names = [row.name for row in self.model.classes]
        unknown = next((name for name in self.decision.odds if name not in names), None)
        if unknown is not None:
            raise ValueError(f"decision.odds names a class '{unknown}'; the model's are {', '.join(names)}")
        if self.decision.odds and self.model.network.library == "sklearn":
            raise ValueError("decision.odds is for networks; a baseline has no logits to raise")
        if self.schedule.window_px % self.model.network.stride_px:
            raise ValueError(
                f"window_px {self.schedule.window_px} must be a multiple of the network's stride {self.model.network.stride_px}"
            )
        return self


def read_recipe(path: Path) -> Recipe:
    """Read and check a training configuration; ``{recipe}`` in names of label files becomes the folder that it lies in.

    Raises:
        MissingFileError: If there is no such file.
        ConfigError: If it is no TOML or a key does not fit; each fault is named.
    """
    if not path.exists():
        raise MissingFileError(f"There is no training configuration {path}. The shipped ones are in configs/.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        beside = path.absolute().parent.as_posix().replace("{", "{{").replace("}", "}}")
        return Recipe.model_validate({**table, **{name: _place_labels(table[name], beside) for name in _WITH_LABELS if name in table}})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} is not valid TOML: {exc}.") from exc
    except ValidationError as exc:
        raise ConfigError(f"{path} does not fit: {describe_faults(exc)}") from exc


def _place_labels(sites: Any, folder: str) -> Any:
    """Fill in the folder of the configuration; what does not fit is left to the check."""
    if isinstance(sites, str):
        return sites.replace("{recipe}", folder)
    if isinstance(sites, list):
        return [_place_labels(site, folder) for site in sites]
    if isinstance(sites, dict):
        return {key: _place_labels(value, folder) for key, value in sites.items()}
    return sites


def describe_faults(error: ValidationError) -> str:
    """Say in one line what pydantic found; for a key that does not exist, which one may be meant."""
    return "; ".join(_fault(f) for f in error.errors())


def _fault(fault: Any) -> str:
    place = ".".join(str(p) for p in fault["loc"]) or "file"
    if fault["type"] != "extra_forbidden":
        return f"{place}: {fault['msg']}"
    near = get_close_matches(str(fault["loc"][-1]), _keys_at(fault["loc"][:-1]), n=1)
    return f"there is no key '{place}'" + (f"; did you mean '{near[0]}'?" if near else "")


def _keys_at(place: tuple[int | str, ...]) -> list[str]:
    table: type[BaseModel] | None = Recipe
    for part in place:
        if isinstance(part, str) and table is not None and part in table.model_fields:
            table = _table_in(table.model_fields[part].annotation)
    return list(table.model_fields) if table else []


def _table_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in typing.get_args(annotation) if (found := _table_in(inner))), None)
