"""A finished run, opened: lazy arrays, tables, a picture."""

from pathlib import Path

import numpy as np
import pytest

import geoseg
from geoseg.errors import MissingFileError, RunFolderError
from geoseg.model.predictor import NeighborhoodPredictor, double_spec
from geoseg.pipeline import segment_raster
from tests.doubles import always, configure, draw_blobs, read_band, read_layer, write_package, write_raster

PIXELS = draw_blobs(150, 233, corner=40)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    raster = write_raster(folder / "city.tif", PIXELS, nodata=0)
    config = configure(raster, write_package(folder / "package"), folder / "out", outputs=("classes", "confidence", "landcover"))
    return segment_raster(config, load=always(NeighborhoodPredictor(spec=double_spec())))


def test_rasters_are_lazy_arrays_on_the_grid_of_the_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoseg.arrays.run._CHUNK_PX", 64)
    opened = geoseg.open_run(run)
    for array, name in ((opened.classes, "classes"), (opened.confidence, "confidence")):
        assert array.chunks is not None
        np.testing.assert_array_equal(array.to_numpy(), read_band(run / f"{name}.tif"))
        assert array.odc.crs.epsg == 32645


def test_layers_are_tables_and_classes_have_areas(run: Path) -> None:
    opened = geoseg.open_run(run)
    assert len(opened.landcover) == len(read_layer(run, "landcover"))
    assert opened.areas["pixels"].sum() == PIXELS[0].size
    assert opened.areas.loc["nodata", "pixels"] == (PIXELS == 0).all(axis=0).sum()


def test_what_a_run_did_not_make_is_said_with_what_to_do(run: Path, tmp_path: Path) -> None:
    opened = geoseg.open_run(run)
    with pytest.raises(MissingFileError, match="no layer 'rivers'; it has landcover"):
        opened.read("rivers")
    with pytest.raises(MissingFileError, match="--outputs evidence"):
        _ = opened.evidence
    with pytest.raises(MissingFileError, match="no run folder"):
        geoseg.open_run(tmp_path / "none")
    with pytest.raises(RunFolderError, match="not finished"):
        geoseg.open_run(tmp_path)


def test_a_plot_shows_the_classes_in_their_colors(run: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    ax = geoseg.open_run(run).plot()
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == [c.name for c in double_spec().scheme]
    assert ax.images[0].get_array().shape == (*PIXELS.shape[1:], 4)
    plt.close("all")
