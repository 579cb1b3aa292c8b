"""Structured log lines: one for each event and for the end, without secrets, whole after a kill."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from geoseg.cli.log import log_to
from geoseg.errors import ChunkError, WriteError
from geoseg.events import Finished, StageDone, Warned
from tests.doubles import Listening


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_event_is_a_line_and_is_passed_on(tmp_path: Path) -> None:
    heard, path = Listening(), tmp_path / "run.jsonl"
    events = [StageDone(stage="rasters", elapsed_s=0.5), Warned(message="Coarse\npixels \ud800."), Finished(output="out", elapsed_s=1.5)]
    with log_to(path, heard) as listener:
        for number, event in enumerate(events, start=1):
            listener(event)
            assert len(lines(path)) == number, "flushed at once"
    assert heard == events
    found = lines(path)
    assert [(line["level"], line["event"]) for line in found] == [("info", "StageDone"), ("warning", "Warned"), ("info", "Finished")]
    assert found[0]["fields"] == {"stage": "rasters", "elapsed_s": 0.5}
    assert abs(datetime.fromisoformat(found[0]["time"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_error_that_ends_a_run_is_the_last_line(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    for error in (ChunkError("https://me:hunter2@host/a.tif failed"), KeyboardInterrupt()):
        with pytest.raises(type(error)), log_to(path, Listening()):
            raise error
    first, second = lines(path)
    assert (first["level"], first["event"]) == ("error", "Failed")
    assert first["fields"] == {"error": "ChunkError", "message": "https://***@host/a.tif failed"}
    assert second["fields"]["error"] == "KeyboardInterrupt", "a second run is appended"


def test_secrets_are_hidden_in_fields(tmp_path: Path) -> None:
    with log_to(tmp_path / "run.jsonl", Listening()) as listener:
        listener(Warned(message="/vsicurl/https://host/a.tif?X-Amz-Signature=abc123 is coarse"))
    assert "abc123" not in (tmp_path / "run.jsonl").read_text()


def test_without_a_file_the_listener_is_the_given_one() -> None:
    heard = Listening()
    with log_to(None, heard) as listener:
        assert listener is heard


def test_a_log_that_cannot_be_written_is_refused_before_work_starts(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="--log-json"), log_to(tmp_path / "none" / "run.jsonl", Listening()):
        pytest.fail("work started")
