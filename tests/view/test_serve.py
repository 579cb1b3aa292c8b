"""The command: a port, an address with a token where others reach it, one line, and an end with Ctrl-C."""

import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from geoseg.cli.main import app
from geoseg.errors import UsageError
from geoseg.io.store.locks import hold_folder
from geoseg.view.serve import FIRST_PORT, allowed_hosts, bind, describe_address, describe_elsewhere, make_token
from tests.doubles import call_geoseg
from tests.view.town import configure_town


def test_only_an_address_that_others_reach_has_a_token() -> None:
    assert [make_token(host) for host in ("127.0.0.1", "localhost", "::1", "127.3.2.1")] == [None] * 4
    tokens = {make_token(host) for host in ("0.0.0.0", "192.168.1.5", "laptop.local", "::")}
    assert len(tokens) == 4
    assert all(len(token or "") >= 32 for token in tokens)


def test_names_that_are_answered_are_those_of_the_host() -> None:
    assert allowed_hosts("0.0.0.0") is None
    assert "evil.example" not in (allowed_hosts("127.0.0.1") or ())
    assert "192.168.1.5" in (allowed_hosts("192.168.1.5") or ())
    assert "[fe80::1]" in (allowed_hosts("fe80::1") or ())


def test_the_address_is_one_that_a_browser_opens() -> None:
    assert describe_address("127.0.0.1", 80, None) == "http://127.0.0.1:80/"
    assert describe_address("0.0.0.0", 80, "abc") == "http://127.0.0.1:80/?token=abc"
    assert describe_address("::", 80, None) == "http://[::1]:80/"
    assert describe_address("fe80::1", 80, None) == "http://[fe80::1]:80/"


def test_others_are_told_an_address_of_theirs() -> None:
    assert describe_elsewhere("127.0.0.1", 80, None) is None
    assert describe_elsewhere("192.168.1.5", 80, "abc") is None
    told = describe_elsewhere("0.0.0.0", 80, "abc") or ""
    host = told.removeprefix("http://").removesuffix(":80/?token=abc")
    assert host not in {"", told, "0.0.0.0", "127.0.0.1", "localhost"}


def test_a_port_that_is_taken_is_refused_unless_none_was_asked_for() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {port} of 127.0.0.1"):
            bind("127.0.0.1", port)
    with bind("127.0.0.1", None) as usual, bind("127.0.0.1", None) as other:
        assert usual.getsockname()[1] != other.getsockname()[1]
        assert other.getsockname()[1] != FIRST_PORT


def test_a_host_that_is_not_there_is_refused() -> None:
    for host in ("no such host", "a" * 100):
        with pytest.raises(UsageError, match="There is no host"):
            bind(host, 0)


def test_a_run_and_a_model_are_not_shown_together(town: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call_geoseg(monkeypatch, "view", town, "-m", "aerial", "--no-browser") == 2
    assert "is a run, which is shown as it is" in capsys.readouterr().err
    assert call_geoseg(monkeypatch, "view", town.parent / "nowhere", "--no-browser") == 2
    assert "nowhere" in capsys.readouterr().err


def test_a_folder_that_another_map_works_in_is_an_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure_town(tmp_path)
    asked = ("view", config.raster, "-m", config.model, "-o", tmp_path / "kept", "--no-browser", "--port", 0)
    with hold_folder(tmp_path / "kept"):
        assert call_geoseg(monkeypatch, *asked) == 2
    said = capsys.readouterr().err
    assert "Another geoseg command is at work" in said
    assert "Traceback" not in said


def test_help_names_what_is_shown() -> None:
    said = CliRunner().invoke(app, ["view", "--help"]).output
    for word in ("--host", "--port", "--no-browser", "before and after"):
        assert word in said


def test_the_command_serves_until_ctrl_c_and_ends_at_once(town: Path) -> None:
    command = [sys.executable, "-m", "geoseg", "view", str(town), "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        assert found, line
        with urllib.request.urlopen(found[0] + "api/scenes", timeout=20) as answer:
            assert b'"town"' in answer.read()
        with socket.create_connection(("127.0.0.1", int(found[1]))):
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "The map is closed." in said
    assert time.monotonic() - began < 5


def test_a_map_that_somebody_attends_ends_with_whoever_holds_its_input_even_if_killed(town: Path) -> None:
    command = [sys.executable, "-m", "geoseg", "view", str(town), "--port", "0", "--no-browser", "--attended"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True) as process:  # type: ignore[call-overload]
        assert "Map at" in process.stdout.readline()
        time.sleep(0.2)
        assert process.poll() is None
        # what the system does for a process that is killed
        process.stdin.close()
        assert process.wait(20) == 0
