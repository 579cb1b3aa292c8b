"""What onnxruntime is kept from."""

import os
import subprocess
import sys
from pathlib import Path

OPEN = """
import os
from geoseg.errors import ModelError
from geoseg.model.execution import Execution
from geoseg.model.session import open_session
try:
    open_session(b"none", "none", Execution())
except ModelError:
    print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


def test_onnxruntime_tells_nobody_and_leaves_nothing_in_the_temporary_folder(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", OPEN], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert list(tmp_path.iterdir()) == []
