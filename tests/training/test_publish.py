"""What stands in a card is what an evaluation of the package gives."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely

from geoseg.evaluation.evaluate import evaluate_site
from geoseg.labels.site import Site
from geoseg.model.network import build_network, save_weights
from geoseg.model.package import WEIGHTS_NAME, find_package
from geoseg.training.publish import measure_package
from geoseg.training.recipe import LossWeights, Recipe, Schedule
from tests.doubles import CRS, TRANSFORM, draw_blobs, network_spec, write_raster


def test_the_accuracy_in_the_card_is_reproduced_from_the_package(tmp_path: Path) -> None:
    write_raster(tmp_path / "image.tif", draw_blobs(96, 128))
    corners = np.array([TRANSFORM @ (x, y) for x, y in ((10, 60), (60, 20), (20, 80), (90, 40))]).reshape(2, 4)
    gpd.GeoDataFrame(geometry=[shapely.box(*c) for c in corners], crs=CRS).to_file(tmp_path / "buildings.gpkg")
    site = Site(name="blobs", kind="building_polygons", rasters="image.tif", labels="{parent}/buildings.gpkg")
    spec = network_spec()
    recipe = Recipe(model=spec, sites=(site,), tests=(site,), schedule=Schedule(epochs=1), loss=LossWeights(classes=(1.0, 1.0)))
    folder = tmp_path / "package"
    folder.mkdir()
    save_weights(build_network(spec), folder / WEIGHTS_NAME)
    said: list[str] = []
    measure_package(spec, recipe, tmp_path, folder, said.append)
    package = find_package(folder)
    names = [metric.name for metric in package.spec.accuracy]
    assert {"IoU building", "recall building"} <= set(names)
    assert package.spec.accuracy == evaluate_site(package, site, tmp_path, device="cpu").card()
    assert sum(line.startswith("blobs: ") for line in said) == len(names)
