"""Which files in a run folder are the run's."""

import json
from contextlib import suppress
from pathlib import Path

RUN_TOML = "run.toml"
SUMMARY = "summary.json"
DETECTIONS = "detections"
"""Folder of what a detector found."""
_PRODUCTS = (
    *("classes.tif", "confidence.tif", "evidence.tif", "instances.tif", "panoptic.tif", "probabilities.tif", "uncertainty.tif"),
    "zones.csv",
    DETECTIONS,
    "features.gpkg",
    "roads.graphml",
    "report.html",
    "accuracy.json",
    "item.json",
)
OWN_NAMES = {".work", RUN_TOML, SUMMARY, *_PRODUCTS, *(f"{name}.aux.xml" for name in _PRODUCTS), f"{RUN_TOML}.part"}
"""Names that no format may take."""


def list_own(*items: Path) -> set[str]:
    """Return the names of everything that a run has, and that items of this one list; what is no item lists nothing."""
    listed: set[str] = set()
    for item in items:
        with suppress(OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
            listed |= {str(asset["href"]).removeprefix("./") for asset in json.loads(item.read_bytes())["assets"].values()}
    return OWN_NAMES | {name for name in listed if "/" not in name and name not in ("", ".", "..")}
