"""A raster seen from farther away: the same ground in fewer pixels, read from overviews where there are some."""

from dataclasses import replace

from affine import Affine
from odc.geo.geobox import GeoBox

from geoseg.errors import RasterError
from geoseg.io.raster import RasterSource
from geoseg.io.sources.dataset import FOREIGN, open_dataset
from geoseg.io.sources.imagery import FileImagery, Imagery


def coarsen_source(source: RasterSource, factor: int) -> RasterSource:
    """Return a raster on a grid of which each pixel is the mean of ``factor`` x ``factor`` pixels of its own.

    Of one file that has overviews, and is not warped, the coarsest is read that is still averaged, so that overviews which were made
    by taking every other pixel do little harm.

    Args:
        source: The raster.
        factor: From 1. The last pixels of a row or column may reach past the raster's edge.

    Raises:
        RasterError: If the file cannot be opened.
    """
    height, width = (-(-n // factor) for n in source.shape)
    geobox = GeoBox((height, width), source.geobox.transform @ Affine.scale(factor), source.geobox.crs)
    averaged = source.decimation * factor
    imagery, below = _find_overview(source.imagery, averaged)
    return replace(source, geobox=geobox, imagery=imagery, decimation=averaged // below)


def _find_overview(imagery: Imagery, averaged: int) -> tuple[Imagery, int]:
    """Return imagery that has fewer pixels, and how many of the given one's along a side each of them stands for."""
    if not isinstance(imagery, FileImagery) or not _keeps_its_grid(imagery):
        return imagery, 1
    try:
        with open_dataset(imagery.name, imagery.options) as dataset:
            sides = dict(enumerate(dataset.overviews(1)))
        for level, side in sorted(sides.items(), key=lambda item: -item[1]):
            if 2 * side <= averaged and averaged % side == 0:
                shape = tuple(-(-int(n) // side) for n in imagery.geobox.shape)
                options = replace(imagery.options, overview=level)
                with open_dataset(imagery.name, options) as dataset:
                    if dataset.shape == shape:
                        grid = GeoBox(shape, imagery.geobox.transform @ Affine.scale(side), imagery.geobox.crs)
                        return replace(imagery, geobox=grid, options=options), side
    except FOREIGN as exc:
        raise RasterError(f"{imagery.name} could not be opened as a raster: {exc}. Check the file with gdalinfo.") from exc
    return imagery, 1


def _keeps_its_grid(imagery: FileImagery) -> bool:
    options = imagery.options
    is_plain = not (options.warp or options.ignore_alpha or options.placed is not None or options.onto is not None)
    # a margin is described in pixels of the file
    return is_plain and imagery.collar is None
