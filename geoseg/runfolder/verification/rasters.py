"""The rasters of a run: whole, cloud-optimized, on one grid, and telling of the same pixels and things."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from geoseg.io.ground import row_areas_m2
from geoseg.io.raster import open_plain
from geoseg.io.tiffs.legend import describe_band
from geoseg.pixels.classes import NODATA_CLASS
from geoseg.pixels.decode import CONFIDENCE_SCALE
from geoseg.runfolder.report import count_classes
from geoseg.runfolder.verification.run import CheckedRun
from geoseg.runfolder.verification.tables import read_table
from geoseg.tiling import partition

_BLOCK_PX = 2048
_COG_BLOCK_PX = 512
_NODATA = {"classes.tif": NODATA_CLASS, "confidence.tif": NODATA_CLASS, "instances.tif": 0}


def look_at_cogs(run: CheckedRun) -> Iterator[str]:
    """Look whether every raster is a cloud-optimized GeoTIFF: laid out as one, in blocks, with overviews.

    GDAL marks the layout when it writes one, and takes the mark back when the file is changed.
    """
    for path in run.rasters():
        with open_plain(path) as dataset:
            if dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") != "COG":
                yield f"{path.name} is not laid out as a COG"
            sizes = [max(dataset.shape) // factor for factor in dataset.overviews(1)]
            if min([max(dataset.shape), *sizes]) > _COG_BLOCK_PX:
                yield f"{path.name} has {len(sizes)} overviews, the smallest of {min([max(dataset.shape), *sizes])} px"


def look_at_grids(run: CheckedRun) -> Iterator[str]:
    """Compare shape, transform and CRS of every raster with what the summary says of the run's grid."""
    source = run.summary["source"]
    crs = CRS(source["crs"]) if source["crs"] else None
    for path in run.rasters():
        with open_plain(path) as dataset:
            if dataset.shape != run.shape:
                yield f"{path.name} has {dataset.shape} pixels, the run {run.shape}"
            if list(dataset.transform)[:6] != source["transform"]:
                yield f"{path.name} has the transform {list(dataset.transform)[:6]}, the run {source['transform']}"
            if (CRS(dataset.crs) if dataset.crs else None) != crs:
                yield f"{path.name} has the CRS {dataset.crs}, the run {source['crs']}"


def look_at_legend(run: CheckedRun) -> Iterator[str]:
    """Compare nodata values, colors and names of classes with the scheme of the run."""
    for name, nodata in _NODATA.items():
        path = run.product(name)
        if path is None:
            continue
        with open_plain(path) as dataset:
            if dataset.nodata != nodata:
                yield f"{name} declares nodata {dataset.nodata}, not {nodata}"
    path = _needed(run, "classes.tif")
    with open_plain(path) as dataset:
        colors: dict[int, tuple[int, ...]] = dataset.colormap(1)
    names = describe_band(str(path), 1).names
    for row in run.scheme:
        if colors.get(row.value, ())[:3] != row.rgb:
            yield f"classes.tif draws class {row.value} ({row.name}) as {colors.get(row.value)}, not as {row.rgb}"
        if names.get(row.value) != row.name:
            yield f"classes.tif names class {row.value} {names.get(row.value)!r}, not {row.name!r}"


def look_at_pixels(run: CheckedRun) -> Iterator[str]:
    """Count the pixels of each class again, and compare number and area with the summary."""
    path = _needed(run, "classes.tif")
    with open_plain(path) as dataset:
        geobox = GeoBox(dataset.shape, dataset.transform, CRS(dataset.crs) if dataset.crs else None)
        areas = row_areas_m2(geobox)
        found = count_classes(lambda window: dataset.read(1, window=window), run.scheme, areas, dataset.shape)
    for now, then in zip(found, run.summary["classes"], strict=True):
        if now["pixels"] != then["pixels"]:
            yield f"class {then['name']} has {now['pixels']} pixels, the summary says {then['pixels']}"
        elif abs(now["area_m2"] - then["area_m2"]) > 0.01 + 1e-6 * then["area_m2"]:
            yield f"class {then['name']} covers {now['area_m2']} m2, the summary says {then['area_m2']}"
    unknown = int(np.prod(dataset.shape)) - sum(row["pixels"] for row in found)
    if unknown:
        yield f"classes.tif holds {unknown} pixels of values that are no class"


def look_at_layers(run: CheckedRun) -> Iterator[str]:
    """Read every block of every raster, and compare where they say that there is data."""
    if not run.rasters():
        raise LookupError("there is no raster")
    with ExitStack() as stack:
        opened = {path.name: stack.enter_context(open_plain(path)) for path in run.rasters()}
        shapes = {dataset.shape for dataset in opened.values()}
        if len(shapes) > 1:
            yield f"the rasters have {len(shapes)} sizes"
            return
        wrong: dict[str, int] = {}
        for window in partition(shapes.pop(), _BLOCK_PX):
            blocks = {name: dataset.read(window=window) for name, dataset in opened.items()}
            for what, count in _compare_block(blocks).items():
                wrong[what] = wrong.get(what, 0) + count
    for what, count in wrong.items():
        if count:
            yield f"{count} pixels: {what}"


def _compare_block(blocks: dict[str, NDArray[Any]]) -> dict[str, int]:
    """Count pixels that two rasters tell otherwise of."""
    faults: dict[str, NDArray[np.bool_]] = {}
    classes = blocks["classes.tif"][0] if "classes.tif" in blocks else None
    if "confidence.tif" in blocks:
        confidence = blocks["confidence.tif"][0]
        faults["confidence above 100 %"] = (confidence > CONFIDENCE_SCALE) & (confidence != NODATA_CLASS)
        if classes is not None:
            faults["confidence without a class, or a class without confidence"] = (confidence == NODATA_CLASS) != (classes == NODATA_CLASS)
    if "instances.tif" in blocks and classes is not None:
        faults["an instance where there is no data"] = (blocks["instances.tif"][0] > 0) & (classes == NODATA_CLASS)
    if "panoptic.tif" in blocks:
        value, thing = blocks["panoptic.tif"]
        if classes is not None:
            faults["another class in panoptic.tif outside of instances"] = (value != classes) & (thing == 0)
        if "instances.tif" in blocks:
            faults["another instance in panoptic.tif"] = thing != blocks["instances.tif"][0]
    return {what: int(where.sum()) for what, where in faults.items()}


def look_at_ids(run: CheckedRun) -> Iterator[str]:
    """Compare the ids and pixels of instances in the rasters with those in the tables."""
    looked = False
    instances, panoptic = run.product("instances.tif"), run.product("panoptic.tif")
    if instances is not None:
        looked = True
        listed = _whole_numbers(read_table(run, "buildings"), "instance_id")
        yield from _compare_ids("instances.tif", np.flatnonzero(_count(instances, 1)[1:]) + 1, "buildings", listed)
    if panoptic is not None:
        looked = True
        yield from _compare_segments(run, panoptic)
    if not looked:
        raise LookupError("there are no instances")


def _compare_segments(run: CheckedRun, path: Path) -> Iterator[str]:
    table: pd.DataFrame = read_table(run, "panoptic")
    things = table[table["is_thing"].astype(bool)].sort_values("instance_id")
    pixels = _count(path, 2)
    found = np.flatnonzero(pixels[1:]) + 1
    listed = _whole_numbers(things, "instance_id")
    yield from _compare_ids("panoptic.tif", found, "panoptic", listed)
    if np.array_equal(found, listed):
        off = np.flatnonzero(pixels[found] != _whole_numbers(things, "pixels"))
        if len(off):
            first = int(found[off[0]])
            yield f"instance {first} has {pixels[first]} pixels in panoptic.tif, another number in the table; so have {len(off) - 1} more"
    surfaces = table[~table["is_thing"].astype(bool)]
    counted = _count(path, 1, outside_of=2)
    for value, listed_px in zip(surfaces["class_value"], surfaces["pixels"], strict=True):
        if counted[int(value)] != listed_px:
            yield f"class {value} has {counted[int(value)]} pixels outside of instances, the table panoptic says {listed_px}"


def _whole_numbers(table: pd.DataFrame, column: str) -> NDArray[np.int64]:
    """Return a column; what is missing from a damaged one becomes -1."""
    numbers: NDArray[np.int64] = pd.to_numeric(table[column], errors="coerce").fillna(-1).to_numpy(float).astype(np.int64)
    return numbers


def _compare_ids(name: str, found: NDArray[np.int64], layer: str, listed: NDArray[np.int64]) -> Iterator[str]:
    only_found, only_listed = np.setdiff1d(found, listed), np.setdiff1d(listed, found)
    if len(only_found):
        yield f"{len(only_found)} ids of {name} are not in the table {layer}, first {only_found[0]}"
    if len(only_listed):
        yield f"{len(only_listed)} ids of the table {layer} are not in {name}, first {only_listed[0]}"
    if len(np.unique(listed)) < len(listed):
        yield f"the table {layer} holds {len(listed) - len(np.unique(listed))} ids twice"


def _count(path: Path, band: int, outside_of: int | None = None) -> NDArray[np.int64]:
    """Count the pixels of each value of a band, at least 256 long; of those where another band is 0 if one is named."""
    total = np.zeros(256, np.int64)
    with open_plain(path) as dataset:
        for window in partition(dataset.shape, _BLOCK_PX):
            values = dataset.read(band, window=window).ravel()
            if outside_of is not None:
                values = values[dataset.read(outside_of, window=window).ravel() == 0]
            counts = np.bincount(values, minlength=256)
            if len(counts) > len(total):
                total = np.pad(total, (0, len(counts) - len(total)))
            total[: len(counts)] += counts
    return total


def _needed(run: CheckedRun, name: str) -> Path:
    path = run.product(name)
    if path is None:
        raise LookupError(f"there is no {name}")
    return path
