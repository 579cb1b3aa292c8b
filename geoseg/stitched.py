"""The stitched rasters of a run, that everything after inference is made from."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from odc.geo.geobox import GeoBox

from geoseg.io.chunks import LayerReader, LayerStyle, mosaic_vrt, open_layer
from geoseg.io.cog import write_cog
from geoseg.io.files import write_whole
from geoseg.pixels.classes import NODATA_CLASS, ClassScheme
from geoseg.planning import RunPlan
from geoseg.runfolder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Stitched:
    """Class map, confidence and evidence of a run, on one grid."""

    geobox: GeoBox
    """The grid."""
    scheme: ClassScheme
    """Classes of the class map."""
    classes: Path
    """Class values, NODATA_CLASS where there is no data."""
    confidence: Path
    """Percent, NODATA_CLASS where there is no data."""
    evidence: Path | None
    """A band for each layer in 1/255; None if the model makes classes only."""
    layers: tuple[str, ...]
    """Names of the evidence layers."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.geobox.shape[0]), int(self.geobox.shape[1])

    def has(self, *layers: str) -> bool:
        """Tell whether there is evidence under any of these names."""
        return any(layer in self.layers for layer in layers)

    @contextmanager
    def open(self, layer: str) -> Iterator[LayerReader]:
        """Hold ``class``, ``confidence`` or a layer of evidence open for reading windows.

        Raises:
            RunError: If it cannot be read.
        """
        whole = {"class": self.classes, "confidence": self.confidence}
        if layer in whole:
            with open_layer(whole[layer]) as read:
                yield read
        else:
            assert self.evidence is not None, f"no evidence for {layer}"
            with open_layer(self.evidence, layer) as read:
                yield read


def stitch_run(plan: RunPlan, folder: RunFolder) -> Stitched:
    """Make one raster of each kind out of all chunks: a COG in the run folder if it was asked for, else a virtual one.

    Raises:
        WriteError: If the disk does not take it.
    """
    spec, geobox = plan.package.spec, plan.source.geobox
    layers = tuple(evidence.name for evidence in spec.layers.evidence)
    made: dict[str, Path] = {}
    for product, bands, style, overviews in (
        ("classes", ("class",), LayerStyle(nodata=NODATA_CLASS, scheme=spec.scheme), "mode"),
        ("confidence", ("confidence",), LayerStyle(nodata=NODATA_CLASS), "average"),
        ("evidence", layers, LayerStyle(), "average"),
    ):
        if not bands:
            continue
        vrt = mosaic_vrt(folder.chunks(plan), plan.tiles, bands, style)
        if product in plan.config.outputs:
            made[product] = folder.path / f"{product}.tif"
            if not made[product].exists():
                write_cog(vrt, folder.work, made[product], overviews=overviews, predictor=product == "evidence")
        else:
            made[product] = folder.work / f"{product}.layers.vrt"
            write_whole(made[product], vrt.encode())
    return Stitched(
        geobox=geobox,
        scheme=spec.scheme,
        classes=made["classes"],
        confidence=made["confidence"],
        evidence=made.get("evidence"),
        layers=layers,
    )
