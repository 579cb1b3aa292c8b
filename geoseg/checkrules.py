"""Rules that single out features for a person to look at: a building in water, one that is far too large."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from geoseg.errors import ConfigError


class CheckRule(BaseModel):
    """Names features for which all that it says is true. Nothing is taken out; their column ``check`` says why they stand out."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1, pattern=r"^[^;]+$")
    """What stands in the column, for example ``building in water``; several rules are parted by semicolons."""
    layer: Literal["buildings", "roads"] = "buildings"
    """The features."""
    surrounded_by: str | None = None
    """Class of what lies around them."""
    around_m: float = Field(default=3.0, gt=0, le=100)
    """How far around; pixels without data, and those of the features' own kind, do not count."""
    min_share: float = Field(default=0.5, gt=0, le=1)
    """Share of it that must be of that class."""
    smaller_m2: float | None = Field(default=None, gt=0)
    """Buildings of less than this area."""
    larger_m2: float | None = Field(default=None, gt=0)
    """Buildings of more than this area."""
    score_below: float | None = Field(default=None, gt=0, le=1)
    """Features with a lower score."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.surrounded_by is None and self.smaller_m2 is None and self.larger_m2 is None and self.score_below is None:
            raise ValueError("a rule needs surrounded_by, smaller_m2, larger_m2 or score_below")
        if self.layer == "roads" and (self.smaller_m2 is not None or self.larger_m2 is not None):
            raise ValueError("roads have no area; smaller_m2 and larger_m2 go with buildings")
        return self


def check_rules(rules: Sequence[CheckRule], classes: Iterable[str], outputs: Iterable[str]) -> None:
    """Refuse rules that cannot be looked at, before any work.

    Args:
        rules: The rules.
        classes: Names of the model's classes.
        outputs: What the run makes.

    Raises:
        ConfigError: If a class is unknown, a layer is not made, a name stands twice, or a package is not installed.
    """
    known, made = tuple(classes), set(outputs)
    for number, rule in enumerate(rules, start=1):
        where = f"Rule {number} of checks ({rule.name})"
        if rule.name in {other.name for other in rules[: number - 1]}:
            raise ConfigError(f"{where} has the name of an earlier one. Give each a name of its own.")
        if rule.layer not in made:
            raise ConfigError(f"{where} is about {rule.layer}, which are not among the outputs ({', '.join(sorted(made))}). Add them.")
        if rule.surrounded_by is None:
            continue
        if rule.surrounded_by not in known:
            near = get_close_matches(rule.surrounded_by, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "."
            raise ConfigError(f"{where} names the class '{rule.surrounded_by}', which the model lacks{hint} It has {', '.join(known)}.")
        if find_spec("exactextract") is None:
            raise ConfigError(f"{where} measures what lies around features with exactextract: pip install 'geoseg[formats]'.")
