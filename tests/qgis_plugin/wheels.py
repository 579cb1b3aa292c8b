"""A wheel that takes a second to install."""

import zipfile
from pathlib import Path


def write_wheel(folder: Path, version: str = "9.8.7") -> Path:
    """Write a package that only says its version, and that there is no GPU."""
    info = f"geoseg-{version}.dist-info"
    path = folder / f"geoseg-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("geoseg/__init__.py", f'__version__ = "{version}"\n')
        wheel.writestr("geoseg/model/device.py", "def count_gpus():\n    return 0\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: geoseg\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path
