"""A recipe from a raster and polygons."""

from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely

from geoseg.errors import LabelError, ModelError
from geoseg.labels.targets import load_site
from geoseg.model.package import find_package
from geoseg.training.draft import DraftOptions, draft_recipe, write_recipe
from geoseg.training.recipe import read_recipe
from tests.doubles import CRS, TRANSFORM, call_geoseg, draw_blobs, write_package, write_raster


@pytest.fixture
def town(tmp_path: Path) -> tuple[Path, Path]:
    """A raster of 200 x 300 pixels and strips of polygons over all of it."""
    raster = write_raster(tmp_path / "town [7].tif", draw_blobs(200, 300))
    left, top = TRANSFORM @ (0, 0)
    names = ["water", "orchard", "building", None]
    strips = [shapely.box(left + 30 * i, top - 100, left + 30 * (i + 1), top) for i in range(5)]
    table = gpd.GeoDataFrame({"what": [names[i % 4] for i in range(5)]}, geometry=strips, crs=CRS)
    table.to_file(tmp_path / "labels {x}.gpkg")
    return raster, tmp_path / "labels {x}.gpkg"


def test_the_recipe_is_read_again_and_finds_its_labels(town: tuple[Path, Path]) -> None:
    raster, labels = town
    options = DraftOptions(column="what", epochs=3, steps_per_epoch=7)
    recipe = draft_recipe(raster, labels, find_package("base"), "base", options)
    write_recipe(recipe, raster.parent / "recipe.toml")
    again = read_recipe(raster.parent / "recipe.toml")
    assert again == recipe
    assert (again.start_from, again.schedule.epochs, again.schedule.steps_per_epoch) == (("base",), 3, 7)
    ((learned,), (measured,)) = (load_site(site, again.model, raster.parent) for site in (again.sites[0], again.tests[0]))
    classes = [part.targets[0] for part in (learned, measured)]
    assert {*np.unique(classes[0])} >= {0, 1, 2}
    assert not ((classes[0] != 255) & (classes[1] != 255)).any()


@pytest.mark.parametrize("names", [[1, 2, 3], ["a", "b", "c"]])
def test_polygons_become_the_class_that_their_column_names(names: list[object], town: tuple[Path, Path]) -> None:
    raster, labels = town
    table = gpd.read_file(labels).iloc[:3].assign(what=names)
    table.to_file(labels)
    recipe = draft_recipe(raster, labels, find_package("base"), "base", DraftOptions(column="what", test_share=0))
    assert [c.name for c in recipe.model.classes] == [str(name) for name in names]
    (part,) = load_site(recipe.sites[0], recipe.model, raster.parent)
    # the strips are 60 pixels wide
    assert part.targets[0][100, [30, 90, 150]].tolist() == [0, 1, 2]


def test_a_class_name_that_was_deleted_again_is_none(town: tuple[Path, Path]) -> None:
    raster, labels = town
    gpd.read_file(labels).assign(what=["water", " ", "", None, "land"]).to_file(labels)
    recipe = draft_recipe(raster, labels, find_package("base"), "base", DraftOptions(column="what", test_share=0))
    assert [c.name for c in recipe.model.classes] == ["land", "water"]
    (part,) = load_site(recipe.sites[0], recipe.model, raster.parent)
    assert part.targets[0][100, [30, 90, 150, 210, 270]].tolist() == [1, 255, 255, 255, 0]


def test_known_classes_keep_color_and_kind_and_come_first(town: tuple[Path, Path]) -> None:
    base = find_package("base")
    spec = draft_recipe(*town, base, "base", DraftOptions(column="what", background="land", test_share=0)).model
    known = {c.name: c for c in base.spec.classes}
    assert [c.name for c in spec.classes] == ["land", "water", "building", "orchard"]
    assert [c.color for c in spec.classes][:3] == [known[name].color for name in ("land", "water", "building")]
    assert [c.kind.value for c in spec.classes] == ["surface", "surface", "building", "surface"]
    assert (spec.heads["semantic"].stop, spec.heads["building_interior"].start) == (4, 4)
    assert spec.name == "town [7]"


def test_without_a_share_for_the_test_all_is_learned_from(town: tuple[Path, Path]) -> None:
    recipe = draft_recipe(*town, find_package("base"), "base", DraftOptions(column="what", test_share=0))
    assert (recipe.tests, recipe.sites[0].blocks) == ((), None)


def test_what_is_wrong_is_said(town: tuple[Path, Path], tmp_path: Path) -> None:
    raster, labels = town
    base = find_package("base")
    with pytest.raises(LabelError, match="has no column 'kind' for the classes; it has what"):
        draft_recipe(raster, labels, base, "base", DraftOptions(column="kind"))
    gpd.read_file(labels)[lambda table: table["what"] == "water"].to_file(tmp_path / "one.gpkg")
    with pytest.raises(LabelError, match="names 1 classes in 'what'"):
        draft_recipe(raster, tmp_path / "one.gpkg", base, "base", DraftOptions(column="what"))
    foreign = find_package(str(write_package(tmp_path / "foreign")))
    spec = foreign.spec.model_copy(update={"network": foreign.spec.network.model_copy(update={"library": "onnx"})})
    foreign = replace(foreign, spec=spec)
    with pytest.raises(ModelError, match="cannot be trained on"):
        draft_recipe(raster, labels, foreign, "foreign", DraftOptions(column="what"))


def test_the_command_writes_it(town: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    raster, labels = town
    recipe = raster.parent / "recipe.toml"
    assert call_geoseg(monkeypatch, "labels", "recipe", raster, "--labels", labels, "--column", "what", "-o", recipe) == 0
    assert "3 classes (water, building, orchard)" in capsys.readouterr().out
    assert read_recipe(recipe).start_from == ("base",)
