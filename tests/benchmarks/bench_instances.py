"""How well instances come out: masks of a detector merged over tiles, dense evidence, Kampala, the shipped model.

PYTHONPATH=. python tests/benchmarks/bench_instances.py [perfect noisy dense kampala model] [--data ../shared/data] [--json FILE]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from geoseg.evaluation.objects import ObjectMatches, Polygons, match_objects, score_objects
from geoseg.inference.whole import infer_raster, tiles_of
from geoseg.io.ground import pixel_size_m
from geoseg.labels.coding import UNLABELLED
from geoseg.labels.features import read_features
from geoseg.labels.site import Site
from geoseg.labels.targets import Reading, load_raster, raster_paths
from geoseg.model.execution import Execution
from geoseg.model.load import load_predictor
from geoseg.model.package import find_package
from geoseg.objects.detections import DetectionOptions, merge_detections
from geoseg.objects.instances import InstanceOptions
from geoseg.objects.rasters import MemoryLabels
from geoseg.objects.vectorize import VectorizeOptions, vectorize
from tests.objects.detector import RULES, SETS, Found, Labels, Noise, draw_objects, panoptic_quality, see, see_badly, tile_windows
from tests.objects.oracle import comes_out_as_one, draw_evidence, label_arrays, read_from, read_towns, run_options

Row = dict[str, Any]
SHAPE = (2048, 2048)
SEEDS = (0, 1, 2, 3, 4)
TILINGS = ((512, 128), (512, 64), (384, 96), (640, 128))
LABELLED_LONLAT = (85.518782, 27.629193, 85.523263, 27.634351)
"""Where the labels of banepa_a are complete."""


def merge(found: Found, shape: tuple[int, int], block_px: int = 2048) -> Labels:
    """Merge the masks of all tiles as geoseg does."""
    by_place = {(window.row_off, window.col_off): detections for window, detections in found}
    labels = MemoryLabels(np.zeros(shape, np.uint32))
    windows = [window for window, _ in found]
    options = DetectionOptions(block_px=block_px)
    merge_detections(windows, lambda w: by_place[w.row_off, w.col_off], labels, shape, options)
    return labels.array


def perfect(_: Path) -> Iterator[Row]:
    """Perfect masks per tile, several tilings and chunkings."""
    for name, sizes in SETS.items():
        truths = [draw_objects(sizes, SHAPE, seed) for seed in SEEDS]
        for tile, overlap in TILINGS:
            for block in (2048, 500):
                found = [[(w, see(truth, w)) for w in tile_windows(SHAPE, tile, overlap)] for truth in truths]
                pq = [panoptic_quality(merge(one, SHAPE, block), truth).pq for one, truth in zip(found, truths, strict=True)]
                row = {"set": name, "tile_px": tile, "overlap_px": overlap, "block_px": block, "objects": sum(int(t.max()) for t in truths)}
                yield {**row, "pq_worst": min(pq)}


def noisy(_: Path) -> Iterator[Row]:
    """Masks with noise, beside the rules of others."""
    rules: dict[str, Callable[[Found, tuple[int, int]], Labels]] = {"geoseg": merge, **RULES}
    for name, sizes in SETS.items():
        scores: dict[str, list[float]] = {rule: [] for rule in rules}
        for seed in SEEDS:
            truth, rng = draw_objects(sizes, SHAPE, seed), np.random.default_rng(1000 + seed)
            found = [(w, see_badly(truth, w, Noise(), rng)) for w in tile_windows(SHAPE, 512, 128)]
            for rule, combine in rules.items():
                scores[rule].append(panoptic_quality(combine(found, SHAPE), truth).pq)
        best = np.max([scores[rule] for rule in RULES], axis=0)
        led = int((np.array(scores["geoseg"]) > best).sum())
        yield {"set": name, **{rule: float(np.mean(pq)) for rule, pq in scores.items()}, "drawings_led": f"{led} of {len(SEEDS)}"}


def dense(_: Path) -> Iterator[Row]:
    """Perfect building and boundary evidence of the same objects."""
    for name, sizes in SETS.items():
        for block in (2048, 500, 333):
            options = replace(run_options(0.3, block), min_area_px=1, fill_holes_px=0)
            pq = []
            for seed in SEEDS:
                truth = draw_objects(sizes, SHAPE, seed)
                pq.append(panoptic_quality(label_arrays(*draw_evidence(truth), options)[0], truth).pq)
            yield {"set": name, "block_px": block, "pq_worst": min(pq)}


def kampala(data: Path) -> Iterator[Row]:
    """Labelled buildings that come out as one instance each, from perfect interior and boundary."""
    for resolution in (0.3, None):
        for town in read_towns(data, "kampala", resolution):
            options = run_options(town.pixel_m)
            area = np.array([int(mask.sum()) for mask in town.masks])
            small, overlapping = area < options.min_area_px, town.overlap > 0.1
            fair = ~small & ~overlapping
            one = comes_out_as_one(label_arrays(town.building, town.boundary, options)[0], town.masks)
            any_size = comes_out_as_one(label_arrays(town.building, town.boundary, replace(options, min_area_px=1))[0], town.masks)
            yield {
                "raster": town.name,
                "pixel_m": round(town.pixel_m, 3),
                "labelled": len(area),
                "below_minimum": int(small.sum()),
                "overlapping": int(overlapping.sum()),
                "rest": int(fair.sum()),
                "one_each": int((one & fair).sum()),
                "one_each_of_all_without_minimum": int(any_size.sum()),
            }


def model(data: Path) -> Iterator[Row]:
    """The shipped aerial model: geoseg's growth beside watersheds on the training sites, and plain components on banepa_b."""
    banepa = {"labelled_lonlat": LABELLED_LONLAT}
    test = {"labelled_area": "buildings/test/banepa_b/labelled_area.geojson", "labelled_names": ("val",)}
    for folder, more in (
        ("train/banepa_a", banepa),
        ("train/kampala", {}),
        ("train/zanzibar", {}),
        ("train/bicol", {}),
        ("test/banepa_b", test),
    ):
        site = Site(
            name=folder, kind="building_polygons", rasters=f"buildings/{folder}/image*.tif", labels="{parent}/buildings.geojson", **more
        )
        pooled: dict[str, ObjectMatches] = {}
        for path in raster_paths(site, data):
            for rule, matches in _measure_rules(path, site, data):
                pooled[rule] = pooled[rule] + matches if rule in pooled else matches
        for rule, matches in pooled.items():
            s = score_objects(matches)
            yield {"site": folder, "rule": rule, "labelled": s.references, "found": s.found, "f1": s.f1, "sq": s.sq, "pq": s.pq}


def _measure_rules(path: Path, site: Site, data: Path) -> Iterator[tuple[str, ObjectMatches]]:
    package = find_package("aerial")
    raster = load_raster(path, site, Reading.of(package.spec), data)
    assert raster.source is not None
    grid = raster.source.geobox
    tiles = tiles_of(package.spec, raster.source.shape, package.spec.halo.default_px)
    layers = dict(
        zip(package.spec.layers.names, infer_raster(load_predictor(package, Execution(threads=1)), raster.source, tiles), strict=True)
    )
    known = raster.targets[0] != UNLABELLED
    inverse = ~grid.transform
    labelled = shapely.transform(
        np.asarray(read_features(path.parent / "buildings.geojson", grid).table.geometry),
        lambda points: np.column_stack(inverse @ (points[:, 0], points[:, 1])),
    )
    reference = Polygons(shapes=labelled, counts=_inside(labelled, known))
    for rule, labels in _label_by_rules(layers["building"], layers["building_boundary"], grid):
        patches = vectorize(read_from(labels), labels.shape, (1.0, 1.0), VectorizeOptions(background=0))
        scores = np.asarray(ndimage.mean(layers["building"], labels, patches.values)) / 255
        found = Polygons(shapes=patches.polygons, counts=_inside(patches.polygons, known))
        yield rule, match_objects(found, scores, reference)


def _label_by_rules(building: NDArray[np.uint8], boundary: NDArray[np.uint8], grid: Any) -> Iterator[tuple[str, Labels]]:
    options = run_options(pixel_size_m(grid))
    components = ndimage.label(building >= 128)[0].astype(np.uint32)
    yield "components", components
    yield "components, same minimum", _drop(components, building, replace(options, min_score=0.0))
    yield "geoseg", label_arrays(building, boundary, options)[0]
    for threshold in (0.5, 0.7):
        together = replace(options, min_part_px=0, seed_threshold=threshold)
        yield f"geoseg, one threshold of {threshold}", label_arrays(building, boundary, together)[0]
    filled = replace(options, fill_holes_px=round(20 / pixel_size_m(grid) ** 2))
    yield "geoseg, holes to 20 m2 filled", label_arrays(building, boundary, filled)[0]
    seed = (building.astype(np.uint16) * (255 - boundary) // 255).astype(np.uint8)
    seeds = label_arrays(building, boundary, replace(options, growth_px=0, min_area_px=1, min_score=0.0, fill_holes_px=0))[0]
    for name, relief in (("watershed on seed", 255 - seed), ("watershed on boundary", boundary)):
        yield name, _drop(watershed(relief, seeds, mask=building >= 128).astype(np.uint32), building, options)


def _drop(labels: Labels, building: NDArray[np.uint8], options: InstanceOptions) -> Labels:
    area, total = np.bincount(labels.ravel()), np.bincount(labels.ravel(), building.ravel())
    kept = (area >= options.min_area_px) & (total >= options.min_score * 255 * area)
    return np.where(kept[labels], labels, 0).astype(np.uint32)


def _inside(shapes: NDArray[np.object_], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell of each shape whether a point well inside of it lies where labels are complete."""
    cols, rows = np.floor(shapely.get_coordinates(shapely.point_on_surface(shapes))).astype(int).T
    there = (rows >= 0) & (cols >= 0) & (rows < known.shape[0]) & (cols < known.shape[1])
    there[there] = known[rows[there], cols[there]]
    return there


PARTS: dict[str, Callable[[Path], Iterator[Row]]] = {"perfect": perfect, "noisy": noisy, "dense": dense, "kampala": kampala, "model": model}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=" ".join(PARTS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results: dict[str, list[Row]] = {}
    for part in args.parts:
        began = time.monotonic()
        results[part] = []
        for row in PARTS[part](args.data):
            results[part].append(row)
            cells = (f"{key} {value:.4f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
            sys.stdout.write(f"{part}: {'  '.join(cells)}\n")
            sys.stdout.flush()
        sys.stdout.write(f"{part}: {time.monotonic() - began:.0f} s\n")
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
