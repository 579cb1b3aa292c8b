"""Measure a result against labels, or a model on labelled sites: what stands in its card."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from geoseg.config import make_config
from geoseg.errors import LabelError
from geoseg.evaluation.found import Found, found_in_memory, open_found, read_array
from geoseg.evaluation.measure import EvaluateOptions, Tally, measure
from geoseg.evaluation.reference import Reference, ReferenceFiles, open_reference, read_buildings
from geoseg.evaluation.result import Evaluation
from geoseg.inference.whole import LoadPredictor, averaging, infer_raster, network_loader, tiles_of
from geoseg.io.raster import RasterSource
from geoseg.labels.coding import UNLABELLED
from geoseg.labels.site import Site, as_measured
from geoseg.labels.targets import LabelledRaster, label_path, stream_site
from geoseg.model.averaged import list_views
from geoseg.model.device import pick_device
from geoseg.model.execution import Execution, Views
from geoseg.model.package import ModelPackage
from geoseg.model.spec import ModelSpec
from geoseg.pipeline import segment_raster
from geoseg.pixels.classes import ClassScheme

_NO_PLACE = "Rasters without a place on the ground were inferred in memory: no objects or roads were made of them."


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Runs one model on labelled sites."""

    package: ModelPackage
    """The model."""
    data_dir: Path
    """Folder that the paths of sites start from."""
    device: str = "auto"
    """Where the network runs."""
    options: EvaluateOptions = field(default_factory=EvaluateOptions)
    """Distances of the metrics."""
    tta: Views = "none"
    """Test-time augmentation."""
    tta_scales: tuple[float, ...] = ()
    """Further sizes at which each view is seen."""
    load: LoadPredictor | None = None
    """Makes the predictor; None loads the network of the package."""

    def evaluate(self, site: Site) -> Evaluation:
        """Segment the rasters of a site as a run does, at the default halo, and pool what they give.

        Raises:
            LabelError: If the site is drawn, or labels and rasters do not fit each other.
        """
        spec = self.package.spec
        check_test(site, spec, self.data_dir, any_values=True)
        site = as_measured(site)
        tally = reduce(add, [self._judge(raster, site) for raster in stream_site(site, spec, self.data_dir, any_values=True)])
        return Evaluation(name=site.name, scheme=spec.scheme, tally=tally)

    def _judge(self, raster: LabelledRaster, site: Site) -> Tally:
        assert raster.source is not None
        if (raster.targets[0] == UNLABELLED).all():
            return Tally(notes=(f"{raster.name} was left out: no pixel of it is labelled.",))
        with self._segment(raster.source) as found:
            if raster.targets.shape[1:] != found.shape:
                raise LabelError(f"{raster.name} has labels of {raster.targets.shape[1:]} pixels, its result {found.shape}.")
            reference = self._reference(raster, raster.source, site)
            tally = measure(replace(found, scheme=self.package.spec.scheme), reference, self.options, raster.name)
        return tally if raster.source.geobox.crs is not None else tally + Tally(notes=(_NO_PLACE,))

    @contextmanager
    def _segment(self, source: RasterSource) -> Iterator[Found]:
        if source.geobox.crs is None:
            yield self._infer(source)
            return
        with TemporaryDirectory(prefix="geoseg-evaluate-") as folder:
            config = {
                "raster": source.path,
                "output": Path(folder) / "run",
                "model": str(self.package.folder),
                "bands": source.bands,
                "device": self.device,
                "assume_crs": source.options.assume_crs,
                "warp": source.options.warp,
                "tta": self.tta,
                "tta_scales": self.tta_scales,
            }
            run = segment_raster(make_config(config), load=self.load)
            with open_found(run) as found:
                yield found

    def _infer(self, source: RasterSource) -> Found:
        spec = self.package.spec
        load = self.load or network_loader(self.package, Execution(device=pick_device(self.device)))
        seen = averaging(load, list_views(self.tta, self.tta_scales))
        layers = infer_raster(seen(), source, tiles_of(spec, source.shape, spec.halo.default_px))
        names = list(spec.layers.names)
        return found_in_memory(source, spec.scheme, layers[names.index("class")], layers[names.index("confidence")])

    def _reference(self, raster: LabelledRaster, source: RasterSource, site: Site) -> Reference:
        read = read_array(np.ascontiguousarray(raster.targets[0]))
        if site.kind != "building_polygons":
            return Reference(read=read)
        path = Path(source.path)
        labels = label_path(site.labels, path, site, self.data_dir)
        buildings, notes = read_buildings(labels, source.geobox, site.layer, needed=False)
        # a labelled area may truly hold no building: that labels fit their raster was checked when they were loaded
        return Reference(read=read, buildings=buildings, notes=notes)


def check_test(site: Site, spec: ModelSpec, data_dir: Path, *, any_values: bool = False) -> None:
    """See to it, before a model is trained or run, that it can be measured on a site; see :func:`geoseg.labels.targets.stream_site`.

    Raises:
        LabelError: If the site is drawn, or labels and rasters do not fit each other.
    """
    for _ in stream_site(as_measured(site), spec, data_dir, any_values=any_values):
        pass


def evaluate_site(
    package: ModelPackage, site: Site, data_dir: Path, options: EvaluateOptions | None = None, device: str = "auto"
) -> Evaluation:
    """Measure a model on a labelled site, through the pipeline that users run.

    Args:
        package: The model.
        site: Rasters and labels.
        data_dir: Folder that its paths start from.
        options: Distances of the metrics.
        device: Where the network runs.

    Returns:
        Scores over the pixels and objects of all rasters together. Sites that know buildings only have no class scores.

    Raises:
        LabelError: If the site is drawn, or labels and rasters do not fit each other.
    """
    return Judge(package=package, data_dir=data_dir, device=device, options=options or EvaluateOptions()).evaluate(site)


def evaluate_result(
    path: Path, files: ReferenceFiles, options: EvaluateOptions | None = None, scheme: ClassScheme | None = None
) -> Evaluation:
    """Measure a finished run folder or a class raster, of any size.

    Args:
        path: The run folder or raster.
        files: Labels; brought into the result's CRS and grid.
        options: Distances of the metrics.
        scheme: Classes of a raster, also those that it nowhere shows; None takes the values that it shows.

    Raises:
        UsageError: If a scheme is given for a run, or the raster shows values that it lacks.
        MissingFileError: If a file is not there.
        LabelError: If labels and result do not fit each other.
    """
    with open_found(path, scheme) as found, open_reference(files, found) as reference:
        tally = measure(found, reference, options or EvaluateOptions())
        return Evaluation(name=path.name, scheme=found.scheme, tally=tally)
