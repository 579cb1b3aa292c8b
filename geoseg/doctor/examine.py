"""The whole examination, in order: what the later parts stand on comes first."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from geoseg.doctor.computing import look_at_gpu, look_at_models, look_at_onnxruntime, try_backends
from geoseg.doctor.finding import Finding, Look, look
from geoseg.doctor.gis import look_at_gdal, look_at_proj, look_at_variables
from geoseg.doctor.libraries import look_at_loading, look_at_requirements, look_at_versions
from geoseg.doctor.surroundings import look_at_cache, look_at_disk, look_at_encoding, look_at_memory, look_at_paths


def examine(folder: Path, *, self_test: bool = True) -> Iterator[Finding]:
    """Yield what is found, one by one.

    Args:
        folder: Where runs would be written.
        self_test: Run the shipped model on each backend as well.
    """
    looks: dict[str, Look] = {
        "geoseg": look_at_versions,
        "packages": look_at_requirements,
        "loading": look_at_loading,
        "GDAL": look_at_gdal,
        "PROJ data": look_at_proj,
        "variables": look_at_variables,
        "PYTHONPATH": look_at_paths,
        "disk": partial(look_at_disk, folder),
        "cache": look_at_cache,
        "memory": look_at_memory,
        "encoding": look_at_encoding,
        "GPU": look_at_gpu,
        "onnxruntime": look_at_onnxruntime,
        "models": look_at_models,
    }
    if self_test:
        looks["self-test"] = try_backends
    for name, at in looks.items():
        yield from look(name, at)
