"""The example of docs/change.md: real imagery of two dates, few labels, a forest, and what changed. Needs ../shared/data."""

import csv
from pathlib import Path

import pytest

from geoseg.change.compare import change_runs
from geoseg.change.options import ChangeOptions
from geoseg.config import make_config
from geoseg.pipeline import segment_raster
from geoseg.training.baseline import fit_baseline
from geoseg.training.recipe import read_recipe

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
RECIPE = ROOT / "configs" / "train-naip.toml"

pytestmark = pytest.mark.skipif(not (DATA / "timeseries").is_dir(), reason="needs ../shared/data/timeseries")


def test_labels_beside_a_recipe_are_found_wherever_the_data_lie() -> None:
    for site in (*read_recipe(RECIPE).sites, *read_recipe(RECIPE).tests):
        for path in sorted((DATA / "timeseries").glob("*.tif")):
            assert Path(site.labels.format(parent="timeseries", stem=path.stem)).is_file()


def test_lakes_that_rose_over_fields_are_found_and_no_lake_dries_up(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("onnx")
    model = fit_baseline(read_recipe(RECIPE), DATA, tmp_path / "model", lambda _: None).folder
    runs = []
    for path in sorted((DATA / "timeseries").glob("*.tif")):
        config = {"raster": str(path), "model": str(model), "output": tmp_path / path.stem, "outputs": ("classes",)}
        runs.append(segment_raster(make_config(config)))
    change_runs(*runs, tmp_path / "change", ChangeOptions(align=True))
    with (tmp_path / "change" / "transitions.csv").open() as file:
        columns, *lines = csv.reader(file)
    rows = {line[0]: dict(zip(columns[1:], map(float, line[1:]), strict=True)) for line in lines}
    risen = rows["bare"]["water"] + rows["vegetation"]["water"]
    fallen = rows["water"]["bare"] + rows["water"]["vegetation"]
    assert rows["after"]["before"] == pytest.approx(16.9e6, rel=0.01), "the ground that both dates show"
    assert 1.3e6 < risen < 1.9e6
    assert fallen < 0.1 * risen
    assert rows["bare"]["vegetation"] > 2 * rows["vegetation"]["bare"], "stubble in June, crops in August"
