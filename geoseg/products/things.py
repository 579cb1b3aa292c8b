"""From stitched rasters to things: land cover polygons, building instances and outlines, the panoptic map, the road network."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.config import Output
from geoseg.errors import RunError
from geoseg.io.files import write_whole
from geoseg.io.ground import pixel_step_m, row_areas_m2
from geoseg.io.store.mosaic import LayerStyle, plain_vrt
from geoseg.io.tiffs.cog import write_cog
from geoseg.io.tiffs.scratch import ScratchLabels, open_scratch, open_scratch_bands
from geoseg.io.vector import AddLayer
from geoseg.objects.borders.patches import Patches
from geoseg.objects.instances import InstanceLayers, InstanceTable, label_instances
from geoseg.objects.options import VectorizeOptions
from geoseg.objects.panoptic import SegmentTally, merge_panoptic
from geoseg.objects.rasters import ReadLayer
from geoseg.objects.roads import extract_roads
from geoseg.objects.vectorize import gather_patches, stream_polygons, vectorize
from geoseg.pixels.classes import NODATA_CLASS, ClassKind
from geoseg.pixels.decode import EVIDENCE_SCALE
from geoseg.products.detected import detection_options, label_detections
from geoseg.products.features import building_features, landcover_features, road_features, road_node_features, segment_table
from geoseg.products.roadgraph import describe_graph
from geoseg.products.stitched import Stitched
from geoseg.settings import ObjectSettings
from geoseg.tiling import partition

_BLOCK_PX = 2048
_STEEP = 5
"""By what the distance to the edge is multiplied."""
_TELL_APART = ("building_boundary", "building_distance")
"""Evidence of where one building ends and the next begins, the better one first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingMaker:
    """Makes the features of a run, one kind after the other."""

    stitched: Stitched
    """What was found in the imagery."""
    settings: ObjectSettings
    """How to make things of it."""
    outputs: tuple[Output, ...]
    """What is wanted."""
    target: Path
    """Folder that takes rasters, the road graph and scratch."""
    add: AddLayer
    """Takes tables."""
    stopped: Event
    """Set when others that work at the same time have failed, so that this is of no use any more."""
    counts: dict[str, int] = field(default_factory=dict)
    """Numbers of things made."""

    @property
    def geobox(self) -> GeoBox:
        """The grid."""
        return self.stitched.geobox

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.stitched.shape

    @property
    def pixel_m(self) -> tuple[float, float]:
        """Width and height of the middle pixel on the ground."""
        return pixel_step_m(self.geobox)

    def _pixel_m_of(self, row: float) -> tuple[float, float]:
        return pixel_step_m(self.geobox, row)

    def make(self, name: str) -> None:
        """Make ``landcover``, ``buildings`` (with the panoptic map) or ``roads``.

        Raises:
            RunError: If something could not be read or written, or it was stopped.
        """
        {"landcover": self.make_landcover, "buildings": self.make_things, "roads": self.make_roads}[name]()

    @contextmanager
    def open(self, layer: str) -> Iterator[ReadLayer]:
        """Hold a layer open for reading windows, until everything is stopped."""
        with self.stitched.open(layer) as read:

            def read_on(window: Window) -> NDArray[np.uint8]:
                if self.stopped.is_set():
                    raise RunError(f"Reading {layer} was stopped, since another stage failed.")
                return read(window)

            yield read_on

    def make_landcover(self) -> None:
        """Draw the classes."""
        options = self.settings.landcover.vectorize_options(self.pixel_m)
        count = 0
        with self.open("class") as read:
            polygons = stream_polygons(read, self.shape, self._pixel_m_of, options, row_areas_m2=row_areas_m2(self.geobox))
            for patches in gather_patches(polygons):
                self.add("landcover", landcover_features(patches, self.stitched.scheme, self.geobox))
                count += len(patches)
        self.counts["landcover"] = count

    def make_things(self) -> None:
        """Label buildings, and make of the labels what was asked for."""
        with open_scratch(self.target / "labels.scratch.tif", self.geobox) as labels:
            table, classes = self._label(labels)
            patches = self._draw(labels) if "buildings" in self.outputs else None
            segments = self._merge(labels, table, classes) if "panoptic" in self.outputs else None
        if patches is not None:
            self.add("buildings", self._straighten(patches, table, classes))
            self.counts["buildings"] = len(table)
        if segments is not None:
            self.add("panoptic", segments)
            self.counts["segments"] = len(segments)
        self._dress_rasters()

    def _dress_rasters(self) -> None:
        if "buildings" in self.outputs:
            self._dress("labels.scratch.tif", "instances.tif", LayerStyle(nodata=0), ("instance",))
        else:
            (self.target / "labels.scratch.tif").unlink()
        if "panoptic" in self.outputs:
            self._dress("panoptic.scratch.tif", "panoptic.tif", LayerStyle(masked=True), ("class", "instance"))

    def _dress(self, scratch: str, name: str, style: LayerStyle, bands: tuple[str, ...]) -> None:
        """Turn a scratch raster into a product and remove it."""
        vrt = plain_vrt(self.geobox, scratch, "uint32", style, bands)
        write_cog(vrt, self.target, self.target / name, overviews="nearest")
        (self.target / scratch).unlink()

    def _draw(self, labels: ScratchLabels) -> Patches:
        return vectorize(labels.read, self.shape, self._pixel_m_of, self.settings.buildings.vectorize_options(self.pixel_m))

    def _straighten(self, patches: Patches, table: InstanceTable, classes: NDArray[np.int64]) -> gpd.GeoDataFrame:
        options = self.settings.buildings.regularize_options()
        names = {row.value: row.name for row in self.stitched.scheme}
        named = np.array([names.get(int(value), "building") for value in classes], np.object_)
        return building_features(patches, table, named, self._find_nodata(), self.geobox, options)

    def _find_nodata(self) -> Iterator[Patches]:
        """Yield the exact polygons of nodata, which simplified outlines must not cover."""
        with self.open("class") as read:
            yield from stream_polygons(
                lambda window: (read(window) == NODATA_CLASS).astype(np.uint8),
                self.shape,
                self.pixel_m,
                VectorizeOptions(background=0),
            )

    def _merge(self, labels: ScratchLabels, table: InstanceTable, classes: NDArray[np.int64]) -> pd.DataFrame:
        """Write classes and instances into one raster, and return its table."""
        things = np.concatenate([[NODATA_CLASS], classes]).astype(np.uint32)
        tally = SegmentTally(things)
        areas = row_areas_m2(self.geobox)
        with (
            self.open("class") as read_class,
            self.open("confidence") as read_confidence,
            open_scratch_bands(self.target / "panoptic.scratch.tif", self.geobox, 2) as write,
        ):
            for window in partition(self.shape, _BLOCK_PX):
                merged = merge_panoptic(read_class(window), labels.read(window), things)
                write(window, merged, merged[0] != NODATA_CLASS)
                tally.add(merged, read_confidence(window), areas[window.row_off : window.row_off + window.height])
        return segment_table(tally.finish(), table, self.stitched.scheme, self.geobox)

    def _label(self, labels: ScratchLabels) -> tuple[InstanceTable, NDArray[np.int64]]:
        """Label instances; return what is known of them, and the class value (n,) of each."""
        if self.stitched.found is not None:
            options = detection_options(self.settings.buildings, self.pixel_m)
            with self.open("class") as read_class:
                return label_detections(self.stitched.found, self.stitched.scheme, read_class, labels, self.shape, options)
        table = self._label_evidence(labels)
        named = self.stitched.scheme.of_kind(ClassKind.BUILDING)
        # a model of buildings alone may have no class for them
        return table, np.full(len(table), named[0].value if named else _free_value(self.stitched.scheme.values))

    def _label_evidence(self, labels: ScratchLabels) -> InstanceTable:
        options = self.settings.buildings.instance_options(
            self.pixel_m, knows_boundary=any(map(self.stitched.has, _TELL_APART)), block_px=_BLOCK_PX
        )
        building = "building" if self.stitched.has("building") else "building_interior"
        with (
            open_scratch(self.target / "seeds.scratch.tif", self.geobox) as seeds,
            self._seed_layer(building) as read_seed,
            self.open(building) as read_building,
            self.open("class") as read_class,
        ):
            layers = InstanceLayers(
                shape=self.shape, seed=read_seed, building=read_building, valid=lambda window: read_class(window) != NODATA_CLASS
            )
            table = label_instances(layers, seeds, labels, options)
        (self.target / "seeds.scratch.tif").unlink()
        return table

    @contextmanager
    def _seed_layer(self, building: str) -> Iterator[ReadLayer]:
        """Read how surely a pixel lies inside one building, and not between two."""
        known = next(filter(self.stitched.has, _TELL_APART), None)
        if known is None:
            with self.open("building_interior" if self.stitched.has("building_interior") else building) as read:
                yield read
            return
        with self.open(building) as read_building, self.open(known) as read_known:
            yield lambda window: _both(read_building(window), _inside(read_known(window), known))

    def make_roads(self) -> None:
        """Draw the road network, as layers and as a graph."""
        with self.open("road") as read:
            network = extract_roads(read, self.shape, partition(self.shape, _BLOCK_PX), self.pixel_m, self.settings.roads.road_options())
        self.counts["roads"] = len(network.lines)
        roads, nodes = road_features(network, self.geobox), road_node_features(network, self.geobox)
        self.add("roads", roads)
        self.add("road_nodes", nodes)
        write_whole(self.target / "roads.graphml", describe_graph(roads, nodes))


def make_together(makers: Mapping[str, ThingMaker]) -> dict[str, float]:
    """Make buildings, and at the same time the other things, one after the other: together they take about as long.

    Args:
        makers: What to make, and the maker of each; they share one ``stopped``.

    Returns:
        Seconds that each took.

    Raises:
        RunError: If one of them failed; the others are stopped.
    """
    elapsed_s: dict[str, float] = {}
    causes: list[BaseException] = []
    stopped = next(iter(makers.values())).stopped

    def make(name: str) -> None:
        began = time.monotonic()
        try:
            makers[name].make(name)
        except BaseException as exc:
            causes.append(exc)
            stopped.set()
            raise
        elapsed_s[name] = time.monotonic() - began

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="things") as beside:
        try:
            others = [beside.submit(make, name) for name in makers if name != "buildings"]
            if "buildings" in makers:
                make("buildings")
            for other in others:
                other.result()
        except BaseException:
            # also when the user stops the run while it waits
            stopped.set()
            if not causes:
                raise
    if causes:
        raise causes[0]
    return elapsed_s


def _inside(evidence: NDArray[np.uint8], layer: str) -> NDArray[np.uint8]:
    """Return how surely a pixel lies off the edges of buildings."""
    if layer == "building_boundary":
        return EVIDENCE_SCALE - evidence
    # a pixel or two from the edge is inside: small houses have no more
    return np.minimum(evidence.astype(np.uint16) * _STEEP, EVIDENCE_SCALE).astype(np.uint8)


def _both(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Multiply two probabilities in 1/255."""
    return (one.astype(np.uint16) * other // EVIDENCE_SCALE).astype(np.uint8)


def _free_value(values: tuple[int, ...]) -> int:
    return next(value for value in range(NODATA_CLASS) if value not in values)
