"""A real scheduler and real workers on loopback."""

import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil


class Processes:
    """A scheduler and workers on this machine, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def scheduler(self) -> "subprocess.Popen[bytes]":
        return self._start("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--dashboard-address", "127.0.0.1:0")

    def worker(self, *words: str) -> "subprocess.Popen[bytes]":
        more = ("--host", "127.0.0.1", "--nthreads", "2", "--no-dashboard", "--local-directory", str(self._folder), "--death-timeout", "60")
        return self._start("worker", self.address, *more, *words)

    def _start(self, *words: str) -> "subprocess.Popen[bytes]":
        log = (self._folder / f"{words[0]}{len(self._started)}.log").open("wb")
        with log:
            self._started.append(subprocess.Popen([sys.executable, "-m", "dask", *words], stdout=log, stderr=log))
        return self._started[-1]

    def end(self) -> None:
        for process in self._started:
            with suppress(psutil.Error):
                for child in psutil.Process(process.pid).children(recursive=True):
                    with suppress(psutil.Error):
                        child.kill()
            process.kill()
            process.wait(20)
