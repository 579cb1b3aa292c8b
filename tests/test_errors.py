"""What all errors have in common."""

import pytest

from geoseg.errors import RunError, WriteError


@pytest.mark.parametrize(
    ("quoted", "said"),
    [
        ("disk full.", "a.tif could not be written: disk full. Make room."),
        ("disk full", "a.tif could not be written: disk full. Make room."),
        ("wait...", "a.tif could not be written: wait.... Make room."),
        ("see ../a", "a.tif could not be written: see ../a. Make room."),
    ],
)
def test_a_message_of_another_library_is_quoted_with_one_stop(quoted: str, said: str) -> None:
    message = f"a.tif could not be written: {quoted}. Make room."
    assert str(RunError(message)) == str(WriteError(message)) == said
