"""``geoseg watch`` refuses what cannot work before it looks at anything."""

from pathlib import Path

import pytest

from tests.doubles import call_geoseg


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "aerail"], "aerail"),
        (["--order", "none.txt"], "There is no order none.txt"),
        ([], "There is no folder"),
    ],
)
def test_what_cannot_work_is_refused(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    if said != "There is no folder":
        folder.mkdir()
    assert call_geoseg(monkeypatch, "watch", folder, "-o", tmp_path / "out", "--once", *words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_is_done_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    assert call_geoseg(monkeypatch, "watch", tmp_path / "in", "-o", tmp_path / "out", "--once") == 0
    assert (tmp_path / "out" / "watch.json").exists()


def test_a_map_that_is_not_installed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "in").mkdir()
    assert call_geoseg(monkeypatch, "watch", tmp_path / "in", "-o", tmp_path / "out", "--view") == 2
    assert "geoseg[view]" in capsys.readouterr().err
