"""Perfect evidence drawn from labels, and how many of the labelled buildings come back as one instance each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.windows import Window

from geoseg.io.ground import pixel_size_m
from geoseg.labels.features import read_features
from geoseg.labels.site import Site
from geoseg.labels.targets import Reading, load_raster, raster_paths
from geoseg.objects.instances import InstanceLayers, InstanceOptions, InstanceTable, label_instances
from geoseg.objects.rasters import MemoryLabels, ReadLayer
from geoseg.pixels.classes import ClassKind, ClassScheme, LandClass
from geoseg.settings import BuildingSettings

_SCHEME = ClassScheme(
    classes=(LandClass(value=0, name="land", color="#c8b48c"), LandClass(value=1, name="house", color="#dc2828", kind=ClassKind.BUILDING))
)


def read_from(raster: NDArray[Any]) -> ReadLayer:
    """Read windows of an array, and refuse those that reach past it."""

    def read(window: Window) -> NDArray[Any]:
        assert window.row_off >= 0
        assert window.col_off >= 0
        assert window.row_off + window.height <= raster.shape[0]
        assert window.col_off + window.width <= raster.shape[1]
        return raster[window.row_off : window.row_off + window.height, window.col_off : window.col_off + window.width]

    return read


def run_options(pixel_m: float, block_px: int = 2048) -> InstanceOptions:
    """Return the options of a run with pixels of that size."""
    return BuildingSettings().instance_options((pixel_m, pixel_m), knows_boundary=True, block_px=block_px)


def label_arrays(
    building: NDArray[np.uint8], boundary: NDArray[np.uint8], options: InstanceOptions
) -> tuple[NDArray[np.uint32], InstanceTable]:
    """Label instances as a run does: seeds where a building is likely and a boundary is not."""
    seed = (building.astype(np.uint16) * (255 - boundary) // 255).astype(np.uint8)
    layers = InstanceLayers(shape=building.shape, seed=read_from(seed), building=read_from(building))
    labels = MemoryLabels(np.zeros(building.shape, np.uint32))
    table = label_instances(layers, MemoryLabels(np.zeros(building.shape, np.uint32)), labels, options)
    return labels.array, table


def draw_evidence(truth: NDArray[np.uint32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return building and boundary probability of labels: the outermost pixels of an object are its boundary."""
    around = np.pad(truth, 1, mode="edge")
    neighbors = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    outermost = np.logical_or.reduce([side != truth for side in neighbors]) & (truth > 0)
    return np.where(truth > 0, 255, 0).astype(np.uint8), np.where(outermost, 255, 0).astype(np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledTown:
    """Buildings of one raster of a site, with perfect evidence."""

    name: str
    pixel_m: float
    building: NDArray[np.uint8]
    boundary: NDArray[np.uint8]
    masks: list[NDArray[np.bool_]]
    """(H, W) of each labelled building that reaches into the raster."""
    overlap: NDArray[np.float64]
    """(n,) share of each building that the labels of one other one cover."""


def read_towns(data: Path, site: str, resolution_m: float | None) -> list[LabelledTown]:
    """Draw interior and boundary from the labels of a training site, as training does."""
    described = Site(name=site, kind="building_polygons", rasters=f"buildings/train/{site}/image*.tif", labels="{parent}/buildings.geojson")
    towns = []
    for path in raster_paths(described, data):
        raster = load_raster(path, described, Reading(scheme=_SCHEME, resolution_m=resolution_m, bands=3), data)
        assert raster.source is not None
        grid = raster.source.geobox
        shapes = np.asarray(read_features(path.parent / "buildings.geojson", grid).table.geometry)
        shape = raster.targets.shape[1:]
        drawn = [rasterize([s], shape, transform=grid.transform) == 1 for s in shapes]
        seen = np.array([mask.any() for mask in drawn])
        towns.append(
            LabelledTown(
                name=f"{site} {path.stem}",
                pixel_m=pixel_size_m(grid),
                building=np.where(raster.targets[0] == 1, 255, 0).astype(np.uint8),
                boundary=np.where(raster.targets[2] == 1, 255, 0).astype(np.uint8),
                masks=[mask for mask, there in zip(drawn, seen, strict=True) if there],
                overlap=_most_covered(shapes[seen]),
            )
        )
    return towns


def _most_covered(shapes: NDArray[np.object_]) -> NDArray[np.float64]:
    one, other = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    one, other = one[one != other], other[one != other]
    covered = np.zeros(len(shapes))
    np.maximum.at(covered, one, shapely.area(shapely.intersection(shapes[one], shapes[other])) / shapely.area(shapes[one]))
    return covered


def comes_out_as_one(labels: NDArray[np.uint32], masks: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Tell of each building whether it is one instance, and no other building is.

    It is if exactly one instance has an IoU of at least 0.5 with it, no other instance lies mostly inside it (split), and no
    other building lies mostly inside that instance (merged).
    """
    size = int(labels.max(initial=0)) + 1
    shared = np.array([np.bincount(labels[mask], minlength=size)[1:] for mask in masks]).reshape(len(masks), size - 1)
    area = np.array([int(mask.sum()) for mask in masks])[:, None]
    instances = np.bincount(labels.ravel(), minlength=size)[1:]
    iou = shared / (area + instances - shared)
    mostly_in_instance, mostly_in_building = shared > 0.5 * area, shared > 0.5 * instances
    merged = (mostly_in_instance & (mostly_in_instance.sum(axis=0) > 1)).any(axis=1)
    return ((iou >= 0.5).sum(axis=1) == 1) & (mostly_in_building.sum(axis=1) <= 1) & ~merged
