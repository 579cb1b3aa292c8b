"""The stitched rasters of a run, that everything after inference is made from."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from odc.geo.geobox import GeoBox

from geoseg.inference.runplan import RunPlan
from geoseg.io.files import write_whole
from geoseg.io.store.found import FoundStore
from geoseg.io.store.mosaic import ChunkMosaic, LayerStyle, plain_vrt, remove_rows
from geoseg.io.tiffs.cog import write_cog
from geoseg.io.tiffs.layers import LayerReader, open_layer
from geoseg.pixels.classes import NODATA_CLASS, ClassKind, ClassScheme
from geoseg.pixels.decode import MEASURE_SCALE, Measure
from geoseg.poststeps import PostStep
from geoseg.runfolder.folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Stitched:
    """Class map, confidence and evidence of a run, on one grid."""

    geobox: GeoBox
    """The grid."""
    scheme: ClassScheme
    """Classes of the class map."""
    classes: Path
    """Class values, NODATA_CLASS where there is no data."""
    confidence: Path | None
    """Percent, NODATA_CLASS where there is no data; None if nothing is made from it."""
    evidence: Path | None
    """A band for each layer in 1/255; None if the model makes classes only."""
    layers: tuple[str, ...]
    """Names of the evidence layers."""
    found: FoundStore | None = None
    """What a detector found, tile by tile; None for models of classes."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.geobox.shape[0]), int(self.geobox.shape[1])

    def has(self, *layers: str) -> bool:
        """Tell whether there is evidence under any of these names."""
        return any(layer in self.layers for layer in layers)

    @property
    def knows_buildings(self) -> bool:
        """Whether instances of buildings can be made: of evidence, or of what a detector found."""
        if self.found is not None:
            return bool(self.scheme.of_kind(ClassKind.BUILDING))
        return self.has("building_interior", "building")

    @contextmanager
    def open(self, layer: str) -> Iterator[LayerReader]:
        """Hold ``class``, ``confidence`` or a layer of evidence open for reading windows.

        Raises:
            RunError: If it cannot be read.
        """
        whole = {"class": self.classes, "confidence": self.confidence}.get(layer)
        if whole is not None:
            with open_layer(whole) as read:
                yield read
        else:
            assert self.evidence is not None, f"no evidence for {layer}"
            with open_layer(self.evidence, layer) as read:
                yield read


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A raster that is stitched of chunks."""

    name: str
    """Of its file, without the ending."""
    bands: tuple[str, ...]
    """Layers of the model that become its bands, in order."""
    style: LayerStyle
    """What it is dressed in."""
    overviews: str
    """Resampling of its overviews."""
    smooth: bool
    """Whether its values change little from pixel to pixel."""


def list_products(plan: RunPlan) -> list[Product]:
    """Return the rasters that are stitched of the chunks of a run, asked for or not."""
    spec = plan.package.spec
    products = [
        Product(
            name="classes", bands=("class",), style=LayerStyle(nodata=NODATA_CLASS, scheme=spec.scheme), overviews="mode", smooth=False
        ),
    ]
    if "confidence" in plan.layers:
        style = LayerStyle(nodata=NODATA_CLASS)
        products.append(Product(name="confidence", bands=("confidence",), style=style, overviews="average", smooth=True))
    if layers := _list_evidence(plan):
        products.append(Product(name="evidence", bands=layers, style=LayerStyle(), overviews="average", smooth=True))
    measured = LayerStyle(nodata=NODATA_CLASS, scale=1 / MEASURE_SCALE)
    for name, bands in _group_measures(spec.layers.measures).items():
        products.append(Product(name=name, bands=bands, style=measured, overviews="average", smooth=True))
    return products


def _list_evidence(plan: RunPlan) -> tuple[str, ...]:
    return tuple(evidence.name for evidence in plan.package.spec.layers.evidence if evidence.name in plan.layers)


def stitch_run(plan: RunPlan, folder: RunFolder) -> Stitched:
    """Make one raster of each kind out of all chunks: a COG in the run folder if it was asked for, else a virtual one.

    Raises:
        WriteError: If the disk does not take it.
    """
    spec = plan.package.spec
    # one after the other: GDAL's threads can lock each other up where several files are written through one cache
    store = folder.chunks(plan)
    done = store.list_done(plan.tiles)
    if done.count < done.total:
        folder.expect_holes()
    mosaic = ChunkMosaic(store=store, tiles=plan.tiles, done=done)
    made = {product.name: _make_product(mosaic, folder, product, plan) for product in list_products(plan)}
    return Stitched(
        geobox=plan.source.geobox,
        scheme=spec.scheme,
        classes=made["classes"],
        confidence=made.get("confidence"),
        evidence=made.get("evidence"),
        layers=_list_evidence(plan),
        found=folder.found if spec.detects else None,
    )


def _post_process(mosaic: ChunkMosaic, folder: RunFolder, plan: RunPlan, steps: Sequence[PostStep], raw_vrt: str) -> Path:
    """Do steps of post-processing to the class map that a virtual raster describes; its name says where the result lies."""
    # compiled code, which a run without post-processing never needs
    from geoseg.products.post import ClassRaster, apply_steps

    raw, stored = folder.work / "raw.layers.vrt", folder.work / "stored.layers.vrt"
    write_whole(raw, raw_vrt.encode())
    spec = plan.package.spec
    bands = _group_measures(spec.layers.measures).get("probabilities")
    if bands:
        write_whole(stored, mosaic.describe(folder.work, "stored", bands, LayerStyle(nodata=NODATA_CLASS)).encode())
    raster = ClassRaster(classes=raw, probabilities=stored if bands else None, geobox=plan.source.geobox, scheme=spec.scheme)
    return apply_steps(raster, steps, folder.work)


def _group_measures(measures: Iterable[Measure]) -> dict[str, tuple[str, ...]]:
    """Return the bands of each product that is made of measures."""
    grouped: dict[str, tuple[str, ...]] = {}
    for measure in measures:
        name = "probabilities" if measure.kind == "probability" else "uncertainty"
        grouped[name] = (*grouped.get(name, ()), measure.name)
    return grouped


def _make_product(mosaic: ChunkMosaic, folder: RunFolder, product: Product, plan: RunPlan) -> Path:
    path, is_wanted = folder.path / f"{product.name}.tif", product.name in plan.config.outputs
    # a first map stands under the same name, also where it was cut off before its summary said so
    if is_wanted and path.exists() and not (folder.is_preview or folder.quick.path.exists()):
        return path
    vrt = mosaic.describe(folder.work, product.name, product.bands, product.style)
    if product.name == "classes" and plan.config.post:
        made = _post_process(mosaic, folder, plan, plan.config.post, vrt)
        vrt = plain_vrt(plan.source.geobox, made.name, "uint8", product.style, product.bands)
    if not is_wanted:
        path = folder.work / f"{product.name}.layers.vrt"
        write_whole(path, vrt.encode())
        return path
    write_cog(vrt, folder.work, path, overviews=product.overviews, smooth=product.smooth)
    remove_rows(folder.work, product.name)
    return path
