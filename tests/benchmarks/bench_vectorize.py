"""Class map to valid simplified coverage: time against rasterio and shapely, and peak memory as the raster grows.

    python tests/benchmarks/bench_vectorize.py [--json FILE] [--data FOLDER] [--parts speed,real,large] [--size PX]

Each row compares two measurements of one run, so a busy machine slows both. Memory is measured in processes of their own, before
this one has grown: a child starts with the peak of its parent.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

TOLERANCE_PX = 1.5
ZOO = "io_zoo/omnicloudmask/cloud_classes_10980x10980.tif"
BLOCK_PX = 1024
HERE = Path(__file__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--data", type=Path, default=HERE.parents[2].parent / "shared" / "data")
    parser.add_argument("--parts", default="speed,real,large")
    parser.add_argument("--size", type=int, default=16384, help="side of the large drawn map")
    parser.add_argument("--child", nargs="+")
    given = parser.parse_args()
    if given.child:
        run_child(*given.child)
        return
    parts, found = given.parts.split(","), {}
    with TemporaryDirectory() as folder:
        if "real" in parts:
            found["real"] = compare_memory(given.data / ZOO, Path(folder), 10980)
        if "large" in parts:
            drawn = Path(folder) / "large.tif"
            call("draw", drawn, given.size)
            found["large"] = compare_memory(drawn, Path(folder), given.size)
    if "speed" in parts:
        found["speed"] = compare_speed(4096)
    show(found)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2))


def compare_speed(size: int) -> dict[str, object]:
    """Time both ways on one natural map, in turns; numba has compiled before."""
    import shapely
    from natural import natural_map
    from rasterio.features import shapes

    from geoseg.objects.vectorize import VectorizeOptions, vectorize

    values = natural_map(0, 0, size)

    def ours(side: int):
        return vectorize(lambda w: values[w.toslices()], (side, side), (1.0, 1.0), VectorizeOptions(simplify_m=TOLERANCE_PX)).polygons

    def pair(step_px: float):
        drawn = [shapely.geometry.shape(outline) for outline, _ in shapes(values, connectivity=4)]
        return shapely.coverage_simplify(shapely.segmentize(drawn, step_px) if step_px else drawn, TOLERANCE_PX)

    ours(256)
    # what stands along a straight border (a third patch) is no vertex of it in rasterio's outlines: no coverage to begin with
    ways = {"geoseg": lambda: ours(size), "pair": lambda: pair(0), "pair, made valid": lambda: pair(1)}
    times, results = {name: [] for name in ways}, {}
    for _ in range(3):
        for name, way in ways.items():
            began = time.perf_counter()
            results[name] = way()
            times[name].append(time.perf_counter() - began)
    return {
        "size_px": size,
        "seconds": {name: min(taken) for name, taken in times.items()},
        "ratio": {name: min(taken) / min(times["geoseg"]) for name, taken in times.items()},
        "polygons": {name: len(polygons) for name, polygons in results.items()},
        "vertices": {name: int(shapely.get_num_coordinates(polygons).sum()) for name, polygons in results.items()},
        "valid_coverage": {
            name: bool(shapely.is_valid(polygons).all() and shapely.coverage_is_valid(polygons)) for name, polygons in results.items()
        },
    }


def compare_memory(raster: Path, folder: Path, size: int) -> dict[str, object]:
    """Write the polygons of a raster and of its upper left quarter, each in a process of its own."""
    quarter = folder / "quarter.tif"
    call("crop", raster, quarter, size // 2)
    measured = {
        name: json.loads(call("vectorize", path, folder / "polygons.gpkg")) for name, path in (("whole", raster), ("quarter", quarter))
    }
    return {"size_px": size, **measured, "ratio": measured["whole"]["peak_mb"] / measured["quarter"]["peak_mb"]}


def call(*words: object) -> str:
    done = subprocess.run([sys.executable, str(HERE), "--child", *map(str, words)], check=True, capture_output=True, text=True)
    return done.stdout


def run_child(task: str, *words: str) -> None:
    {"draw": draw, "crop": crop, "vectorize": measure}[task](*words)


def measure(raster: str, output: str) -> None:
    from geoseg.products.classmap import ClassMapOptions, vectorize_class_map

    began = time.perf_counter()
    count = vectorize_class_map(raster, Path(output), ClassMapOptions(default_tolerance=True, overwrite=True))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peak_mb": peak_mb, "seconds": time.perf_counter() - began, "polygons": count}))


def draw(path: str, size: str) -> None:
    from natural import natural_map

    with open_tiled(path, int(size)) as dataset:
        for window in windows(int(size)):
            side = max(window.width, window.height)
            block = natural_map(window.row_off, window.col_off, side)[: window.height, : window.width]
            dataset.write(block, 1, window=window)


def crop(source: str, path: str, size: str) -> None:
    import rasterio

    with rasterio.open(source) as dataset, open_tiled(path, int(size), dataset) as part:
        for window in windows(int(size)):
            part.write(dataset.read(1, window=window), 1, window=window)


def windows(size: int):
    from geoseg.tiling import partition

    return partition((size, size), BLOCK_PX)


def open_tiled(path: str, size: int, like=None):
    import rasterio
    from affine import Affine

    transform, crs = (Affine(10, 0, 300000, 0, -10, 5000000), "EPSG:32633") if like is None else (like.transform, like.crs)
    storage = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    return rasterio.open(
        path, "w", driver="GTiff", count=1, dtype="uint8", height=size, width=size, transform=transform, crs=crs, **storage
    )


def show(found: dict) -> None:
    if "speed" in found:
        speed = found["speed"]
        print(f"{speed['size_px']} x {speed['size_px']} natural map, 5 classes, tolerance {TOLERANCE_PX} px")
        for name in speed["seconds"]:
            row = (speed[part][name] for part in ("seconds", "ratio", "polygons", "vertices", "valid_coverage"))
            print("  {:<16} {:7.2f} s {:6.1f} x {:7d} polygons {:8d} vertices   valid coverage: {}".format(name, *row))
    for part in ("real", "large"):
        if part in found:
            print(f"peak memory, {found[part]['size_px']} x {found[part]['size_px']} against a quarter of it ({part})")
            for name in ("whole", "quarter"):
                row = found[part][name]
                print(f"  {name:<8} {row['peak_mb']:8.0f} MB {row['seconds']:8.1f} s {row['polygons']:8d} polygons")
            print(f"  ratio    {found[part]['ratio']:8.2f}")


if __name__ == "__main__":
    main()
