"""The exceptions that geoseg raises on purpose.

Every leaf is also the builtin that fits, so ``except ValueError`` keeps working::

    GeosegError
    ├── UsageError                (ValueError)    what was asked cannot be done as asked; exit code 2
    │   ├── ConfigError                           a configuration file or option
    │   ├── RasterError                           an input raster
    │   ├── AreaError                             an area of interest that holds nothing of a raster
    │   ├── ModelError                            a model package
    │   ├── LabelError                            training or evaluation labels
    │   └── RunFolderError                        an output folder
    │       └── RunFolderBusyError                another command is at work in it
    ├── MissingFileError          (FileNotFoundError)
    └── RunError                  (RuntimeError)  work had started and could not be finished; exit code 1
        ├── ChunkError                            a chunk failed more often than it is retried
        ├── WriteError            (OSError)       a result could not be written
        ├── MemoryLimitError      (MemoryError)   the plan does not fit into memory
        ├── DeviceMemoryError     (MemoryError)   a batch does not fit into the memory of the device
        ├── DeviceLostError                       a device that gives nothing but errors to this process any more
        └── InterruptedRun                        stopped by the user; the run can go on

A message says what was expected, what came, and what to do.
"""

import re

from geoseg.redact import redact

_TWO_STOPS = re.compile(r"(?<!\.)\.\.(?!\.)(?=\s|$)")
"""Where a message of another library, which ends with a stop, was quoted in the middle of ours."""


class GeosegError(Exception):
    """Base of all errors that geoseg raises on purpose; secrets in its message are hidden."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(_TWO_STOPS.sub(".", redact(arg)) if isinstance(arg, str) else arg for arg in args))


class UsageError(GeosegError, ValueError):
    """What was asked cannot be done as asked; nothing was changed on disk."""


class ConfigError(UsageError):
    """A configuration file, option or table of options does not fit."""


class RasterError(UsageError):
    """An input raster cannot be used as it is."""


class AreaError(UsageError):
    """An area of interest, or what is excluded, leaves nothing of a raster."""


class ModelError(UsageError):
    """A model package is damaged, unknown, or does not fit the raster."""


class LabelError(UsageError):
    """Labels for training or evaluation do not fit their raster or scheme."""


class RunFolderError(UsageError):
    """An output folder belongs to another run or cannot be used."""


class RunFolderBusyError(RunFolderError):
    """Another command is at work in a run folder."""


class MissingFileError(GeosegError, FileNotFoundError):
    """A file that was named does not exist."""


class RunError(GeosegError, RuntimeError):
    """Work had started and could not be finished; what is done stays on disk."""


class ChunkError(RunError):
    """Chunks failed more often than they are retried."""


class WriteError(OSError, RunError):
    """A result could not be written; nothing stands half-written under a final name."""

    def __init__(self, *args: object) -> None:
        RunError.__init__(self, *args)


class MemoryLimitError(RunError, MemoryError):
    """The projected memory of the plan exceeds what is available."""


class DeviceMemoryError(RunError, MemoryError):
    """A batch does not fit into the memory of the device; smaller ones may."""


class DeviceLostError(RunError):
    """A device gives nothing but errors to this process from now on; a new process can use it again."""


class InterruptedRun(RunError):
    """The user stopped the run; the same command goes on where it was."""
