"""What may be done to a class map before it is written, by name and in order, with lengths and areas on the ground."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from geoseg.errors import ConfigError

FARTHEST_PX = 256
"""Pixels that a step may look at around one, at most: they are read around every block."""


class _Step(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def names(self) -> tuple[str, ...]:
        """Return the classes that the step names."""
        return ()


class SmoothStep(_Step):
    """Average the probabilities of each class around each pixel, and take the best one."""

    step: Literal["smooth"]
    """Its name."""
    radius_m: float = Field(gt=0)
    """Standard deviation of the Gaussian that weights them, which ends at three of them."""


class MajorityStep(_Step):
    """Give each pixel the most frequent class of the square around it; of equal ones its own, else the lowest value."""

    step: Literal["majority"]
    """Its name."""
    radius_m: float = Field(gt=0)
    """Half the side of the square."""


class MorphologyStep(_Step):
    """Take what is thinner than the square out of a class (opening), or fill what is narrower than it (closing).

    Pixels that opening takes out go to the most frequent other class of the square around them.
    """

    step: Literal["opening", "closing"]
    """Its name."""
    name: str
    """The class."""
    radius_m: float = Field(gt=0)
    """Half the side of the square."""

    def names(self) -> tuple[str, ...]:
        """Return the class."""
        return (self.name,)


class SieveStep(_Step):
    """Give patches below the minimum mapping unit to the neighbor with the longest shared border, the smallest first."""

    step: Literal["sieve"]
    """Its name."""
    min_area_m2: float = Field(gt=0)
    """Smallest patch that stays."""
    connectivity: Literal[4, 8] = 4
    """8: pixels that touch diagonally are one patch."""


class MergeStep(_Step):
    """Turn classes into another one."""

    step: Literal["merge"]
    """Its name."""
    classes: tuple[str, ...] = Field(min_length=1)
    """The classes that go."""
    into: str
    """The one that they become."""

    def names(self) -> tuple[str, ...]:
        """Return all of them."""
        return (*self.classes, self.into)


class EnclosedStep(_Step):
    """Turn patches of one class that lie inside another into a third: buildings in water, for example."""

    step: Literal["enclosed"]
    """Its name."""
    name: str
    """The class of the patches."""
    inside: str
    """The class around them."""
    becomes: str
    """What they become; a class of its own, for checking, or the one around them."""
    min_share: float = Field(default=0.9, gt=0, le=1)
    """Share of a patch's border that must be to the class around it; borders to nodata and to the edge of the raster do not count."""

    def names(self) -> tuple[str, ...]:
        """Return all of them."""
        return self.name, self.inside, self.becomes


PostStep = Annotated[SmoothStep | MajorityStep | MorphologyStep | SieveStep | MergeStep | EnclosedStep, Field(discriminator="step")]
"""A step, told by its name."""


def check_steps(steps: Sequence[PostStep], classes: Iterable[str], outputs: Iterable[str], pixel_m: float) -> None:
    """Refuse steps that cannot be done, before any work.

    Args:
        steps: In order.
        classes: Names of the model's classes.
        outputs: What the run makes.
        pixel_m: Side of a pixel on the ground.

    Raises:
        ConfigError: If a class is unknown, probabilities are not stored or are smoothed too late, or a radius is not of 1 to 256 pixels.
    """
    known = tuple(classes)
    for number, step in enumerate(steps, start=1):
        where = f"Step {number} of post ({step.step})"
        for name in step.names():
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else "."
                raise ConfigError(f"{where} names the class '{name}', which the model lacks{hint} Its classes are {', '.join(known)}.")
        if step.step == "smooth" and (number > 1 or "probabilities" not in outputs):
            raise ConfigError(f"{where} is made from probabilities: it must be the first one, with probabilities among --outputs.")
        radius_m = getattr(step, "radius_m", None)
        if radius_m is not None and not 0.5 <= radius_m / pixel_m <= FARTHEST_PX / (3 if step.step == "smooth" else 1):
            raise ConfigError(
                f"{where} has a radius of {radius_m:g} m, which is {radius_m / pixel_m:.2g} pixels of {pixel_m:.3g} m; "
                f"from 1 to {FARTHEST_PX} pixels are looked at, of a Gaussian three times its radius."
            )
