"""Completion of the command line: scripts for three shells, and what they are told while one types."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def call(**environment: str) -> str:
    """Call geoseg as a shell does that completes a line."""
    given = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    code = "import sys; sys.argv[0] = 'geoseg'; from geoseg.__main__ import run; run()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=given, check=False)
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("shell", "registers"), [("bash", "complete -o default -F"), ("zsh", "compdef "), ("fish", "complete --command geoseg")]
)
def test_each_shell_gets_a_script_of_its_own(shell: str, registers: str) -> None:
    script = call(_GEOSEG_COMPLETE=f"source_{shell}")
    assert registers in script
    assert f"complete_{shell}" in script


def test_a_command_is_completed() -> None:
    assert call(_GEOSEG_COMPLETE="complete_bash", COMP_WORDS="geoseg seg", COMP_CWORD="1").split() == ["segment"]


def test_an_option_and_its_choices_are_completed() -> None:
    options = call(_GEOSEG_COMPLETE="complete_bash", COMP_WORDS="geoseg segment --ba", COMP_CWORD="2").split()
    assert set(options) == {"--bands", "--batch-size", "--backend"}
    choices = call(_GEOSEG_COMPLETE="complete_bash", COMP_WORDS="geoseg segment --backend ", COMP_CWORD="3").split()
    assert choices == ["auto", "torch", "compile", "onnx"]
