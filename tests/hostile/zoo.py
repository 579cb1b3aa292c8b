"""``geoseg`` commands on many rasters, each in a process of its own: what they said, how they ended, what they made.

``python -m tests.hostile.zoo FOLDER WORK`` prints a line of JSON for each file; the libraries are loaded once, before the forks.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

LIMIT_S = 60
LARGE_BYTES = 1_500_000
"""Pixels from which a raster is planned only."""


def main(zoo: Path, work: Path) -> None:
    """Run the command line on every file below a folder."""
    import onnxruntime  # noqa: F401 - loaded before the forks

    from geoseg import (
        dryrun,  # noqa: F401 - likewise
        pipeline,  # noqa: F401 - likewise
    )
    from geoseg.runtime import mapping as runtime  # noqa: F401 - likewise
    from tests.hostile.forest import write_forest

    model = write_forest(work / "model", bands=1)
    for path in sorted(zoo.rglob("*")):
        if not path.is_file():
            continue
        name = path.relative_to(zoo).as_posix()
        print(json.dumps({"name": name, **run(path, model, work / name.replace("/", "_"))}), flush=True)


def run(path: Path, model: Path, out: Path) -> dict[str, object]:
    """Segment a raster, or plan it if it is large; say how that ended."""
    import rasterio

    try:
        with rasterio.open(path) as dataset:
            large = dataset.width * dataset.height > LARGE_BYTES
    except Exception:
        large = False
    words = ["plan", str(path), "-m", str(model)]
    if not large:
        words = ["segment", *words[1:], "-o", str(out), "--outputs", "classes", "--progress", "none", "--chunk-size", "2048"]
    code, said = fork(words, out.with_suffix(".said"))
    result: dict[str, object] = {"command": words[0], "code": code, "said": said.strip()}
    if (out / "summary.json").exists():
        summary = json.loads((out / "summary.json").read_text())
        pixels = {row["name"]: row["pixels"] for row in summary["classes"]}
        total = sum(pixels.values())
        result |= {"size": [summary["source"]["width_px"], summary["source"]["height_px"]], "valid": round(1 - pixels["nodata"] / total, 3)}
    return result


def fork(words: list[str], said: Path) -> tuple[int, str]:
    """Run the command line in a fork; -1 if it took too long."""
    child = os.fork()
    if child == 0:
        target = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        from geoseg.cli.main import main as command

        sys.argv = ["geoseg", *words]
        code = 99
        try:
            command()
        except SystemExit as exc:
            code = int(exc.code or 0)
        finally:
            sys.stdout.flush()
            os._exit(code)
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), said.read_text(errors="replace")
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1, said.read_text(errors="replace")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
