"""A short form of the fuzzing, and the driver itself: faults, hangs and crashes are told with the number of their case."""

import random
import warnings
from pathlib import Path

import pytest

from geoseg.errors import GeosegError
from tests.hostile import fuzz
from tests.hostile.cases import KINDS, make_cases
from tests.hostile.mutate import damage_bytes, damage_tree

CASES = {"network": 8, "onnx": 25}


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_input_works_or_is_refused_in_our_words(kind: str, tmp_path: Path) -> None:
    refused = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case = make_cases(kind, tmp_path)
        for number in range(CASES.get(kind, 40)):
            try:
                case(random.Random(f"0/{kind}/{number}"))
            except GeosegError as exc:
                refused.append(str(exc).strip())
    assert refused, "the damage does harm"
    assert all(refused), "each says why"


@pytest.mark.slow
def test_the_driver_tells_faults_hangs_and_crashes_apart_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "LIMIT_S", 1)
    monkeypatch.setenv("GEOSEG_FUZZ_LIMIT_S", "1")
    tally = fuzz.run_kind("faulty", range(7), 1)
    assert tally.ends == {"ok": 2, "RasterError": 1}
    told = {fault["case"]: str(fault["what"]) for fault in tally.faults}
    assert told.keys() == {1, 3, 4, 5}
    assert "KeyError" in told[1]
    assert "TooSlow" in told[3]
    assert "MemoryError" in told[4]
    assert "ended with -6" in told[5]


def test_the_same_seed_makes_the_same_damage() -> None:
    tree = {"a": [1, {"b": "x"}], "c": None}
    one, other = (
        [(damage_bytes(b"abcdef" * 9, rng), repr(damage_tree(tree, rng))) for _ in range(50)] for rng in map(random.Random, (3, 3))
    )
    assert one == other
    assert len(set(one)) > 40
    assert tree == {"a": [1, {"b": "x"}], "c": None}
