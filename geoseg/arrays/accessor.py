"""``array.geoseg``: what geoseg does with an array, where the array is at hand."""

from typing import Any

import xarray as xr

from geoseg.arrays.segment import segment


@xr.register_dataarray_accessor("geoseg")
@xr.register_dataset_accessor("geoseg")
class GeosegAccessor:
    """Gives arrays and datasets of imagery the method :meth:`segment`.

    Args:
        array: The imagery.
    """

    def __init__(self, array: xr.DataArray | xr.Dataset) -> None:
        self._array = array

    def segment(self, model: str = "aerial", **options: Any) -> xr.Dataset:
        """Segment the imagery lazily; see :func:`geoseg.segment`."""
        return segment(self._array, model, **options)
