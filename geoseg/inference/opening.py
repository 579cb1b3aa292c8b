"""The raster of a run on the grid of its model: with the bands that the model needs, inside the area of interest."""

from dataclasses import replace

from geoseg.config import RunConfig
from geoseg.errors import ModelError, RasterError
from geoseg.io.raster import RasterOptions, RasterSource, has_data, place_source
from geoseg.io.sources.arrangement import Arrangement
from geoseg.io.sources.bands import find_bands, list_lacking, match_bands
from geoseg.io.sources.gather import gather_imagery
from geoseg.io.sources.imagery import FileImagery, Imagery, is_measured
from geoseg.io.where import Where, find_area
from geoseg.model.spec import ModelSpec


def open_source(config: RunConfig, spec: ModelSpec) -> RasterSource:
    """Open the raster of a run on the model's grid, with the bands that the model needs and the area of interest.

    Raises:
        UsageError: If the raster or the area of interest does not fit.
        ModelError: If its bands or their type do not fit the model.
        RasterError: If no pixel holds data.
    """
    imagery = describe_imagery(config, spec.bands)
    imagery = imagery.each_file(FileImagery.scaled) if spec.values == "scaled" else imagery
    source = place_source(imagery, spec.resolution_m if is_measured(imagery) else None)
    source = source.choose(choose_bands(config, spec, imagery))
    check_dtype(spec, source)
    if config.collar == "auto":
        source = replace(source, imagery=source.imagery.each_file(FileImagery.without_collar))
    where = Where(aoi=config.aoi, bbox=config.bbox, exclude=config.exclude)
    source = replace(source, aoi=find_area(where, source.geobox, source.path))
    if not has_data(source):
        raise RasterError(
            f"No pixel of {source.path} holds data: all of it is nodata, masked or transparent. Check the file with gdalinfo -stats."
        )
    return source


def check_dtype(spec: ModelSpec, source: RasterSource) -> None:
    """Refuse a raster whose values a model does not know how to scale.

    Raises:
        ModelError: If it is for values of another type.
    """
    if spec.dtype is not None and str(source.dtype) != spec.dtype:
        raise ModelError(
            f"Model '{spec.name}' scales {spec.dtype} values; {source.path} holds {source.dtype}. Convert it (gdal_translate -ot -scale), "
            "or import the model with mean, std and dtype for such values."
        )


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
