"""Labelled arrays in, labelled arrays out: geoseg for notebooks and pipelines that know xarray."""

from importlib.util import find_spec

from geoseg.errors import UsageError

if find_spec("xarray") is None:
    raise UsageError("Arrays need xarray, which is not installed. Install it with: pip install 'geoseg[arrays]'.")
