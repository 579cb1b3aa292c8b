"""The public surface: sorted, whole, and loaded only when it is used."""

import subprocess
import sys

import pytest

import geoseg


def test_every_public_name_is_there_sorted_and_documented() -> None:
    assert geoseg.__all__ == sorted(geoseg.__all__)
    assert len(geoseg.__all__) >= 15
    for name in geoseg.__all__:
        assert getattr(geoseg, name).__doc__ or name == "Event"


def test_a_name_that_is_not_there_is_named() -> None:
    with pytest.raises(AttributeError, match="segment_rasters"):
        _ = geoseg.segment_rasters  # type: ignore[attr-defined]


def test_importing_geoseg_loads_neither_torch_nor_gdal() -> None:
    code = "import sys, geoseg; assert not {'torch', 'rasterio', 'numba', 'dask'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
