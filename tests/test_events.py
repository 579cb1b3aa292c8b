"""Events: each is one JSON line that names its type."""

import json

import pytest

from geoseg.events import ChunkDone, ChunkFailed, ClusterReady, Event, Finished, RunPlanned, StageDone, Warned, ignore_events, to_json_line

EVENTS: list[tuple[Event, dict[str, object]]] = [
    (
        RunPlanned(
            source="a.tif", model="aerial 1", height_px=1, width_px=2, tiles=3, chunks=4, chunks_done=0, memory_bytes=5, execution="onnx"
        ),
        {
            "source": "a.tif",
            "model": "aerial 1",
            "height_px": 1,
            "width_px": 2,
            "tiles": 3,
            "chunks": 4,
            "chunks_done": 0,
            "memory_bytes": 5,
            "execution": "onnx",
        },
    ),
    (
        ChunkDone(chunk="r00000_c00001", done=2, chunks=9, elapsed_s=1.5),
        {"chunk": "r00000_c00001", "done": 2, "chunks": 9, "elapsed_s": 1.5},
    ),
    (StageDone(stage="roads", elapsed_s=0.25), {"stage": "roads", "elapsed_s": 0.25}),
    (Warned(message='Zürich: "two\nlines"'), {"message": 'Zürich: "two\nlines"'}),
    (
        ClusterReady(workers=2, threads=4, dashboard="http://127.0.0.1:8787/status"),
        {"workers": 2, "threads": 4, "dashboard": "http://127.0.0.1:8787/status"},
    ),
    (
        ChunkFailed(chunk="r00000_c00001", window=(0, 64, 32, 16), error="a.tif?token=s3cret could not be read"),
        {"chunk": "r00000_c00001", "window": [0, 64, 32, 16], "error": "a.tif?token=*** could not be read"},
    ),
    (Finished(output="/tmp/out", elapsed_s=2.0, missing=1), {"output": "/tmp/out", "elapsed_s": 2.0, "missing": 1}),
]


@pytest.mark.parametrize(("event", "fields"), EVENTS, ids=[type(event).__name__ for event, _ in EVENTS])
def test_an_event_is_one_json_line_with_its_type_and_fields(event: Event, fields: dict[str, object]) -> None:
    line = to_json_line(event)
    assert "\n" not in line
    assert json.loads(line) == {"event": type(event).__name__, **fields}


def test_names_from_everywhere_stay_readable() -> None:
    assert "Zürich 東京" in to_json_line(Warned(message="Zürich 東京"))


def test_a_listener_that_ignores_takes_every_event() -> None:
    assert [ignore_events(event) for event, _ in EVENTS] == [None] * 5
