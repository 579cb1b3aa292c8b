"""Measure a model on labelled sites: what stands in its card."""

from pathlib import Path

import numpy as np

from geoseg.errors import LabelError
from geoseg.evaluation.semantic import building_iou, class_metrics, confusion_matrix, is_partial
from geoseg.inference import infer_raster, tiles_of
from geoseg.labels.site import Site
from geoseg.labels.targets import UNLABELLED, building_channel, load_site
from geoseg.model.predictor import Predictor
from geoseg.model.spec import Metric
from geoseg.pixels.classes import NODATA_CLASS


def evaluate_site(predictor: Predictor, site: Site, data_dir: Path) -> tuple[Metric, ...]:
    """Segment the rasters of a site as a run would, at the default halo, and compare with the labels.

    Args:
        predictor: The model.
        site: Rasters and labels.
        data_dir: Folder that its paths start from.

    Returns:
        IoU of buildings for sites that know buildings only; else mean IoU, IoU per class and accuracy, over the
        pixels of all rasters together.
    """
    spec = predictor.spec
    channel = np.full(256, UNLABELLED, np.uint8)
    channel[list(spec.layers.values)] = np.arange(len(spec.classes))
    truths, found = [], []
    for raster in load_site(site, spec, data_dir):
        if raster.source is None:
            raise LabelError(f"Site '{site.name}' is drawn; a model is measured on real imagery. Remove it from the tests.")
        classes = infer_raster(predictor, raster.source, tiles_of(spec, raster.source.shape, spec.halo.default_px))[0]
        truth = raster.targets[0].copy()
        truth[classes == NODATA_CLASS] = UNLABELLED
        truths.append(truth.ravel())
        found.append(channel[classes].ravel())
    truth, classes = np.concatenate(truths), np.concatenate(found)
    if is_partial(truth):
        iou = building_iou(truth, classes == building_channel(spec), spec)
        return (Metric(dataset=site.name, name="IoU building", value=round(iou, 4)),)
    return class_metrics(site.name, confusion_matrix(truth, classes, len(spec.classes)), spec)
