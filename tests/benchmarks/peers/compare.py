"""The same weights over the same raster, by geoseg and by its peers: seconds, memory, and agreement with whole-image inference.

    python -m tests.benchmarks.peers.compare --envs FOLDER --install
    python -m tests.benchmarks.peers.compare --envs FOLDER [--peer NAME ...] [--raster FILE | --size PX] [--model PACKAGE] [--json FILE]

Contenders take turns, so that a busy machine slows all of them; the median of the turns counts. Every run is a new process, timed
from its start to its end. Before the first turn each contender labels a small raster, which compiles its files and shows whether it
works at all; that is not timed.
"""

import argparse
import json
import signal
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from tests.benchmarks.children import Child, ChildError, run_child, segment
from tests.benchmarks.machine import describe
from tests.benchmarks.models import copy_unscaled, reference_spec, write_random_network
from tests.benchmarks.peers.environments import PEERS, Peer, install, python_of, why_missing
from tests.benchmarks.peers.network import read_card
from tests.benchmarks.peers.turnstile import Turnstile
from tests.benchmarks.rasters import cut_orthophoto, draw_town
from tests.benchmarks.rows import Row, show

HERE = Path(__file__).parent
TILE, OVERLAP, BATCH, THREADS = 512, 128, 4, 2
BACKENDS = ("auto", "onnx", "torch")
_SMALL_PX = 768
_LIMIT_S = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What all contenders are given."""

    raster: Path
    """GeoTIFF, uint8 RGB."""
    model: Path
    """Package that takes the raster at its own resolution."""
    handout: Path
    """The same weights in other forms."""
    folder: Path
    """Scratch."""
    threads: int = THREADS
    """Processor threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A tool with its settings."""

    name: str
    """As the table shows it."""
    settings: str
    """``same`` (tile 512, overlap 128, batch 4) or ``own``."""
    run: Callable[[Job, Path], tuple[Child, NDArray[np.uint8]]]
    """Runs it with a new scratch folder; returns what it took and class values (H, W)."""
    note: str = ""
    """What to know."""


@dataclass(slots=True)
class _Tally:
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)
    agreement: float = float("nan")
    failed: str = ""


def peer_contenders(peer: Peer, envs: Path) -> list[Contender]:
    """Return a peer with the settings of the comparison and, where it has any, with its own."""
    own = [("own", None)] if peer.has_defaults else []
    return [
        Contender(name=peer.name, settings=settings, run=_peer_runner(peer, envs, sizes), note=peer.note)
        for settings, sizes in [("same", (TILE, OVERLAP, BATCH)), *own]
    ]


def _peer_runner(peer: Peer, envs: Path, sizes: tuple[int, int, int] | None) -> Callable[[Job, Path], tuple[Child, NDArray[np.uint8]]]:
    tile, overlap, batch = sizes or (None, None, None)

    def run(job: Job, scratch: Path) -> tuple[Child, NDArray[np.uint8]]:
        output = scratch / "labels.tif"
        asked = {"raster": str(job.raster), "handout": str(job.handout), "output": str(output), "work": str(scratch)}
        request = json.dumps({**asked, "threads": job.threads, "tile": tile, "overlap": overlap, "batch": batch})
        command = [str(python_of(envs, peer)), str(HERE / peer.driver), request]
        child = run_child(command, threads=job.threads, extra={"PYTHONPATH": "", "NO_ALBUMENTATIONS_UPDATE": "1"}, timeout_s=_LIMIT_S)
        channels = _read(output)
        values = np.full(256, 255, np.uint8)
        known = read_card(job.handout)["values"]
        values[: len(known)] = known
        return child, values[channels]

    return run


def geoseg_contenders(backends: Sequence[str] = BACKENDS) -> list[Contender]:
    """Return geoseg: with each backend at its own sizes, and with the first at the peers' tile, overlap and batch."""
    same = {"tile_size": TILE, "halo": OVERLAP // 2, "batch_size": BATCH}
    own = [Contender(name=f"geoseg {b}", settings="own", run=_geoseg_runner({"backend": b})) for b in backends]
    return [*own, Contender(name=f"geoseg {backends[0]}", settings="same", run=_geoseg_runner({"backend": backends[0], **same}))]


def _geoseg_runner(choices: dict[str, object]) -> Callable[[Job, Path], tuple[Child, NDArray[np.uint8]]]:
    def run(job: Job, scratch: Path) -> tuple[Child, NDArray[np.uint8]]:
        settings = {"model": str(job.model), "outputs": ["classes"], "device": "cpu", "threads": job.threads, **choices}
        child = segment(job.raster, settings, scratch, threads=job.threads, cache=job.folder / "cache")
        return child, _read(scratch / "run" / "classes.tif")

    return run


def _read(path: Path) -> NDArray[np.uint8]:
    with rasterio.open(path) as labels:
        return np.asarray(labels.read(1), np.uint8)


def compare(job: Job, contenders: list[Contender], reference: NDArray[np.uint8], turns: int, lock: Path | None = None) -> list[Row]:
    """Let contenders take turns over a raster.

    Args:
        job: What they are given.
        contenders: The first one is what the others' times are divided by.
        reference: Class values (H, W) of whole-image inference.
        turns: Runs of each.
        lock: File to lock while a contender is timed; None locks nothing.
    """
    small = cut_small(job, _SMALL_PX)
    tallies = {id(c): _Tally() for c in contenders}
    for contender in contenders:
        _take_turn(contender, small, None, tallies[id(contender)], Turnstile(None))
    turnstile = Turnstile(lock)
    try:
        for turn in range(turns):
            # nobody is always the first, whose files are cold
            first = turn % len(contenders)
            for contender in [*contenders[first:], *contenders[:first]]:
                if not tallies[id(contender)].failed:
                    _take_turn(contender, job, reference, tallies[id(contender)], turnstile)
    except KeyboardInterrupt:
        print("stopped; what was measured until now:", file=sys.stderr)
    turnstile.release()
    ours = tallies[id(contenders[0])].seconds
    return [_row(c, tallies[id(c)], statistics.median(ours) if ours else float("nan"), reference.size) for c in contenders]


def _take_turn(contender: Contender, job: Job, reference: NDArray[np.uint8] | None, tally: _Tally, turnstile: Turnstile) -> None:
    with TemporaryDirectory(dir=job.folder) as scratch:
        try:
            with turnstile.alone():
                child, labels = contender.run(job, Path(scratch))
        except (ChildError, OSError) as exc:
            tally.failed = str(exc)
            return
    if reference is None:
        return
    if labels.shape != reference.shape:
        tally.failed = f"made {labels.shape} labels of {reference.shape} pixels"
        return
    tally.seconds.append(child.seconds)
    tally.cpu_s.append(child.cpu_s)
    tally.peak_bytes.append(child.peak_bytes)
    tally.agreement = float((labels == reference).mean())
    said = f"{child.seconds:.1f} s, {child.peak_bytes / 1e6:.0f} MB, {tally.agreement:.3%} agree"
    print(f"{contender.name}, {contender.settings}: {said}", file=sys.stderr, flush=True)


def _row(contender: Contender, tally: _Tally, first_s: float, pixels: int) -> Row:
    what = {"contender": contender.name, "settings": contender.settings}
    if tally.failed or not tally.seconds:
        return Row(section="peers", what=what, note=f"failed: {tally.failed}" if tally.failed else "not measured: stopped before its turn")
    seconds = statistics.median(tally.seconds)
    values = {
        "seconds": round(seconds, 2),
        "cpu s": round(statistics.median(tally.cpu_s), 1),
        "Mpx/s": round(pixels / seconds / 1e6, 3),
        "geoseg / this": round(first_s / seconds, 3),
        "peak MB": round(max(tally.peak_bytes) / 1e6),
        "agreement %": round(100 * tally.agreement, 3),
    }
    return Row(section="peers", what=what, values=values, note=contender.note)


def cut_small(job: Job, size: int) -> Job:
    """Return the same job over the upper left corner of its raster."""
    path = job.folder / "small.tif"
    with rasterio.open(job.raster) as source:
        height, width = min(size, source.height), min(size, source.width)
        profile = {**source.profile, "height": height, "width": width}
        pixels = source.read(window=rasterio.windows.Window(0, 0, width, height))
    with rasterio.open(path, "w", **profile) as target:
        target.write(pixels)
    return replace(job, raster=path)


def prepare(given: argparse.Namespace, folder: Path) -> tuple[Job, NDArray[np.uint8], dict[str, Any]]:
    """Make raster, package, handout and reference labels; nothing of it is timed."""
    raster = given.raster or _make_raster(folder / "raster.tif", given.size)
    model = folder / "model"
    if given.model == "reference":
        write_random_network(model, reference_spec(), _read_corner(raster))
    else:
        copy_unscaled(given.model, model)
    job = Job(raster=raster, model=model, handout=folder / "handout", folder=folder, threads=given.threads)
    command = [sys.executable, "-m", "tests.benchmarks.peers.handout", str(model), str(job.handout), str(TILE)]
    run_child(command, threads=given.threads)
    labels = folder / "whole.npy"
    command = [sys.executable, "-m", "tests.benchmarks.peers.whole", str(raster), str(job.handout), str(labels)]
    whole = run_child(command, threads=given.threads)
    about = {
        "model": given.model,
        "reference": whole.answer["how"],
        "whole-image pass s": whole.seconds,
        "whole-image peak": whole.peak_bytes,
    }
    return job, np.load(labels), about


def _make_raster(path: Path, size: int) -> Path:
    try:
        return cut_orthophoto(path, size)
    except FileNotFoundError:
        return draw_town(path, size)


def _read_corner(raster: Path) -> NDArray[np.uint8]:
    with rasterio.open(raster) as source:
        return np.asarray(source.read(window=rasterio.windows.Window(0, 0, 1024, 1024)), np.uint8)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [peer.name for peer in PEERS]
    parser.add_argument("--envs", type=Path, required=True, help="folder of the virtual environments, outside the repository")
    parser.add_argument("--install", action="store_true", help="make missing environments, and stop")
    parser.add_argument("--peer", action="append", choices=[*names, "none"], help="may be given several times; all of them if not given")
    parser.add_argument("--raster", type=Path, help="uint8 RGB GeoTIFF; else a cut of the real orthophoto, or a drawn town")
    parser.add_argument("--size", type=int, default=4096, help="side of that cut")
    parser.add_argument("--model", default="aerial", help="shipped model, folder of a package, or 'reference'")
    parser.add_argument("--settings", choices=["same", "own", "both"], default="both")
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="of geoseg; may be given several times; all if not given")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--lock", type=Path, help="file to lock while a contender is timed, on machines that are shared")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def main() -> None:
    given = parse()
    # ended from outside, it shows what it has, as after Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    peers = [peer for peer in PEERS if given.peer is None or peer.name in given.peer]
    if given.install:
        for peer in peers:
            print(f"{peer.name}: {install(given.envs, peer) or 'installed'}", flush=True)
        return
    contenders, missing = geoseg_contenders(given.backend or BACKENDS), []
    for peer in peers:
        reason = why_missing(given.envs, peer)
        if reason:
            missing.append(Row(section="peers", what={"contender": peer.name, "settings": "-"}, note=reason))
        else:
            contenders.extend(peer_contenders(peer, given.envs))
    wanted = [contenders[0], *(c for c in contenders[1:] if given.settings in ("both", c.settings))]
    with TemporaryDirectory(prefix="geoseg-peers-") as folder:
        job, reference, about = prepare(given, Path(folder))
        rows = [*compare(job, wanted, reference, given.turns, given.lock), *missing]
    show(rows)
    if given.json:
        found = {"machine": describe(given.threads), **about, "turns": given.turns, "rows": [row.to_dict() for row in rows]}
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
