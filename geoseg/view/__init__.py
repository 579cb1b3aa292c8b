"""A local web map of runs, and of rasters that are segmented where one looks at them; see docs/view.md."""

from importlib.util import find_spec

from geoseg.errors import UsageError

_LACKING = [name for name in ("rio_tiler", "starlette", "uvicorn", "pmtiles", "pyarrow") if find_spec(name) is None]
if _LACKING:
    raise UsageError(f"A map needs {' and '.join(_LACKING)}. Install it with: pip install 'geoseg[view]'.")

from geoseg.view.app import make_app  # noqa: E402 (after what says why it could not be imported)

__all__ = ["make_app"]
