"""One virtual environment per peer, made from the package index; pinned to versions that were tried."""

import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

_INSTALL_LIMIT_S = 1800
_FAILED = "failed.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another tool that runs the same weights."""

    name: str
    """As on the package index."""
    requires: tuple[str, ...]
    """What pip installs."""
    driver: str
    """File beside this one that uses its public interface."""
    has_defaults: bool = True
    """Whether it has a tile size of its own."""
    note: str = ""
    """What to know when its numbers are read."""


PEERS = (
    Peer(
        name="geodeep",
        requires=("geodeep==0.9.13",),
        driver="run_geodeep.py",
        note="onnxruntime, one tile at a time; median filter of 5 px over the labels, which cannot be switched off",
    ),
    Peer(
        name="torchgeo",
        # 0.8.1 imports requests and does not ask for it
        requires=("torchgeo==0.8.1", "requests==2.34.2"),
        driver="run_torchgeo.py",
        has_defaults=False,
        note="the loop of its documentation; middles of tiles kept",
    ),
    Peer(name="geoai-py", requires=("geoai-py==0.40.1",), driver="run_geoai.py", note="weighted sum of probabilities"),
    Peer(
        name="geo-inference",
        requires=("geo-inference==3.2.4",),
        driver="run_geo_inference.py",
        note="TorchScript; tiles always overlap by half, one at a time; a pixel with a zero in any band becomes nodata",
    ),
    Peer(
        name="omnicloudmask",
        requires=("omnicloudmask==1.8.1",),
        driver="run_omnicloudmask.py",
        note="standardizes each patch by its own mean and deviation, which cannot be switched off",
    ),
    Peer(
        name="terratorch",
        requires=("terratorch==1.2.11",),
        driver="run_terratorch.py",
        note="tiled_inference of the image in memory; 8 px cut off each tile, the rest blended",
    ),
    Peer(name="raster-vision", requires=("rastervision==0.31.1",), driver="run_raster_vision.py", note="smooth labels"),
)


def python_of(envs: Path, peer: Peer) -> Path:
    """Return the interpreter of a peer's environment."""
    return envs / peer.name / "bin" / "python"


def why_missing(envs: Path, peer: Peer) -> str | None:
    """Say why a peer cannot run; None if it can."""
    failed = envs / peer.name / _FAILED
    if failed.is_file():
        return failed.read_text(encoding="utf-8").strip()
    return None if python_of(envs, peer).exists() else "not installed: run with --install"


def install(envs: Path, peer: Peer) -> str | None:
    """Make a peer's environment, which is not timed.

    It sees the packages of the environment that runs this script as well, so that all peers and geoseg share one torch, one
    onnxruntime and one rasterio; what a peer pins otherwise is installed beside and comes first.

    Returns:
        Why it failed; None if it did not.
    """
    folder = envs / peer.name
    if python_of(envs, peer).exists():
        return why_missing(envs, peer)
    venv.create(folder, with_pip=False, symlinks=True)
    site = next(folder.glob("lib/python3*/site-packages"))
    (site / "zz_shared.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    command = [str(python_of(envs, peer)), "-m", "pip", "install", "--quiet", *peer.requires]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return _fail(folder, f"pip took more than {_INSTALL_LIMIT_S} s")
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR") or "error:" in line]
    return _fail(folder, "; ".join(errors[:3]) or done.stderr[-300:]) if done.returncode else None


def _fail(folder: Path, reason: str) -> str:
    (folder / _FAILED).write_text(f"cannot be installed with {sys.version.split()[0]}: {reason}\n", encoding="utf-8")
    return reason
