"""What a training reports, and the log of it that a resumed training goes on with."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from geoseg.events import Warned
from geoseg.io.files import write_whole

HISTORY = "epochs.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochDone:
    """One epoch is trained and, where there is validation and it is due, measured."""

    epoch: int
    """From 1."""
    epochs: int
    """How many there will be at most."""
    losses: dict[str, float]
    """Means over the epoch by name; ``total`` is what was minimized."""
    learning_rate: float
    """At the end of the epoch."""
    mpx_per_s: float
    """Million pixels trained on in a second."""
    left_s: float
    """Seconds that the rest will take."""
    score: float | None = None
    """Mean over the validation sites of mean IoU, or of the IoU of buildings where labels know no more; None if not measured."""
    accuracy: dict[str, float] = field(default_factory=dict)
    """By "site: metric", as measured on the averaged weights."""


TrainingEvent = EpochDone | Warned
TrainingListener = Callable[[TrainingEvent], None]
"""Takes each event as it comes."""


def read_history(folder: Path, epochs: int | None = None) -> list[EpochDone]:
    """Read the log of a training.

    Args:
        folder: Its working folder; no log is an empty one.
        epochs: How many to take at most, counted by number.
    """
    path = folder / HISTORY
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [EpochDone(**json.loads(line)) for line in lines]
    return [row for row in rows if epochs is None or row.epoch <= epochs]


def write_history(folder: Path, rows: list[EpochDone]) -> None:
    """Write the log of a training, whole (law 9)."""
    write_whole(folder / HISTORY, "".join(to_json(row) + "\n" for row in rows).encode("utf-8"))


def to_json(event: EpochDone) -> str:
    """Write an epoch as one line of JSON."""
    return json.dumps(asdict(event), ensure_ascii=False)


def is_stale(rows: list[EpochDone], patience: int) -> bool:
    """Tell whether the last ``patience`` measurements, if any are asked for, brought no better score than those before."""
    scores = [row.score for row in rows if row.score is not None]
    if not patience or len(scores) <= patience:
        return False
    return max(scores[-patience:]) <= max(scores[:-patience])


def best_epoch(rows: list[EpochDone]) -> EpochDone | None:
    """Return the first epoch of the best score, or None if none was measured."""
    measured = [row for row in rows if row.score is not None]
    return max(measured, key=lambda row: (row.score or 0.0, -row.epoch), default=None)
