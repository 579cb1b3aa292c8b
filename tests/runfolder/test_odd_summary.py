"""A summary that somebody has changed ends in an error of geoseg's own, and not in one of Python's."""

import json
from pathlib import Path
from typing import Any

import pytest

from geoseg.errors import RunFolderError
from geoseg.runfolder.records import read_summary

ODD: list[dict[str, Any]] = [
    *({"classes": value} for value in (3, [{}], [1], [{"value": 0, "area_m2": "x"}])),
    *({"counts": [1]}, {"warnings": 5}, {"source": "a.tif"}, {"timing_s": {"read": "x"}}),
    *({"missing": value} for value in (3, {}, [None], [{}], [{"chunk": [0, 0], "window": [0, 0, 1], "error": "x"}])),
    {"missing": [{"chunk": "r0_c0", "window": [0, 0, "a", None], "error": "x"}]},
]


@pytest.mark.parametrize("odd", ODD)
def test_a_summary_of_other_things_is_refused_with_their_names(tmp_path: Path, odd: dict[str, Any]) -> None:
    whole: dict[str, Any] = {"classes": [{"value": 0}], "counts": {}, "timing_s": {}}
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(whole))
    assert read_summary(path) == whole
    path.write_text(json.dumps(whole | odd))
    with pytest.raises(RunFolderError, match=f"damaged.*{next(iter(odd))}"):
        read_summary(path)
