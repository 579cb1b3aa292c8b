"""The doctor: what works is said to work, what is broken is named with what to do about it, and breaks nothing else."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from geoseg.doctor import computing, libraries, surroundings
from geoseg.doctor.finding import Finding, look, ok
from geoseg.doctor.gis import look_at_gdal, look_at_proj, look_at_variables
from geoseg.errors import GeosegError
from geoseg.model.package import shipped_models

ROOT = Path(__file__).parents[2]


def ask(*words: str, **environment: str) -> tuple[int, dict[str, Finding], str]:
    """Run the doctor in a process with other variables; exit code, findings by name, and what else was said."""
    given = {name: value for name, value in os.environ.items() if name not in ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "PYTHONPATH")}
    given |= {"PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-m", "geoseg", "doctor", "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=given, cwd="/", check=False)
    told = json.loads(done.stdout)
    assert told["ok"] == (done.returncode == 0)
    return done.returncode, {row["name"]: Finding(**row) for row in told["findings"]}, done.stderr


def found(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Finding], str]:
    """One examination of an installation in which much is broken at once."""
    folder = tmp_path_factory.mktemp("strange")
    (folder / "onnxruntime.py").write_text("raise ImportError('made for another Python')\n")
    paths = os.pathsep.join((str(folder), str(ROOT)))
    return ask("--no-self-test", PYTHONPATH=paths, PROJ_DATA="/nowhere/proj", PROJ_LIB="/nowhere/proj", GDAL_DATA="/nowhere/gdal")


def test_what_is_broken_is_named_and_the_exit_code_says_so(broken: tuple[int, dict[str, Finding], str]) -> None:
    code, findings, said = broken
    assert code == 1
    assert findings["PROJ data"].state == "failed"
    assert "unset PROJ_LIB PROJ_DATA" in findings["PROJ data"].advice
    assert findings["onnxruntime"].state == "failed"
    assert "made for another Python" in findings["onnxruntime"].message
    assert "Traceback" not in said


def test_variables_of_other_installations_are_told_with_the_folder_that_is_not_there(broken: tuple[int, dict[str, Finding], str]) -> None:
    _, findings, _ = broken
    for name in ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA"):
        assert findings[name].state == "warning"
        assert "is no folder" in findings[name].message
        assert findings[name].advice.endswith(f"unset {name}.")


def test_what_is_not_broken_still_is_well(broken: tuple[int, dict[str, Finding], str]) -> None:
    assert {name for name in ("geoseg", "disk", "memory", "models") if broken[1][name].state == "failed"} == set()


def test_a_module_in_pythonpath_that_hides_a_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shapely.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(libraries, "import_module", _refuse)
    advice = found(libraries.look_at_loading())["shapely"].advice
    assert f"{tmp_path / 'shapely.py'} is taken for shapely" in advice


def _refuse(name: str) -> Any:
    raise ImportError(f"no {name} here")


def test_versions_that_are_too_old_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "requires", lambda _: ["shapely>=99", "numpy>=1", "nowhere>=1", "torchgeo; extra == 'train'"])
    findings = found(libraries.look_at_requirements())
    assert findings["packages"].state == "failed"
    assert "shapely is " in findings["packages"].message
    assert ">=99 is needed; nowhere is not installed" in findings["packages"].message
    assert "geoseg[train] lacks torchgeo" in findings["extras"].message


def test_gdal_and_proj_of_this_environment_are_well(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH"):
        monkeypatch.delenv(name, raising=False)
    findings = [*look_at_gdal(), *look_at_proj(), *look_at_variables()]
    assert [finding.state for finding in findings] == ["ok", "ok"]


@pytest.mark.parametrize(("free", "state"), [(500e6, "failed"), (1.5e9, "warning"), (8e9, "ok")])
def test_memory_is_compared_with_what_a_run_takes(monkeypatch: pytest.MonkeyPatch, free: float, state: str) -> None:
    monkeypatch.setattr("geoseg.machine.free_memory_bytes", lambda: int(free))
    finding = found(surroundings.look_at_memory())["memory"]
    assert finding.state == state
    assert f"{free / 1e9:.1f} GB of memory" in finding.message


def test_a_disk_that_is_full_or_closed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 10**9})
    monkeypatch.setattr(surroundings.shutil, "disk_usage", lambda _: usage)
    assert found(surroundings.look_at_disk(tmp_path))["disk"].message == f"1.0 GB free in {tmp_path}"
    monkeypatch.setattr(surroundings.os, "access", lambda *_: False)
    assert "cannot be written to" in found(surroundings.look_at_disk(tmp_path))["disk"].message


def test_a_terminal_that_cannot_print_all_letters_is_told() -> None:
    _, findings, _ = ask("--no-self-test", PYTHONIOENCODING="ascii")
    assert findings["encoding"].state == "warning"
    assert "PYTHONUTF8=1" in findings["encoding"].advice


@pytest.mark.skipif("aerial" not in shipped_models(), reason="no model is shipped in this checkout")
def test_a_shipped_model_that_was_changed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(shipped_models()["aerial"], tmp_path / "aerial"))
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    monkeypatch.setattr("geoseg.model.package.shipped_models", lambda: {"aerial": folder})
    findings = found(computing.look_at_models())
    assert findings["model aerial"].state == "failed"
    assert "the package is damaged" in findings["model aerial"].message


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os; os.kill(os.getpid(), 11)", "ended by signal 11"),
        ("raise OSError('libcudnn is gone')", "exit code 1: OSError: libcudnn is gone"),
        ('print(\'{"right": 0.2, "load_s": 1, "seconds": 1}\'); import sys, numpy; numpy.save(sys.argv[1], [1])', "only 20%"),
        ("", "exit code 0: it said nothing"),
    ],
)
def test_a_backend_that_crashes_or_errs_is_told_and_the_other_is_named(monkeypatch: pytest.MonkeyPatch, code: str, told: str) -> None:
    def command(*words: str) -> list[str]:
        backend, device, folder = words[-3:]
        return [sys.executable, "-c", code, f"{folder}/{backend}-{device}.npy"]

    monkeypatch.setattr(computing, "python_command", command)
    monkeypatch.setattr("geoseg.model.device.count_gpus", lambda: 0)
    findings = found(computing.try_backends())
    assert told in findings["self-test onnx cpu"].message
    assert findings["self-test onnx cpu"].state == "failed"
    assert findings["self-test onnx cpu"].advice.endswith("Until then say --backend torch.")


@pytest.mark.slow
@pytest.mark.skipif("aerial" not in shipped_models(), reason="no model is shipped in this checkout")
def test_the_self_test_runs_each_backend_and_finds_them_agreeing() -> None:
    findings = found(computing.try_backends())
    assert [finding.state for finding in findings.values()] == ["ok"] * len(findings)
    assert {"self-test onnx cpu", "self-test torch cpu", "self-test"} <= findings.keys()


def test_what_breaks_an_examination_is_a_finding_and_those_before_it_stay() -> None:
    def breaks() -> Iterable[Finding]:
        yield ok("first", "is well")
        raise GeosegError("the ground gave way\n  here")

    first, second = look("ground", breaks)
    assert first.name == "first"
    assert (second.name, second.state, second.message) == ("ground", "failed", "GeosegError: the ground gave way here")
