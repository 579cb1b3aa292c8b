"""Whose chunks a folder takes: workers outlive the command that called them, and the folder may be another run's meanwhile."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from geoseg.errors import RunError


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a run folder's record was when its work was given out."""

    record: Path
    """The record, where the workers see it."""
    digest: str
    """Hash of what stood in it."""

    @classmethod
    def stake(cls, record: Path) -> "Claim | None":
        """Return the claim of the run that a record tells of now; None if there is no record."""
        try:
            return cls(record=record, digest=_digest(record))
        except FileNotFoundError:
            return None

    def check(self) -> None:
        """Make sure that the folder still belongs to the run, right before something is put into it.

        Raises:
            RunError: If another run has begun there, the folder is gone, or it cannot be looked at.
        """
        try:
            is_ours = _digest(self.record) == self.digest
        except OSError as exc:
            raise RunError(f"{self.record} could not be read: {exc}. Nothing was written; the same command again goes on.") from exc
        if not is_ours:
            raise RunError(f"{self.record} is another run's now: what was computed for the one before it was not written.")


def _digest(record: Path) -> str:
    return sha256(record.read_bytes()).hexdigest()
