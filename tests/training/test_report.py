"""The report shows the whole history and where the model is worst."""

from pathlib import Path

import numpy as np
import pytest

from geoseg.labels.coding import NOT_BUILDING, UNLABELLED
from geoseg.training.history import EpochDone, best_epoch, read_history, write_history
from geoseg.training.report import draw_window, write_report
from geoseg.training.validation import WindowResult, Worst
from tests.training.drawn import tiny_recipe


def row(epoch: int, score: float | None) -> EpochDone:
    accuracy = {} if score is None else {"village: mean IoU": score, "village: IoU road": score / 2}
    return EpochDone(
        epoch=epoch, epochs=9, losses={"total": 3.0 / epoch}, learning_rate=1e-3, mpx_per_s=1.0, left_s=5.0, score=score, accuracy=accuracy
    )


def window(badness: float = 0.0) -> WindowResult:
    truth = np.array([[0, 4], [NOT_BUILDING, UNLABELLED]], np.uint8)
    found = np.array([[0, 3], [4, 4]], np.uint8)
    pixels = np.full((3, 2, 2), 90, np.float32)
    return WindowResult(name="town.tif", measure="IoU 0.31", badness=badness, pixels=pixels, truth=truth, found=found)


def test_the_page_holds_history_accuracy_and_worst_windows(tmp_path: Path) -> None:
    write_report(tmp_path / "t.html", tiny_recipe(), [row(1, 0.4), row(2, 0.6), row(3, 0.5)], [window()])
    html = (tmp_path / "t.html").read_text()
    for text in ("Epoch 3 of 9", "Best score 0.600 in epoch 2", "village: IoU road", "town.tif: IoU 0.31", "data:image/png", "drawn"):
        assert text in html


def test_a_training_without_validation_has_a_page_too(tmp_path: Path) -> None:
    write_report(tmp_path / "t.html", tiny_recipe(), [row(1, None)], [])
    assert "Accuracy" not in (tmp_path / "t.html").read_text()


def test_a_picture_marks_what_is_wrong_and_no_more() -> None:
    strip = draw_window(window(), tiny_recipe().model)
    side = (strip.shape[1]) // (4 * 2 + 3 * 4)
    last = strip[side // 2 :: side, -2 * side :][:, side // 2 :: side]
    red = (last == (220, 30, 60)).all(axis=2)
    np.testing.assert_array_equal(red, [[False, True], [True, False]])


def test_only_the_worst_are_kept_worst_first() -> None:
    worst = Worst(2)
    for badness in (0.1, 0.5, 0.3, 0.2):
        worst.offer(window(badness))
    assert [w.badness for w in worst.windows] == [0.5, 0.3]


def test_the_log_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rows = [row(1, 0.4), row(2, None), row(3, 0.4)]
    write_history(tmp_path, rows)
    assert read_history(tmp_path) == rows
    assert read_history(tmp_path, epochs=2) == rows[:2]
    best = best_epoch(rows)
    assert best is not None
    assert best.epoch == pytest.approx(1)
