"""A class map through steps of post-processing, each by blocks with a margin from disk to disk, so that blocks change nothing."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geoseg.io.ground import pixel_size_m, pixel_step_m, row_areas_m2
from geoseg.io.raster import create_raster, open_plain
from geoseg.io.tiffs.layers import open_layer
from geoseg.objects.borders.sieve import EnclosedOptions, SieveOptions, replace_enclosed, sieve
from geoseg.pixels.classes import NODATA_CLASS, ClassScheme
from geoseg.pixels.filters import close_class, open_class, reach_of_gaussian, smooth_classes, take_majority
from geoseg.poststeps import (
    EnclosedStep,
    MajorityStep,
    MergeStep,
    MorphologyStep,
    PostStep,
    SieveStep,
    SmoothStep,
)
from geoseg.tiling import partition, place

_BLOCK_PX = 1024
_STORAGE = {"count": 1, "dtype": "uint8", "blockxsize": 512, "blockysize": 512, "compress": "zstd", "zstd_level": 1}

Read = Callable[[Window], NDArray[np.uint8]]
"""Returns the class map of a window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRaster:
    """The class map of a run, as its chunks have it."""

    classes: Path
    """Class values, NODATA_CLASS where there is no data."""
    probabilities: Path | None
    """A band for each class; None if they are not stored."""
    geobox: GeoBox
    """The grid."""
    scheme: ClassScheme
    """The classes."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.geobox.shape[0]), int(self.geobox.shape[1])

    def value_of(self, name: str) -> int:
        """Return the value of a class."""
        return next(row.value for row in self.scheme if row.name == name)

    def radius_px(self, radius_m: float) -> int:
        """Return a length on the ground as whole pixels, at least one."""
        return max(1, math.floor(radius_m / pixel_size_m(self.geobox) + 0.5))


def apply_steps(raster: ClassRaster, steps: Sequence[PostStep], folder: Path) -> Path:
    """Do steps of post-processing one after the other.

    Args:
        raster: What is processed; it stays.
        steps: In order, at least one.
        folder: Takes the result and, meanwhile, what lies between.

    Returns:
        The processed class map; no pixel without data has a class, and none with data has lost it.

    Raises:
        RunError: If something could not be read.
        WriteError: If the disk does not take it.
    """
    current = raster.classes
    for number, step in enumerate(steps):
        made = folder / f"post.{number}.tif"
        with _open_step(step, current, raster) as read, create_raster(made, raster.geobox, nodata=NODATA_CLASS, **_STORAGE) as written:
            for window in partition(raster.shape, _BLOCK_PX):
                written.write(read(window), 1, window=window)
        if current != raster.classes:
            current.unlink()
        current = made
    return current


@contextmanager
def _open_step(step: PostStep, current: Path, raster: ClassRaster) -> Iterator[Read]:
    """Hold open what reads the class map after a step."""
    if isinstance(step, SmoothStep):
        assert raster.probabilities is not None, "a run without probabilities"
        with open_plain(raster.probabilities) as dataset:
            yield _smoothed(step, dataset, raster)
        return
    with open_layer(current) as read:
        yield _make_reader(step, read, raster)


def _smoothed(step: SmoothStep, dataset: Any, raster: ClassRaster) -> Read:
    radius_px = step.radius_m / pixel_size_m(raster.geobox)

    def smooth(window: Window) -> NDArray[np.uint8]:
        around = _around(window, reach_of_gaussian(radius_px), raster.shape)
        made = smooth_classes(dataset.read(window=around), raster.scheme.values, radius_px)
        return made[place(window, around)]

    return smooth


def _make_reader(step: PostStep, read: Read, raster: ClassRaster) -> Read:
    if isinstance(step, MergeStep):
        table = np.arange(256, dtype=np.uint8)
        table[[raster.value_of(name) for name in step.classes]] = raster.value_of(step.into)
        return lambda window: table[read(window)]
    if isinstance(step, SieveStep):
        options = SieveOptions(min_area_m2=step.min_area_m2, connectivity=step.connectivity, background=NODATA_CLASS)
        return sieve(read, raster.shape, pixel_step_m(raster.geobox), options, row_areas_m2=row_areas_m2(raster.geobox))
    if isinstance(step, EnclosedStep):
        name, inside, becomes = (raster.value_of(each) for each in step.names())
        enclosed = EnclosedOptions(value=name, inside=inside, becomes=becomes, min_share=step.min_share, background=NODATA_CLASS)
        return replace_enclosed(read, raster.shape, pixel_step_m(raster.geobox), enclosed)
    assert isinstance(step, MajorityStep | MorphologyStep)
    return _make_filter(step, read, raster)


def _make_filter(step: MajorityStep | MorphologyStep, read: Read, raster: ClassRaster) -> Read:
    """Return what reads with a margin and filters."""
    radius_px, values = raster.radius_px(step.radius_m), raster.scheme.values
    # opening and closing look twice
    margin_px = radius_px if isinstance(step, MajorityStep) else 2 * radius_px

    def filtered(window: Window) -> NDArray[np.uint8]:
        around = _around(window, margin_px, raster.shape)
        classes = read(around)
        if isinstance(step, MajorityStep):
            made = take_majority(classes, values, radius_px)
        elif step.step == "opening":
            made = open_class(classes, values, raster.value_of(step.name), radius_px)
        else:
            made = close_class(classes, raster.value_of(step.name), radius_px)
        return made[place(window, around)]

    return filtered


def _around(window: Window, margin_px: int, shape: tuple[int, int]) -> Window:
    """Return a window with a margin, as far as the raster reaches."""
    top, left = max(0, window.row_off - margin_px), max(0, window.col_off - margin_px)
    bottom = min(shape[0], window.row_off + window.height + margin_px)
    right = min(shape[1], window.col_off + window.width + margin_px)
    return Window(left, top, right - left, bottom - top)
