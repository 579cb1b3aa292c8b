"""Classes of two dates, brought together by their names, and the numbers of the transitions between them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ConfigError, UsageError
from geoseg.pixels.classes import NODATA_CLASS, ClassScheme, LandClass

MOST_CLASSES = 15
"""Codes of transitions are two digits of base 16 in one byte, of which 255 stays for no data."""
BASE = 16
UNCHANGED = 254
"""Stands for all pixels that did not change, where patches are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonClasses:
    """The classes of two dates under one numbering."""

    scheme: ClassScheme
    """Classes with values 0, 1, 2 and so on."""
    before: NDArray[np.uint8]
    """(256,) new value of each value of the class map before; NODATA_CLASS where it is none."""
    after: NDArray[np.uint8]
    """(256,) the same of the class map after."""


def bring_together(before: ClassScheme, after: ClassScheme, match: Mapping[str, str]) -> CommonClasses:
    """Match classes by name, capitals aside.

    Args:
        before: Classes of the first date.
        after: Classes of the second date.
        match: New names of classes, by their names in small letters; an empty one counts as no data.

    Raises:
        UsageError: If a class stands in one of the schemes only: each of its pixels would be a change, as the other date cannot have it.
        ConfigError: If a name to be matched is that of no class, there are more than 15 classes or none, or one is called as a change.
    """
    known = {c.name.casefold() for c in (*before, *after)}
    strangers = sorted(set(match) - known)
    if strangers:
        raise ConfigError(f"--match names '{strangers[0]}', which is no class of either run; they have {', '.join(sorted(known))}.")
    first, second = ({row: name for row in scheme if (name := match.get(row.name.casefold(), row.name))} for scheme in (before, after))
    names = {name.casefold(): name for name in (*second.values(), *first.values())}
    only = [
        {name.casefold() for name in one.values()} - {name.casefold() for name in other.values()}
        for one, other in ((first, second), (second, first))
    ]
    if any(only):
        raise UsageError(_misfit(*only))
    # a class that has the name already lends its color
    rows = {name.casefold(): row for row, name in (*second.items(), *first.items())}
    rows |= {name.casefold(): row for row, name in (*second.items(), *first.items()) if row.name.casefold() == name.casefold()}
    order = list(dict.fromkeys(name.casefold() for name in first.values()))
    if not 0 < len(order) <= MOST_CLASSES:
        raise ConfigError(
            f"Changes are told between 1 to {MOST_CLASSES} classes; these runs share {len(order)}. Put some together with --match."
        )
    change = next((f"{names[one]} to {names[other]}" for one, other in permutations(order, 2) if f"{one} to {other}" in order), None)
    if change is not None:
        raise ConfigError(f"Class '{change}' has the name of a change between two other classes. Rename it: --match '{change}=NAME'.")
    scheme = ClassScheme(classes=tuple(replace(rows[name], value=n, name=names[name]) for n, name in enumerate(order)))
    return CommonClasses(scheme=scheme, before=_renumber(first, order), after=_renumber(second, order))


def _renumber(named: Mapping[LandClass, str], order: list[str]) -> NDArray[np.uint8]:
    table = np.full(256, NODATA_CLASS, np.uint8)
    for row, name in named.items():
        table[row.value] = order.index(name.casefold())
    return table


def _misfit(only_before: set[str], only_after: set[str]) -> str:
    told = [f"{', '.join(sorted(names))} only {when}" for names, when in ((only_before, "before"), (only_after, "after")) if names]
    example = min(only_before | only_after)
    return (
        f"The classes of the two runs do not fit: {'; '.join(told)}. A class that one date cannot have would be a change everywhere. "
        f"Use one model for both dates, or match names: --match '{example}=NAME'; --match '{example}=' takes its pixels for no data."
    )


def code_transitions(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 16 * before + after of common class values; NODATA_CLASS where either is."""
    code = before * np.uint8(BASE) + after
    code[(before == NODATA_CLASS) | (after == NODATA_CLASS)] = NODATA_CLASS
    return np.asarray(code, np.uint8)


def split_codes(codes: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return class values before and after of codes, NODATA_CLASS where they are."""
    none = codes == NODATA_CLASS
    return tuple(np.where(none, np.uint8(NODATA_CLASS), part) for part in np.divmod(codes, np.uint8(BASE)))  # type: ignore[return-value]


def merge_unchanged(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return codes with UNCHANGED in place of all whose class stayed the same."""
    before, after = np.divmod(codes, np.uint8(BASE))
    return np.where((before == after) & (codes != NODATA_CLASS), np.uint8(UNCHANGED), codes)


def transition_scheme(scheme: ClassScheme) -> ClassScheme:
    """Return the legend of codes: ``water`` where it stayed, pale; ``water to land`` where it changed, in the color of what came."""
    rows = []
    for one, other in product(scheme, scheme):
        stayed = one.value == other.value
        rgb = _mix(one.rgb, (255, 255, 255), 0.72) if stayed else _mix(other.rgb, one.rgb, 0.2)
        name = one.name if stayed else f"{one.name} to {other.name}"
        rows.append(LandClass(value=one.value * BASE + other.value, name=name, color="#{:02x}{:02x}{:02x}".format(*rgb)))
    return ClassScheme(classes=tuple(rows))


def is_change(code: int) -> bool:
    """Tell whether a code, which is none of no data, is that of another class before than after."""
    before, after = divmod(code, BASE)
    return before != after


def _mix(one: tuple[int, int, int], other: tuple[int, int, int], share: float) -> tuple[int, ...]:
    return tuple(round(a * (1 - share) + b * share) for a, b in zip(one, other, strict=True))
