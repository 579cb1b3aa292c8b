"""Manifests for clusters that are not here: compared with what the library that reads them would write itself."""

from pathlib import Path
from typing import Any

import pytest

MANIFEST = Path(__file__).parents[1] / "configs" / "clusters" / "kubernetes.yaml"
CHANGED = {"args", "resources"}
"""What is ours to choose: threads of a worker, memory and cores."""


def test_the_kubernetes_manifest_says_all_that_the_operator_s_own_does() -> None:
    operator = pytest.importorskip("dask_kubernetes.operator", reason="dask-kubernetes is not installed")
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    ours = yaml.safe_load(MANIFEST.read_text())
    theirs = operator.make_cluster_spec(name="geoseg", image="registry.example/geoseg:latest", n_workers=4, env=[], idle_timeout=3600)
    assert list(_lacking(ours, theirs, "")) == []


def _lacking(ours: Any, theirs: Any, path: str) -> Any:
    """Yield the names of what is otherwise, or not there."""
    if isinstance(theirs, dict):
        for key, value in theirs.items():
            if key not in CHANGED:
                yield from _lacking(ours.get(key), value, f"{path}/{key}")
    elif isinstance(theirs, list) and theirs and isinstance(theirs[0], dict):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _lacking(one, other, f"{path}/{number}")
    elif ours != theirs:
        yield f"{path}: {ours!r}, not {theirs!r}"
