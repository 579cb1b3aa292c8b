"""What was measured on this machine, kept from run to run."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geoseg.inference.tuning.trial import Trial, from_plain, to_plain
from geoseg.io.files import write_whole


@dataclass(frozen=True, slots=True)
class TuningBook:
    """A JSON file of trials by model and machine. A damaged one is as good as none."""

    path: Path
    """The file."""

    def read(self, key: str) -> list[Trial]:
        """Return what was measured under a key; nothing where nothing was."""
        with suppress(KeyError, TypeError, ValueError):
            return [_to_trial(fields) for fields in self._read_all()[key]]
        return []

    def write(self, key: str, trials: Sequence[Trial]) -> None:
        """Keep trials under a key. Where the cache cannot be written the next run measures again."""
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            content = self._read_all() | {key: [asdict(trial) | {"candidate": to_plain(trial.candidate)} for trial in trials]}
            write_whole(self.path, (json.dumps(content, indent=1) + "\n").encode())

    @contextmanager
    def hold(self) -> Iterator[Path | None]:
        """Measure one at a time, whatever threads and processes want to: two that measure at once slow each other down.

        Yields:
            An empty folder to measure in. It goes in the end, or, where a process was killed, when the next one measures. None where
            the cache cannot be written or locked.
        """
        lock = self._lock()
        if lock is None:
            yield None
            return
        scratch = self.path.with_suffix(".scratch")
        try:
            shutil.rmtree(scratch, ignore_errors=True)
            with suppress(OSError):
                scratch.mkdir()
            yield scratch if scratch.is_dir() else None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            os.close(lock)

    def _lock(self) -> int | None:
        """Wait until nobody else measures; None where that cannot be known."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            # some network file systems know no locks
            os.close(lock)
            return None
        return lock

    def _read_all(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if isinstance(content, dict):
                return content
        return {}


def _to_trial(fields: dict[str, Any]) -> Trial:
    return Trial(**{**fields, "candidate": from_plain(fields["candidate"])})
