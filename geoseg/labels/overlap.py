"""Places and pictures that stand in two sites."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from PIL import Image
from rasterio.enums import Resampling
from rasterio.warp import reproject

from geoseg.io.warp import same_place
from geoseg.labels.coding import UNLABELLED
from geoseg.labels.targets import LabelledRaster

_SIDE_PX = 1024
_HASH_PX = 16
_ALIKE_BITS = 10
_LEAST_SHARE = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What is kept of a raster to tell whether it stands elsewhere too."""

    site: str
    """Name of its site."""
    name: str
    """Name of the raster."""
    labelled: NDArray[np.bool_]
    """(h, w) labelled pixels, every n-th of the raster's."""
    geobox: GeoBox | None
    """Grid of ``labelled``; None if the raster has no CRS."""
    picture: NDArray[np.bool_]
    """Which of neighboring patches is brighter: the same for a picture that was saved anew (difference hash)."""
    contrast: float
    """Standard deviation of the gray picture; without contrast the hash says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Two rasters that show the same."""

    one: Trace
    """From the first group."""
    other: Trace
    """From the second group."""
    labelled_share: float | None
    """Share of the second one's labelled pixels that the first one labels too; None if only the pictures are alike."""


def trace_raster(site: str, raster: LabelledRaster) -> Trace:
    """Keep what tells a raster from others."""
    shape = raster.targets.shape[1:]
    step = max(1, -(-max(shape) // _SIDE_PX))
    labelled = raster.targets[0, ::step, ::step] != UNLABELLED
    geobox = None
    if raster.source is not None and raster.source.geobox.crs is not None:
        grid = raster.source.geobox
        geobox = GeoBox(labelled.shape, grid.transform @ Affine.scale(step), grid.crs)
    gray = np.asarray(raster.pixels[:3].mean(axis=0), np.uint8)
    small = np.asarray(Image.fromarray(gray).resize((_HASH_PX + 1, _HASH_PX), Image.Resampling.BOX), np.int16)
    brighter = small[:, 1:] > small[:, :-1]
    return Trace(site=site, name=raster.name, labelled=labelled, geobox=geobox, picture=brighter, contrast=float(small.std()))


def find_shared(ones: list[Trace], others: list[Trace]) -> list[Shared]:
    """Find rasters of two groups that are labelled at the same place, or are the same picture."""
    found = []
    for one, other in product(ones, others):
        share = _shared_labels(one, other)
        if share > _LEAST_SHARE:
            found.append(Shared(one=one, other=other, labelled_share=share))
        elif one.name != other.name and _alike(one, other) and not _elsewhere(one, other):
            found.append(Shared(one=one, other=other, labelled_share=None))
    return found


def _shared_labels(one: Trace, other: Trace) -> float:
    """Return the share of the other's labels that the one has too."""
    if one.name == other.name and one.labelled.shape == other.labelled.shape:
        both = one.labelled & other.labelled
    elif one.geobox is None or other.geobox is None or not same_place(one.geobox, other.geobox):
        return 0.0
    else:
        onto = np.zeros(other.labelled.shape, np.uint8)
        # a mask of ones and zeros, sampled: sample grids may be out of step by one
        reproject(
            one.labelled.astype(np.uint8),
            onto,
            src_transform=one.geobox.transform,
            src_crs=str(one.geobox.crs),
            dst_transform=other.geobox.transform,
            dst_crs=str(other.geobox.crs),
            resampling=Resampling.nearest,
        )
        both = (onto == 1) & other.labelled
    return float(both.sum() / max(other.labelled.sum(), 1))


def _alike(one: Trace, other: Trace) -> bool:
    return min(one.contrast, other.contrast) > 2 and int((one.picture != other.picture).sum()) <= _ALIKE_BITS


def _elsewhere(one: Trace, other: Trace) -> bool:
    """Tell whether two rasters are known to lie at different places."""
    return one.geobox is not None and other.geobox is not None and not same_place(one.geobox, other.geobox)
