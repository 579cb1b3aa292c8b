"""How long a browser waits for the tiles of a view: 50 requests at once, none of them asked for before.

python -m tests.benchmarks.map [RUN]    a run folder; without one, a scene is drawn and segmented
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import uvicorn

from geoseg.config import make_config
from geoseg.io.raster import open_raster
from geoseg.io.tiffs.image import write_image
from geoseg.pipeline import segment_raster
from geoseg.scene import SceneOptions, draw_scene
from geoseg.view import make_app
from geoseg.view.serve import bind

AT_ONCE = 50
ROUNDS = 3


def draw_run(folder: Path) -> Path:
    """Return a run of 2048 x 2048 px that is drawn and segmented with the shipped model."""
    from odc.geo.geobox import GeoBox

    scene = draw_scene(SceneOptions())
    write_image(folder / "scene.tif", scene.pixels, GeoBox(scene.classes.shape, scene.transform, scene.crs), nodata=0)
    return segment_raster(make_config({"raster": str(folder / "scene.tif"), "output": folder / "run"}))


async def ask(port: int, path: str) -> float:
    """Ask for a tile over a connection of its own and return the seconds until it is there."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{path}: {answer[:60]!r}")
    return time.perf_counter() - began


async def ask_all(port: int, paths: list[str]) -> list[float]:
    return await asyncio.gather(*(ask(port, path) for path in paths))


def tiles_of(bounds: list[float], zoom: int) -> list[str]:
    """Return the addresses of tiles of a box in degrees, from its middle outwards."""
    from math import asinh, pi, radians, tan

    west, south, east, north = bounds
    to_x = [2**zoom * (lon + 180) / 360 for lon in (west, east)]
    to_y = [2**zoom * (1 - asinh(tan(radians(lat))) / pi) / 2 for lat in (north, south)]
    found = [(x, y) for x in range(int(to_x[0]), int(to_x[1]) + 1) for y in range(int(to_y[0]), int(to_y[1]) + 1)]
    found.sort(key=lambda at: (at[0] - sum(to_x) / 2) ** 2 + (at[1] - sum(to_y) / 2) ** 2)
    return [f"{zoom}/{x}/{y}" for x, y in found]


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(sys.argv[1]) if len(sys.argv) > 1 else draw_run(Path(scratch))
        taken = bind("127.0.0.1", 0)
        port = taken.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(make_app([run]), log_level="warning", access_log=False, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        while True:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/scenes") as answer:
                (scene,) = json.load(answer)["scenes"]
            if not scene["preparing"]:
                break
            time.sleep(0.2)
        print(f"{open_raster(run / 'classes.tif').shape} px, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print(f"{'layer':<12} {'zoom':>4} {'tiles':>5} {'median ms':>10} {'last ms':>8} {'processor ms a tile':>20}")
        for layer in scene["layers"]:
            for zoom in (layer["maxzoom"] - 1, layer["maxzoom"]):
                tiles = tiles_of(scene["bounds"], zoom)
                for start in range(0, min(len(tiles), ROUNDS * AT_ONCE), AT_ONCE):
                    chosen = [f"/tiles/0/{layer['id']}/{tile}" for tile in tiles[start : start + AT_ONCE]]
                    if len(chosen) < AT_ONCE:
                        continue
                    before = time.process_time()
                    took = asyncio.run(ask_all(port, chosen))
                    used = (time.process_time() - before) / len(took)
                    print(
                        f"{layer['id']:<12} {zoom:>4} {len(took):>5} {1e3 * statistics.median(took):>10.0f} {1e3 * max(took):>8.0f} "
                        f"{1e3 * used:>20.1f}"
                    )
        server.should_exit = True
        thread.join(10)


if __name__ == "__main__":
    main()
