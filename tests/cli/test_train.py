"""What ``geoseg train`` shows: lines, JSON, or a table."""

import json
from pathlib import Path

import pytest

from geoseg.cli.train import _show
from geoseg.events import Warned
from geoseg.training.history import EpochDone
from tests.doubles import call_geoseg

AERIAL = Path(__file__).parents[2] / "configs" / "train-aerial.toml"
EPOCH = EpochDone(
    epoch=3, epochs=9, losses={"dice": 0.25, "total": 1.5}, learning_rate=1e-3, mpx_per_s=0.5, left_s=7260, score=0.625, accuracy={}
)


@pytest.mark.parametrize("style", ["auto", "rich"])
def test_people_see_losses_score_speed_and_time_left(
    style: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    with _show(style) as listener:
        listener(Warned(message="half of it is left"))
        listener(EPOCH)
    shown = capsys.readouterr().out
    for text in ("Warning: half of it is left", "3/9", "dice", "0.250", "1.500", "0.625", "0.50", "2:01 h"):
        assert text in shown


def test_programs_see_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with _show("json") as listener:
        listener(EPOCH)
        listener(Warned(message="x"))
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["event"], first["epoch"], first["losses"]["total"], first["score"]) == ("EpochDone", 3, 1.5, 0.625)
    assert second == {"event": "Warned", "message": "x"}


def test_none_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with _show("none") as listener:
        listener(EPOCH)
    assert capsys.readouterr().out == ""


def test_tests_that_cannot_be_measured_on_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = AERIAL.read_text()
    begin, end = recipe.index("[[sites]]"), recipe.index("[schedule]")
    drawn = '[[sites]]\nname = "drawn"\nkind = "drawn_scenes"\nseeds = [1]\n\n'
    test = '[[tests]]\nname = "city"\nkind = "class_raster"\nrasters = "city/*.tif"\nlabels = "x"\n\n'
    (tmp_path / "r.toml").write_text(recipe[:begin] + drawn + test + recipe[end:])
    assert call_geoseg(monkeypatch, "train", tmp_path / "r.toml", "--data", tmp_path, "-o", tmp_path / "model") == 2
    assert "Site 'city': no raster matches city/*.tif" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "model").exists()
