"""Whose a run folder is: may a run go on there?"""

from pathlib import Path
from typing import Any

from geoseg.errors import RunFolderError
from geoseg.runfolder.provenance import find_differences
from geoseg.runfolder.records import read_record


def check_owner(folder: Path, record: Path, fingerprint: dict[str, Any], *, is_whole: bool) -> None:
    """Refuse a folder that is not empty and not that of a run.

    Args:
        folder: It.
        record: Its ``run.toml``.
        fingerprint: What must be the same, without secrets.
        is_whole: Whether a run is finished there, whose objects stay as they are.

    Raises:
        RunFolderError: If the folder belongs to another run, holds foreign files, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; -o names a folder.")
    if not record.exists():
        if folder.exists() and any(path.name != ".work" for path in folder.iterdir()):
            raise RunFolderError(f"{folder} holds files but no run of geoseg. Choose an empty or new folder with -o.")
        return
    earlier = read_record(record).get("fingerprint", {})
    # the same package may lie elsewhere by now
    if all(earlier.get(key) == fingerprint.get(key) for key in ("model_sha256", "model_spec_sha256")):
        earlier = earlier | {"model": fingerprint.get("model")}
    differences = find_differences(earlier, fingerprint)
    if differences and all(text.startswith("objects.") for text in differences):
        if not is_whole:
            # objects come last: what they are made from does not depend on them
            return
        raise RunFolderError(
            f"The objects in {folder} were made otherwise: {'; '.join(differences)}. geoseg objects {folder} makes them anew."
        )
    if differences:
        raise RunFolderError(
            f"{folder} holds another run: {'; '.join(differences)}. "
            "Choose another -o, or start over with --overwrite, which removes the earlier run."
        )
