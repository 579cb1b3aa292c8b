"""The raster of a run on the grid of its model: with the bands that the model needs, inside the area of interest."""

from dataclasses import replace

from geoseg.config import RunConfig
from geoseg.errors import ModelError, RasterError
from geoseg.io.raster import RasterOptions, RasterSource, has_data, place_source
from geoseg.io.sources.arrangement import Arrangement
from geoseg.io.sources.bands import find_bands, list_lacking, match_bands
from geoseg.io.sources.gather import gather_imagery
from geoseg.io.sources.imagery import FileImagery, Imagery
from geoseg.io.sources.placement import is_of_unknown_width
from geoseg.io.where import Where, find_area
from geoseg.model.spec import ModelSpec


def open_source(config: RunConfig, spec: ModelSpec) -> RasterSource:
    """Open the raster of a run on the model's grid, with the bands that the model needs and the area of interest.

    Raises:
        UsageError: If the raster or the area of interest does not fit.
        RasterError: If no pixel holds data.
    """
    imagery = describe_imagery(config, spec.bands)
    imagery = imagery.each_file(FileImagery.scaled) if spec.values == "scaled" else imagery
    # nobody knows how wide such pixels are
    source = place_source(imagery, None if is_of_unknown_width(config.assume_crs) else spec.resolution_m)
    source = source.choose(choose_bands(config, spec, imagery))
    if config.collar == "auto":
        source = replace(source, imagery=source.imagery.each_file(FileImagery.without_collar))
    where = Where(aoi=config.aoi, bbox=config.bbox, exclude=config.exclude)
    source = replace(source, aoi=find_area(where, source.geobox, source.path))
    if not has_data(source):
        raise RasterError(
            f"No pixel of {source.path} holds data: all of it is nodata, masked or transparent. Check the file with gdalinfo -stats."
        )
    return source


def describe_imagery(config: RunConfig, wanted: tuple[str, ...] = ()) -> Imagery:
    """Describe the rasters of a run at full resolution, with all their bands.

    Args:
        config: Which rasters, and how they become one.
        wanted: What the model calls its bands; those that are asked for by name come before.

    Raises:
        UsageError: If one cannot be used, or they do not fit each other.
    """
    options = RasterOptions(assume_crs=config.assume_crs, warp=config.warp, trust_vrt=config.trust_vrt, sign=config.stac_sign)
    arrangement = Arrangement(rule=config.mosaic, feather_px=config.feather, stack=config.stack)
    named = tuple(band for band in config.bands if isinstance(band, str)) or wanted
    return gather_imagery(config.rasters, options, arrangement, named)


def choose_bands(config: RunConfig, spec: ModelSpec, imagery: Imagery) -> tuple[int, ...]:
    """Return the 1-based bands for a model: those that are asked for, else those called as it calls its own, else the first ones.

    Raises:
        ModelError: If there are fewer than it needs, another number was asked for, or it means some that are not there.
        RasterError: If one was asked for that is not there.
    """
    wanted, name = len(spec.bands), imagery.name
    needs = f"Model '{spec.name}' needs {wanted} bands ({', '.join(spec.bands)})"
    if config.bands and len(config.bands) != wanted:
        raise ModelError(f"{needs}; --bands names {len(config.bands)}.")
    if config.bands:
        return find_bands(config.bands, imagery.bands, name)
    there = [band for band in range(1, len(imagery.bands) + 1) if band not in imagery.opacity]
    if len(there) < wanted:
        alpha = f", beside {len(imagery.opacity)} of opacity" if imagery.opacity else ""
        raise ModelError(f"{needs}; {name} has {len(there)}{alpha}. Choose bands with --bands or another model.")
    matched = match_bands(spec.bands, imagery.bands)
    if matched is not None:
        return matched
    lacking = list_lacking(spec.bands, [imagery.bands[band - 1] for band in there])
    if lacking:
        called = ", ".join("/".join(imagery.bands[band - 1]) for band in there)
        raise ModelError(f"{needs}; {name} has {called}: {', '.join(lacking)} is not among them. Choose bands with --bands.")
    return tuple(there[:wanted])
