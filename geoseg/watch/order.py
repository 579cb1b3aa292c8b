"""Which source comes next."""

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from geoseg.errors import MissingFileError, UsageError
from geoseg.watch.sources import Source

Rule = Literal["oldest", "newest", "smallest", "largest", "name"]
"""What decides among sources that no order names."""

_COMMENT = re.compile(r"(?:^|\s)#")
_KEYS: dict[Rule, Callable[[Source], float]] = {
    "oldest": lambda source: source.stamp.changed_ns,
    "newest": lambda source: -source.stamp.changed_ns,
    "smallest": lambda source: source.stamp.size_bytes,
    "largest": lambda source: -source.stamp.size_bytes,
    "name": lambda source: 0.0,
}


def read_order(path: Path) -> tuple[str, ...]:
    """Read names and patterns, one in a line, the most urgent first.

    ``#`` at the beginning of a line or after a space begins a comment; ``[#]`` is one in a name.

    Raises:
        MissingFileError: If there is no such file.
        UsageError: If it is no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as exc:
        raise MissingFileError(f"There is no order {path}. Check --order.") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"The order {path} could not be read: {exc}. Expected UTF-8 text, a name or pattern in each line.") from exc
    return tuple(name for line in text.splitlines() if (name := _COMMENT.split(line, maxsplit=1)[0].strip()))


def rank_sources(sources: Iterable[Source], rule: Rule, patterns: Sequence[str] = ()) -> list[Source]:
    """Return sources in the order in which they are segmented.

    Args:
        sources: In any order.
        rule: Decides among those that the same pattern fits, or none; equal ones come by name.
        patterns: Names, or patterns such as ``bridge_*``; what the first one fits comes first, what none fits last.
    """

    def fits(name: str, pattern: str) -> bool:
        # a name with brackets is no pattern that fits itself
        return name == pattern or fnmatch(name, pattern)

    def urgency(source: Source) -> int:
        return next(
            (place for place, pattern in enumerate(patterns) if source.name == pattern or fnmatch(source.name, pattern)), len(patterns)
        )

    return sorted(sources, key=lambda source: (urgency(source), _KEYS[rule](source), source.name))
