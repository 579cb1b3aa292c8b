"""Run a command and write what it took: python -I -S timed.py RESULT.json COMMAND...

This file stands between the benchmark and what it measures: on Linux a new process starts with the peak memory of the one that made
it, and this one is small. It uses nothing but the standard library, and runs in the peers' environments too.
"""

import json
import os
import sys
import time
from pathlib import Path


def main() -> int:
    result, *command = sys.argv[1:]
    began = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    found = {
        "seconds": time.monotonic() - began,
        "began": began,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024,
        "code": code,
    }
    Path(result).write_text(json.dumps(found), encoding="utf-8")
    return code if code >= 0 else 1


if __name__ == "__main__":
    sys.exit(main())
