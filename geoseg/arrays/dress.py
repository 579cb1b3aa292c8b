"""Layers as labelled arrays: where they lie, and what their values mean."""

from typing import Any

import dask.array as da
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

from geoseg.pixels.classes import NODATA_CLASS, ClassScheme


def dress_layer(pixels: da.Array | NDArray[Any], layer: str, geobox: GeoBox, scheme: ClassScheme) -> xr.DataArray:
    """Give a layer coordinates, a CRS, and a legend or unit.

    Args:
        pixels: (H, W).
        layer: ``classes``, ``confidence``, ``instances``, or a layer of evidence.
        geobox: Where it lies.
        scheme: The legend of ``classes``, spelled as the CF conventions do.
    """
    attrs: dict[str, Any]
    if layer == "classes":
        attrs = {
            "_FillValue": NODATA_CLASS,
            "flag_values": [c.value for c in scheme],
            "flag_meanings": " ".join(c.name.replace(" ", "_") for c in scheme),
            "flag_colors": " ".join(c.color for c in scheme),
        }
    elif layer == "confidence":
        attrs = {"_FillValue": NODATA_CLASS, "units": "percent"}
    elif layer == "instances":
        attrs = {"long_name": "instance id, 0 = background"}
    else:
        attrs = {"long_name": f"probability of {layer.replace('_', ' ')}", "units": "1/255"}
    dressed: xr.DataArray = wrap_xr(pixels, geobox, **attrs)
    return dressed.rename(layer)
