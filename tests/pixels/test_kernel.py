"""Kernels that Python calls outlive a signal."""

import ast
import subprocess
import sys
from pathlib import Path

import geoseg

_PACKAGE = Path(geoseg.__file__).parent
_SAFE = ("None", "int", "float", "bool")

_SCRIPT = """
import os, signal, threading
from typing import NamedTuple
import numpy as np
from geoseg.pixels.kernel import entry

class Pair(NamedTuple):
    numbers: np.ndarray
    count: int

@entry
def work(steps: int) -> Pair:
    total = 0.0
    for i in range(steps):
        total += np.sin(total + i)
    return Pair(np.full(3, total), steps)

def stop(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, stop)
assert work(3).count == 3
threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
try:
    work(20_000_000)
except KeyboardInterrupt:
    print("interrupted")
assert work(2).count == 2
"""


def test_a_signal_during_a_kernel_that_returns_a_tuple_is_handled_after_it(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text(_SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


def test_python_calls_no_bare_kernel_that_returns_a_tuple() -> None:
    trees = {path: ast.parse(path.read_text()) for path in _PACKAGE.rglob("*.py")}
    bare = {
        (path, function.name): ast.unparse(function.returns)
        for path, tree in trees.items()
        for function in _functions(tree)
        if function.returns is not None and "entry" not in _decorators(function) and _decorators(function) & {"kernel", "compiled", "njit"}
    }
    assert bare, "no kernels were found"
    tuples = {(path, name) for (path, name), returns in bare.items() if not returns.startswith(("NDArray", "np.")) and returns not in _SAFE}
    found = [
        f"{path.name}: {function.name} calls {call.func.id}"
        for path, tree in trees.items()
        for function in _functions(tree)
        if not _decorators(function) & {"kernel", "entry", "compiled", "njit"}
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        if _called(call.func.id, path, tree) in tuples
    ]
    assert found == []


def _functions(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def _decorators(function: ast.FunctionDef) -> set[str]:
    return {ast.unparse(decorator).split("(")[0].split(".")[-1] for decorator in function.decorator_list}


def _called(name: str, path: Path, tree: ast.Module) -> tuple[Path, str]:
    """Return the file that a name is from, and the name."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            return _PACKAGE.parent.joinpath(*(node.module or "").split(".")).with_suffix(".py"), name
    return path, name
