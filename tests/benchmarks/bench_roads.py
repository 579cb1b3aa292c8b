"""Roads of a model against those of labels, before and after each step; and time and memory on a large drawn town.

python tests/benchmarks/bench_roads.py --drawn 8192
python tests/benchmarks/bench_roads.py --data ../shared/data/landcover/dubai/test --model satellite --pixel 0.5
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.evaluation.apls import Apls, compare_networks
from geoseg.evaluation.roads import match_roads
from geoseg.inference.whole import infer_raster, network_loader, tiles_of
from geoseg.io.raster import open_raster
from geoseg.model.execution import Execution
from geoseg.model.package import find_package
from geoseg.objects.roads import RoadNetwork, RoadOptions, extract_roads
from geoseg.tiling import partition

LOOSE = {"max_way_m": 0.0, "min_part_m": 0.0}
BARE = {**LOOSE, "max_gap_m": 0.0, "parallel_m": 0.0, "smooth_m": 0.0, "min_hole_m": 3.0}
STEPS = {
    "skeleton only": BARE,
    "+ holes of a car filled": {**BARE, "min_hole_m": RoadOptions().min_hole_m},
    "+ smoothed": {**LOOSE, "max_gap_m": 0.0, "parallel_m": 0.0},
    "+ parallels merged": {**LOOSE, "max_gap_m": 0.0},
    "+ gaps closed": LOOSE,
    "+ ways followed": {"min_part_m": 0.0},
    "+ small parts removed (default)": {},
    "small parts removed, no ways": {"max_way_m": 0.0},
    "default, gaps without evidence": {"min_gap_score": 0.0},
}
LABELS = "the labels' own roads, default"
"""How far the truth hangs together: no model can be asked for more."""


def extract(raster: NDArray[np.uint8], pixel_m: float, options: dict[str, float]) -> RoadNetwork:
    """Extract the network of an array."""

    def read(w: Window) -> NDArray[np.uint8]:
        return raster[w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width]

    return extract_roads(read, raster.shape, partition(raster.shape, 2048), (pixel_m, pixel_m), RoadOptions(**options))


def assemble(tile: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Put the 3 x 3 parts of a tile together: pixels (3, H, W) and classes (H, W)."""
    rows = []
    for row in range(3):
        parts = []
        for col in range(3):
            name = f"part_{3 * row + col + 1}"
            with rasterio.open(tile / f"{name}.jpg") as image, rasterio.open(tile / f"{name}_classes.png") as labels:
                parts.append(np.concatenate([image.read(), labels.read(1)[None]]))
        height = min(p.shape[1] for p in parts)
        rows.append(np.concatenate([p[:, :height] for p in parts], axis=2))
    width = min(r.shape[2] for r in rows)
    whole = np.concatenate([r[:, :, :width] for r in rows], axis=1)
    return whole[:3], whole[3]


def infer_road(pixels: NDArray[np.uint8], model: str) -> NDArray[np.uint8]:
    """Return the road probability of an image, 0..255."""
    package = find_package(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.tif"
        with rasterio.open(path, "w", driver="GTiff", count=3, height=pixels.shape[1], width=pixels.shape[2], dtype="uint8") as file:
            file.write(pixels)
        source = open_raster(path, needs_georeference=False)
        layers = infer_raster(
            network_loader(package, Execution(threads=1))(), source, tiles_of(package.spec, source.shape, package.spec.halo.default_px)
        )
    return layers[list(package.spec.layers.names).index("road")]


def score_steps(tiles: list[Path], model: str, pixel_m: float) -> dict[str, dict[str, float]]:
    """Score each step, pooled over tiles; the reference is the bare skeleton of the labels' roads."""
    rows: dict[str, list[tuple[object, Apls, RoadNetwork]]] = {name: [] for name in (*STEPS, LABELS)}
    for tile in tiles:
        pixels, classes = assemble(tile)
        road = infer_road(pixels, model)
        labelled = np.where(classes == 3, 255, 0).astype(np.uint8)
        truth = shapely.transform(extract(labelled, pixel_m, BARE).lines, lambda xy: xy * pixel_m)
        for name, row in rows.items():
            network = extract(labelled if name == LABELS else road, pixel_m, STEPS.get(name, {}))
            found = shapely.transform(network.lines, lambda xy: xy * pixel_m)
            row.append((match_roads(found, truth, 4.0), compare_networks(found, truth), network))
    return {name: pool(row) for name, row in rows.items()}


def pool(rows: list[tuple[object, Apls, RoadNetwork]]) -> dict[str, float]:
    """Pool lengths; average APLS by the length of the reference."""
    matches = sum((m for m, *_ in rows[1:]), rows[0][0])
    weights = [m.reference_m for m, *_ in rows]
    forth, back = (
        float(np.average([getattr(a, f) for _, a, _ in rows], weights=weights)) for f in ("reference_to_found", "found_to_reference")
    )
    return {
        "APLS": Apls(reference_to_found=forth, found_to_reference=back).score,
        "reference to found": forth,
        "found to reference": back,
        "completeness": matches.completeness,
        "correctness": matches.correctness,
        "quality": matches.quality,
        "km": matches.found_m / 1000,
        "dead ends": float(sum((n.degree == 1).sum() for *_, n in rows)),
        "parts": float(sum(n.component.max(initial=-1) + 1 for *_, n in rows)),
        "largest part": float(np.average([share_largest(n) for *_, n in rows], weights=weights)),
        "bridged m": float(sum(n.bridged_m.sum() for *_, n in rows)),
    }


def share_largest(network: RoadNetwork) -> float:
    """Return the share of the length that hangs together in the largest part."""
    length = np.bincount(network.component[network.from_node], weights=shapely.length(network.lines))
    return float(length.max() / length.sum()) if len(length) else 0.0


def draw(window: Window) -> NDArray[np.uint8]:
    """Draw a window of an endless town whose streets are cut at places where the model doubts."""
    y = np.arange(window.row_off, window.row_off + window.height)[:, None]
    x = np.arange(window.col_off, window.col_off + window.width)[None]
    street = np.abs((y + 30 * np.sin(x / 300)) % 160 - 80) < 5
    street |= np.abs((x + 30 * np.sin(y / 250)) % 200 - 100) < 7
    street |= np.abs((x + y) % 900 - 400) < 6
    doubt = (x // 37 * 7919 + y // 41 * 104729) % 23 == 0
    return np.where(street & ~doubt, 240, np.where(street, 120, 10)).astype(np.uint8)


def time_drawn(size: int) -> dict[str, dict[str, float]]:
    """Time the bare skeleton and everything on a drawn town of size x size."""
    told = {}
    for name in ("skeleton only", "+ gaps closed", "+ small parts removed (default)"):
        options = RoadOptions(**STEPS[name])
        extract_roads(draw, (400, 400), partition((400, 400), 256), (0.5, 0.5), options)
        began = time.process_time()
        network = extract_roads(draw, (size, size), partition((size, size), 2048), (0.5, 0.5), options)
        told[name] = {
            "cpu s": time.process_time() - began,
            "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "edges": float(len(network.lines)),
        }
    return told


def main() -> None:
    """Print a table; write it as JSON with --json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", default="satellite")
    parser.add_argument("--pixel", type=float, default=0.5, help="assumed size of a pixel in metres")
    parser.add_argument("--drawn", type=int, metavar="PX")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    told = score_steps(sorted(args.data.glob("tile_*")), args.model, args.pixel) if args.data else {}
    told |= {f"{args.drawn} px: {name}": row for name, row in time_drawn(args.drawn).items()} if args.drawn else {}
    for name, row in told.items():
        numbers = (f"{key} {value:.3f}" if value < 10 else f"{key} {value:.1f}" for key, value in row.items())
        sys.stdout.write("  ".join([f"{name:32}", *numbers]) + "\n")
    if args.json:
        args.json.write_text(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
