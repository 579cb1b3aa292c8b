"""The public surface: sorted, whole, and loaded only when it is used."""

import subprocess
import sys
from pathlib import Path

import pytest

import geoseg
from tests.doubles import draw_blobs, write_package, write_raster


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


def loaded_by(code: str) -> list[str]:
    """Return which packages that only objects are made with, or networks run in, some code loads."""
    heavy = {"geopandas", "geoseg.products.things", "networkx", "numba", "pandas", "scipy", "torch"}
    code = f"import sys; {code}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.split()


def test_the_pipeline_is_loaded_without_what_objects_are_made_with() -> None:
    assert loaded_by("import geoseg.pipeline") == []
    assert "numba" in loaded_by("import geoseg.products.things")


def test_a_run_for_classes_alone_never_loads_what_objects_are_made_with(tmp_path: Path) -> None:
    raster, model = write_raster(tmp_path / "city.tif", draw_blobs(64, 80)), write_package(tmp_path / "model")
    code = (
        "import geoseg.pipeline, geoseg.config, geoseg.model.predictor as p; predictor = p.ThresholdPredictor(spec=p.double_spec()); "
        f"config = geoseg.config.RunConfig(raster={str(raster)!r}, model={str(model)!r}, output={str(tmp_path / 'out')!r}, "
        "outputs=('classes', 'confidence')); geoseg.pipeline.segment_raster(config, load=lambda *_: predictor)"
    )
    # what layers are decoded with may be compiled
    assert set(loaded_by(code)) <= {"numba", "scipy"}
    assert (tmp_path / "out" / "summary.json").exists()
