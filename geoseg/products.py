"""From finished chunks to what the user asked for: rasters, buildings, land cover, roads, features, summary."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.events import Listener, StageDone
from geoseg.features import (
    building_features,
    landcover_features,
    road_features,
    road_node_features,
)
from geoseg.io.chunks import LayerReader, LayerStyle, mosaic_vrt, open_layer, plain_vrt
from geoseg.io.cog import write_cog
from geoseg.io.files import write_whole
from geoseg.io.ground import pixel_size_m, pixel_step_m, row_areas_m2
from geoseg.io.raster import ScratchLabels, open_scratch
from geoseg.io.vector import write_layers
from geoseg.objects.instances import InstanceLayers, InstanceOptions, InstanceTable, ReadLayer, label_instances
from geoseg.objects.roads import RoadOptions, extract_roads
from geoseg.objects.vectorize import Patches, VectorizeOptions, vectorize
from geoseg.pixels.classes import NODATA_CLASS
from geoseg.pixels.decode import EVIDENCE_SCALE
from geoseg.planning import RunPlan
from geoseg.report import count_classes, describe_item, describe_run
from geoseg.runfolder import RunFolder
from geoseg.tiling import partition

_BLOCK_PX = 2048
_MIN_SCORE = 0.7
"""Gave the best mean object F1 over the training sites, of 0 to 0.8; see docs/models.md."""
_GROWTH_M = 3.0
_SEED_THRESHOLD = 0.7
"""Terraces want it higher, scattered houses lower: a compromise between the training sites, of 0.6 to 0.8; see docs/models.md."""
_MIN_BUILDING_M2 = 6.0


@dataclass(slots=True)
class _Progress:
    """What the stages leave behind for the summary."""

    listener: Listener
    timing_s: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.timing_s[name] = round(time.monotonic() - began, 3)
        self.listener(StageDone(stage=name, elapsed_s=self.timing_s[name]))


def make_products(plan: RunPlan, folder: RunFolder, listener: Listener, began_s: float) -> None:
    """Turn finished chunks into the products of a run, and remove the work in progress.

    Args:
        plan: The run; all its chunks are done.
        folder: Where they lie and the products go.
        listener: Takes events.
        began_s: Monotonic time at which the run began.

    Raises:
        RunError: If a product could not be made; the chunks stay.
    """
    progress = _Progress(listener)
    progress.timing_s["chunks"] = round(time.monotonic() - began_s, 3)
    maker = _Maker(plan=plan, folder=folder, progress=progress)
    outputs = plan.config.outputs
    with progress.stage("rasters"):
        maker.write_rasters()
    layers: dict[str, gpd.GeoDataFrame] = {}
    for name, wanted, make in (
        ("landcover", "landcover" in outputs, maker.make_landcover),
        ("buildings", "buildings" in outputs and maker.has("building_interior", "building"), maker.make_buildings),
        ("roads", "roads" in outputs and maker.has("road"), maker.make_roads),
    ):
        if wanted:
            with progress.stage(name):
                layers.update(make())
    if layers:
        with progress.stage("features"):
            write_layers(layers, folder.work / "features.gpkg", folder.path / "features.gpkg")
    maker.write_summary(began_s)
    folder.finish()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Maker:
    plan: RunPlan
    folder: RunFolder
    progress: _Progress

    @property
    def geobox(self) -> GeoBox:
        return self.plan.source.geobox

    @property
    def shape(self) -> tuple[int, int]:
        return self.plan.tiles.height, self.plan.tiles.width

    def has(self, *layers: str) -> bool:
        return any(layer in self.plan.package.spec.layers.names for layer in layers)

    @contextmanager
    def layer(self, name: str) -> Iterator[LayerReader]:
        path = self.folder.work / f"{name}.layer.vrt"
        if not path.exists():
            write_whole(path, mosaic_vrt(self.folder.chunks(self.plan), self.plan.tiles, name, LayerStyle()).encode())
        with open_layer(path) as reader:
            yield reader

    def write_rasters(self) -> None:
        scheme = self.plan.package.spec.scheme
        styles = {
            "classes": ("class", LayerStyle(nodata=NODATA_CLASS, scheme=scheme), "mode"),
            "confidence": ("confidence", LayerStyle(nodata=NODATA_CLASS), "average"),
        }
        for product, (layer, style, overviews) in styles.items():
            path = self.folder.path / f"{product}.tif"
            if product in self.plan.config.outputs and not path.exists():
                vrt = mosaic_vrt(self.folder.chunks(self.plan), self.plan.tiles, layer, style)
                write_cog(vrt, self.folder.work, path, overviews=overviews)

    def make_landcover(self) -> dict[str, gpd.GeoDataFrame]:
        options = VectorizeOptions(simplify_m=1.5 * pixel_size_m(self.geobox), background=NODATA_CLASS, cover_background=False)
        with self.layer("class") as read:
            patches = vectorize(read, self.shape, pixel_step_m(self.geobox), options)
        self.progress.counts["landcover"] = len(patches.values)
        return {"landcover": landcover_features(patches, self.plan.package.spec.scheme, self.geobox)}

    def make_buildings(self) -> dict[str, gpd.GeoDataFrame]:
        scratch = self.folder.work / "labels.tif"
        with open_scratch(scratch, self.geobox) as labels:
            table = self._label(labels)
            options = VectorizeOptions(simplify_m=1.5 * pixel_size_m(self.geobox), background=0)
            patches = vectorize(labels.read, self.shape, pixel_step_m(self.geobox), options)
        holes = self._find_nodata()
        write_cog(
            plain_vrt(self.geobox, scratch.name, "uint32", LayerStyle(nodata=0)),
            self.folder.work,
            self.folder.path / "instances.tif",
            overviews="nearest",
        )
        self.progress.counts["buildings"] = len(table)
        return {"buildings": building_features(patches, table, holes, self.plan.package.spec.scheme, self.geobox)}

    def _find_nodata(self) -> Patches:
        """Return the exact polygons of nodata, which simplified outlines must not cover."""
        with self.layer("class") as read:
            return vectorize(
                lambda window: (read(window) == NODATA_CLASS).astype(np.uint8),
                self.shape,
                pixel_step_m(self.geobox),
                VectorizeOptions(background=0),
            )

    def _label(self, labels: ScratchLabels) -> InstanceTable:
        width_m, height_m = pixel_step_m(self.geobox)
        options = InstanceOptions(
            seed_threshold=_SEED_THRESHOLD if self.has("building_boundary") else 0.5,
            min_score=_MIN_SCORE if self.has("building_boundary") else 0.0,
            growth_px=int(np.clip(round(_GROWTH_M / np.sqrt(width_m * height_m)), 2, 32)),
            min_area_px=max(1, round(_MIN_BUILDING_M2 / (width_m * height_m))),
            block_px=_BLOCK_PX,
        )
        building = "building" if self.has("building") else "building_interior"
        with (
            open_scratch(self.folder.work / "seeds.tif", self.geobox) as seeds,
            self._seed_layer(building) as read_seed,
            self.layer(building) as read_building,
        ):
            layers = InstanceLayers(shape=self.shape, seed=read_seed, building=read_building)
            return label_instances(layers, seeds, labels, options)

    @contextmanager
    def _seed_layer(self, building: str) -> Iterator[ReadLayer]:
        """Read how surely a pixel lies inside one building, and not between two."""
        if not self.has("building_boundary"):
            with self.layer("building_interior" if self.has("building_interior") else building) as read:
                yield read
            return
        with self.layer(building) as read_building, self.layer("building_boundary") as read_boundary:
            yield lambda window: _both(read_building(window), EVIDENCE_SCALE - read_boundary(window))

    def make_roads(self) -> dict[str, gpd.GeoDataFrame]:
        with self.layer("road") as read:
            network = extract_roads(read, self.shape, partition(self.shape, _BLOCK_PX), pixel_step_m(self.geobox), RoadOptions())
        self.progress.counts["roads"] = len(network.lines)
        return {"roads": road_features(network, self.geobox), "road_nodes": road_node_features(network, self.geobox)}

    def write_summary(self, began_s: float) -> None:
        with self.layer("class") as read:
            classes = count_classes(read, self.plan.package.spec.scheme, row_areas_m2(self.geobox), self.shape)
        self.progress.timing_s["total"] = round(time.monotonic() - began_s, 3)
        self.progress.counts["tiles"] = self.plan.tiles.tile_count
        self.progress.counts["chunks"] = self.plan.tiles.chunk_count
        write_whole(self.folder.path / "item.json", describe_item(self.plan, self.folder.path))
        summary = describe_run(self.plan, classes, self.progress.counts, self.progress.timing_s)
        write_whole(self.folder.summary, summary)


def _both(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Multiply two probabilities in 1/255."""
    return (one.astype(np.uint16) * other // EVIDENCE_SCALE).astype(np.uint8)
