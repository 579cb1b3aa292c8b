"""Measure outlines against drawn truth: overlap with it, corners, validity, new overlaps, time.

    python tests/benchmarks/bench_outlines.py banepa_b kampala --json FILE

Buildings of a site are rasterized on the run's grid, one label each, and made rough:

1. every pixel takes the label found at a random displacement: two fields of white noise (x and y) smoothed by a Gaussian of
   ``CORRELATION_PX`` and scaled so that the length of the displacement has a root mean square of ``NOISE_PX``;
2. each label is blurred by a Gaussian of ``NOISE_PX``; a pixel takes the label that is strongest there.

These labels are vectorized exactly (the raw outlines) and at 1.5 pixels (the simplified ones), and the latter are regularized.
``mean IoU`` is the mean over all buildings of the intersection over union of a building's largest outline with its drawn polygon.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.windows import Window
from scipy import ndimage

from geoseg.io.ground import pixel_step_m
from geoseg.io.raster import open_raster
from geoseg.objects.regularize import RegularizeMethod, RegularizeOptions, regularize
from geoseg.objects.vectorize import VectorizeOptions, vectorize

DATA = Path(__file__).resolve().parents[2] / "../shared/data/buildings"
RESOLUTION_M = 0.3
NOISE_PX = 2.0
CORRELATION_PX = 4.0
MARGIN_PX = 12
PIXELS_OF_TOLERANCE = 1.5

Outlines = NDArray[np.object_]
Method = Callable[[Outlines, Outlines], tuple[Outlines, dict[str, int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Buildings of one raster in metres from its upper left."""

    name: str
    pixel_m: float
    truth: Outlines
    raw: Outlines
    simplified: Outlines
    lost: int


def read_truth(image: Path) -> tuple[Outlines, tuple[int, int], tuple[float, float]]:
    """Return the valid polygons inside a raster in pixels of the run's grid, its shape, and its pixel's size in metres."""
    source = open_raster(image, resolution_m=RESOLUTION_M)
    geobox = source.geobox
    table = gpd.read_file(image.parent / "buildings.geojson").to_crs(geobox.crs.to_wkt())
    parts = table.geometry.explode(index_parts=False).values
    parts = parts[parts.is_valid & parts.within(shapely.box(*geobox.boundingbox))]
    to_pixel = ~geobox.transform
    polygons = shapely.transform(np.asarray(parts), lambda p: np.column_stack(to_pixel @ (p[:, 0], p[:, 1])))
    return polygons, geobox.shape, pixel_step_m(geobox)


def roughen(labels: NDArray[np.int32], seed: int) -> NDArray[np.int32]:
    """Displace and blur labels."""
    rng = np.random.default_rng(seed)
    fields = np.stack([ndimage.gaussian_filter(rng.standard_normal(labels.shape), CORRELATION_PX) for _ in range(2)])
    fields *= NOISE_PX / np.sqrt((fields**2).sum(axis=0).mean())
    rows, cols = np.indices(labels.shape)
    displaced = ndimage.map_coordinates(labels, [rows + fields[0], cols + fields[1]], order=0, mode="nearest")
    best, strength = np.zeros_like(labels), np.zeros(labels.shape)
    background = np.ones(labels.shape)
    for label, box in enumerate(ndimage.find_objects(displaced), 1):
        if box is None:
            continue
        area = tuple(slice(max(0, s.start - MARGIN_PX), s.stop + MARGIN_PX) for s in box)
        blurred = ndimage.gaussian_filter((displaced[area] == label).astype(float), NOISE_PX)
        background[area] -= blurred
        better = blurred > strength[area]
        best[area][better] = label
        strength[area][better] = blurred[better]
    return np.where(strength >= background, best, 0).astype(np.int32)


def make_case(name: str, image: Path, seed: int) -> Case:
    """Rasterize, roughen and vectorize the buildings of a raster."""
    polygons, shape, step = read_truth(image)
    labels = rasterize(zip(polygons, range(1, len(polygons) + 1), strict=True), shape, fill=0, dtype="int32")
    rough = roughen(labels, seed)
    pixel_m = float(np.sqrt(step[0] * step[1]))
    found = []
    for tolerance_px in (0.0, PIXELS_OF_TOLERANCE):
        options = VectorizeOptions(simplify_m=tolerance_px * pixel_m, background=0)
        patches = vectorize(lambda w: _cut(rough, w), shape, step, options)
        order = np.lexsort((-patches.pixels, patches.values))
        first = order[np.unique(patches.values[order], return_index=True)[1]]
        found.append((patches.values[first], shapely.transform(patches.polygons[first], lambda p: p * step)))
    there = found[0][0] - 1
    truth = shapely.transform(polygons, lambda p: p * step)
    return Case(name=name, pixel_m=pixel_m, truth=truth[there], raw=found[0][1], simplified=found[1][1], lost=len(truth) - len(there))


def _cut(labels: NDArray[np.int32], window: Window) -> NDArray[np.int32]:
    return labels[window.row_off : window.row_off + window.height, window.col_off : window.col_off + window.width]


def peer(outlines: Outlines, tolerance_m: float, **options: object) -> Outlines:
    """Run buildingregulariser; outlines that it drops come back empty."""
    from buildingregulariser import regularize_geodataframe

    table = gpd.GeoDataFrame({"row": np.arange(len(outlines))}, geometry=outlines, crs="EPSG:32645")
    made = regularize_geodataframe(table, parallel_threshold=tolerance_m, simplify_tolerance=tolerance_m / 2, num_cores=1, **options)
    found = np.full(len(outlines), shapely.Polygon(), object)
    for row, shape in zip(made["row"], made.geometry, strict=True):
        found[row] = shape if found[row].is_empty or shape.area > found[row].area else found[row]
    return found


def overlaps(outlines: Outlines) -> tuple[int, float]:
    """Return how many pairs overlap by more than a square centimetre, and the area in m2."""
    sound = np.where(shapely.is_valid(outlines), outlines, shapely.make_valid(outlines))
    one, other = shapely.STRtree(sound).query(sound, predicate="intersects")
    area = shapely.area(shapely.intersection(sound[one], sound[other]))[one < other]
    return int((area > 1e-4).sum()), float(area[area > 1e-4].sum())


def score(case: Case, outlines: Outlines, seconds: float, raw_corners: int) -> dict[str, object]:
    """Compare outlines with the truth."""
    sound = np.where(shapely.is_valid(outlines), outlines, shapely.make_valid(outlines))
    iou = shapely.area(shapely.intersection(sound, case.truth)) / shapely.area(shapely.union(sound, case.truth))
    corners = count_corners(outlines)
    pairs, area = overlaps(outlines)
    return {
        "buildings": len(outlines),
        "mean_iou": round(float(iou.mean()), 4),
        "corners": corners,
        "corners_of_raw": round(corners / raw_corners, 3),
        "invalid": int((~shapely.is_valid(outlines) | shapely.is_empty(outlines)).sum()),
        "overlapping_pairs": pairs,
        "overlap_m2": round(area, 2),
        "seconds": round(seconds, 2),
    }


def count_corners(outlines: Outlines) -> int:
    """Count corners; the point that closes a ring is not one."""
    rings = shapely.get_num_interior_rings(outlines) + 1
    return int((shapely.get_num_coordinates(outlines) - np.where(shapely.is_empty(outlines), 0, rings)).sum())


def measure(case: Case, tolerance_m: float, with_peer: bool) -> dict[str, dict[str, object]]:
    """Run all methods on a case."""
    rows: dict[str, dict[str, object]] = {}
    raw_corners = count_corners(case.raw)
    rows["raw"] = score(case, case.raw, 0.0, raw_corners)
    rows["simplified"] = score(case, case.simplified, 0.0, raw_corners)
    for method in RegularizeMethod:
        if method == RegularizeMethod.NONE:
            continue
        options = RegularizeOptions(method=method, tolerance_m=tolerance_m)
        regularize(case.simplified[:2], options)
        began = time.perf_counter()
        done = regularize(case.simplified, options)
        rows[str(method)] = score(case, done.outlines, time.perf_counter() - began, raw_corners)
        names, counts = np.unique(done.status.astype(str), return_counts=True)
        rows[str(method)]["status"] = dict(zip(names.tolist(), counts.tolist(), strict=True))
    if with_peer:
        square = {"allow_45_degree": False, "allow_circles": False}
        for name, outlines, peer_m, options in (
            ("buildingregulariser", case.simplified, 1.0, {}),
            ("  on raw outlines", case.raw, 1.0, {}),
            ("  right angles only", case.simplified, 1.0, square),
            ("  the same, our tolerance", case.simplified, tolerance_m, square),
        ):
            began = time.perf_counter()
            made = peer(outlines, peer_m, **options)
            rows[name] = score(case, made, time.perf_counter() - began, raw_corners)
    return rows


def main() -> None:
    """Print a table per raster."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sites", nargs="*", default=["banepa_b", "kampala"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tolerance", type=float, default=RegularizeOptions().tolerance_m, help="metres")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    try:
        import buildingregulariser  # noqa: F401
    except ImportError:
        has_peer = False
        print("buildingregulariser is not installed; its rows are left out")
    else:
        has_peer = True
    results = {}
    for site in arguments.sites:
        for image in sorted(next(DATA.glob(f"*/{site}")).glob("image*.tif")):
            case = make_case(f"{site}/{image.stem}", image, arguments.seed)
            results[case.name] = measure(case, arguments.tolerance, has_peer)
            print(f"\n{case.name}: {len(case.truth)} buildings, {case.lost} lost to noise, pixel {case.pixel_m:.3f} m")
            print(f"{'':28}{'mean IoU':>10}{'corners':>9}{'of raw':>8}{'invalid':>9}{'overlaps':>10}{'m2':>9}{'s':>8}")
            for name, row in results[case.name].items():
                numbers = (row["mean_iou"], row["corners"], row["corners_of_raw"], row["invalid"], row["overlapping_pairs"])
                print("{:28}{:10.4f}{:9}{:8.3f}{:9}{:10}".format(name, *numbers), end="")
                print(f"{row['overlap_m2']:9.2f}{row['seconds']:8.2f}  {row.get('status', '')}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
