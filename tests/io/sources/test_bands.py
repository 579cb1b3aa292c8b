"""Bands by number and by name: described, colored, or called as their file; never guessed where names say otherwise."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from geoseg.errors import ModelError, RasterError
from geoseg.inference.planning import plan_run
from geoseg.io.raster import open_raster
from geoseg.io.sources.bands import common_name, find_bands, list_lacking, match_bands
from geoseg.model.predictor import double_spec
from tests.doubles import configure, draw_blobs, write_package, write_raster

BGRN = (("blue",), ("green",), ("red",), ("nir", "b08"))


def described(path: Path, *names: str | None) -> Path:
    pixels = np.concatenate([draw_blobs(40, 50, seed=n)[:1] for n in range(len(names))])
    write_raster(path, pixels, photometric="minisblack")
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = names
    return path


def test_names_come_from_descriptions_colors_and_the_file(tmp_path: Path) -> None:
    assert open_raster(described(tmp_path / "a.tif", "Near Infrared", "R", None)).imagery.bands == (("nir",), ("red",), ())
    assert open_raster(write_raster(tmp_path / "rgb.tif", draw_blobs(40, 50))).imagery.bands == (("red",), ("green",), ("blue",))
    assert open_raster(described(tmp_path / "B04.tif", None)).imagery.bands == (("b04",),)
    with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
        dataset.update_tags(3, common_name="swir16")
        dataset.colorinterp = [ColorInterp.gray, ColorInterp.undefined, ColorInterp.undefined]
    assert open_raster(tmp_path / "a.tif").imagery.bands[2] == ("swir16",)


@pytest.mark.parametrize(("wanted", "expected"), [((4, 1), (4, 1)), (("red", 2, "B08"), (3, 2, 4)), (("NIR1",), (4,)), ((), ())])
def test_bands_are_found_by_number_and_name(wanted: tuple[int | str, ...], expected: tuple[int, ...]) -> None:
    assert find_bands(wanted, BGRN, "a.tif") == expected


def test_a_band_that_is_not_there_or_twice_is_refused() -> None:
    with pytest.raises(RasterError, match=r"no bands called 'swir'.*1: blue, 2: green, 3: red, 4: nir/b08"):
        find_bands(("swir",), BGRN, "a.tif")
    with pytest.raises(RasterError, match="2 bands called 'red'"):
        find_bands(("red",), (("red",), ("red",)), "a.tif")
    with pytest.raises(RasterError, match="has 4 bands; --bands asks for 5"):
        find_bands((5,), BGRN, "a.tif")


def test_a_model_gets_what_is_called_as_it_calls_its_own() -> None:
    assert match_bands(("red", "green", "blue", "nir"), BGRN) == (3, 2, 1, 4)
    assert match_bands(("red", "green", "swir"), BGRN) is None
    assert match_bands(("band_1",), BGRN) is None
    assert match_bands(("nir", "b08"), BGRN) is None, "one band does not serve twice"


def test_a_band_lacks_only_where_all_are_named_and_some_are_meant() -> None:
    assert list_lacking(("red", "swir"), BGRN) == ("swir",)
    assert list_lacking(("band_1", "band_2"), BGRN) == ()
    assert list_lacking(("red", "swir"), (*BGRN[:3], ())) == ()


@pytest.mark.parametrize(
    ("given", "expected"), [(" Red ", "red"), ("Near Infrared", "nir"), ("Coastal Aerosol", "coastal"), ("B8A", "b8a")]
)
def test_names_are_those_of_stac(given: str, expected: str) -> None:
    assert common_name(given) == expected


def test_a_run_takes_bands_by_name_and_refuses_what_lacks_one(tmp_path: Path) -> None:
    package = write_package(tmp_path / "model", double_spec(4).model_copy(update={"bands": ("red", "green", "blue", "nir")}))
    four = described(tmp_path / "bgrn.tif", "blue", "green", "red", "nir")
    assert plan_run(configure(four, package, tmp_path / "out")).source.bands == (3, 2, 1, 4)
    other = described(tmp_path / "swir.tif", "blue", "green", "red", "swir16")
    with pytest.raises(ModelError, match="blue, green, red, swir16: nir is not among them"):
        plan_run(configure(other, package, tmp_path / "out"))
    assert plan_run(configure(other, package, tmp_path / "out", bands=("red", "green", "blue", 4))).source.bands == (3, 2, 1, 4)


def test_opacity_is_not_fed_to_a_model_for_want_of_bands(tmp_path: Path) -> None:
    package = write_package(tmp_path / "model", double_spec(4))
    rgba = write_raster(tmp_path / "rgba.tif", np.concatenate([draw_blobs(40, 50), np.full((1, 40, 50), 255, np.uint8)]))
    with pytest.raises(ModelError, match=r"has 3, beside 1 of opacity"):
        plan_run(configure(rgba, package, tmp_path / "out"))
