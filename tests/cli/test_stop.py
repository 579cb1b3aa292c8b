"""Signals end a command soon, also while its main thread is in a library that does not hear of them."""

import os
import signal
import subprocess
import sys
import time

import pytest

from geoseg.cli.stop import STOPPED

COMMAND = """
import hashlib, time
from geoseg.cli.stop import STOPPED, end_on_signals, leave
end_on_signals()
try:
    print("ready", flush=True)
    {main}
except KeyboardInterrupt:
    {tidies}
    leave(1, STOPPED)
"""
IN_PYTHON = "time.sleep(60)"
# a finalizer, whose exceptions Python drops; the command goes on after it
IN_A_FINALIZER = "x = type('X', (), {'__del__': lambda _: time.sleep(60)})(); del x; time.sleep(60)"
# minutes in C, without the lock of the interpreter, as GDAL writes a raster
IN_A_LIBRARY = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"


def run(main: str, *signals: signal.Signals, tidies: str = "pass") -> tuple[float, int, str]:
    """Run a command, send it signals, and return seconds to its end, exit code and what it said."""
    command = [sys.executable, "-c", COMMAND.format(main=main, tidies=tidies)]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    # from what it says to what it is then at
    time.sleep(0.5)
    began = time.monotonic()
    for each in signals:
        os.kill(process.pid, each)
        time.sleep(0.1)
    _, said = process.communicate(timeout=30)
    return time.monotonic() - began, process.returncode, said


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_command_in_python_ends_at_once(stop: signal.Signals) -> None:
    took_s, code, said = run(IN_PYTHON, stop)
    assert took_s < 1.4
    assert (code, said) == (1, f"{STOPPED}\n")


@pytest.mark.parametrize(
    ("main", "tidies"),
    [(IN_A_LIBRARY, "pass"), (IN_PYTHON, IN_PYTHON), (IN_A_FINALIZER, "pass")],
    ids=["in a library", "tidying up", "in a finalizer"],
)
def test_a_command_that_does_not_come_back_ends_soon(main: str, tidies: str) -> None:
    took_s, code, said = run(main, signal.SIGTERM, tidies=tidies)
    assert 1.4 < took_s < 10
    assert (code, said) == (1, f"{STOPPED}\n")


def test_a_second_signal_ends_it_at_once() -> None:
    took_s, code, said = run(IN_A_LIBRARY, signal.SIGINT, signal.SIGINT)
    assert took_s < 1.4
    assert (code, said) == (1, f"{STOPPED}\n")


def test_a_command_that_is_done_ends_as_done_also_when_it_is_told_to_stop_on_its_way_out() -> None:
    # what lives in a module is finalized last, when Python has taken its handlers away
    late = "late = type('Late', (), {{'__del__': lambda _, kill=os.kill, pid=os.getpid(): kill(pid, {})}})()"
    for how in (signal.SIGTERM, signal.SIGINT):
        command = f"import os, sys; {late.format(int(how))}; sys.argv = ['geoseg', '--version']; from geoseg.cli.main import main; main()"
        done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout.split()[:1], done.stderr) == (0, ["geoseg"], "")
