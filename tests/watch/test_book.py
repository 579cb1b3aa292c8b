"""The book of a watched folder: a change costs a line, however many sources there are, and no reader misses it."""

import json
from pathlib import Path

import pytest

from geoseg.errors import RunFolderError
from geoseg.watch import book as module
from geoseg.watch.book import BOOK_NAME, JOURNAL_NAME, Entry, WatchBook, read_rows
from geoseg.watch.sources import Source, stamp_source

MANY = 400


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    found = []
    for number in range(MANY):
        path = tmp_path / "in" / f"{number}.tif"
        path.parent.mkdir(exist_ok=True)
        path.touch()
        found.append(Source(path=path, name=path.name, stamp=stamp_source(path)))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def book(folder: Path, sources: list[Source], monkeypatch: pytest.MonkeyPatch) -> WatchBook:
    """Many sources, on a disk so slow that they are hardly ever written all."""
    monkeypatch.setattr(module, "_SHARE", 1e-12)
    made = WatchBook(folder)
    for source in sources:
        made.enter(source)
    made.write()
    return made


def entries(folder: Path) -> list[Entry]:
    return sorted(WatchBook(folder), key=lambda entry: entry.source)


def states(folder: Path) -> dict[str, str]:
    return {row["source"]: row["state"] for row in read_rows(folder)}


def test_each_change_is_read_again_and_few_of_them_write_everything(
    folder: Path, book: WatchBook, sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    whole = module.write_whole

    def count(path: Path, content: bytes) -> None:
        written.append(len(content))
        whole(path, content)

    monkeypatch.setattr(module, "write_whole", count)
    for source in sources[:100]:
        entry = book.find(source.name)
        assert entry is not None
        book.change(entry, state="done", run=entry.name, bounds=(1.0, 2.0, 3.0, 4.0))
        assert states(folder)[source.name] == "done"
    assert len(written) == 100 // (MANY // 100 + 1)
    assert entries(folder) == sorted(book, key=lambda entry: entry.source)


def test_with_few_sources_all_stand_in_one_file(folder: Path, sources: list[Source]) -> None:
    book = WatchBook(folder)
    for source in sources[:20]:
        book.change(book.enter(source), state="running")
    told = json.loads((folder / BOOK_NAME).read_text())["sources"]
    assert {row["source"]: row["state"] for row in told} == {source.name: "running" for source in sources[:20]}
    assert not (folder / JOURNAL_NAME).exists()


def test_a_line_that_was_cut_off_counts_for_nothing_and_spoils_no_other(folder: Path, book: WatchBook, sources: list[Source]) -> None:
    first, second = (book.find(source.name) for source in sources[:2])
    assert first is not None
    assert second is not None
    book.change(first, state="done")
    before = (folder / JOURNAL_NAME).read_bytes()
    book.change(second, state="done")
    after = (folder / JOURNAL_NAME).read_bytes()
    (folder / JOURNAL_NAME).write_bytes(after[: len(before) + 40])
    assert (states(folder)["0.tif"], states(folder)["1.tif"]) == ("done", "waiting")
    again = WatchBook(folder)
    again.write()
    again.change(second, state="failed")
    assert (states(folder)["0.tif"], states(folder)["1.tif"]) == ("done", "failed")


def test_lines_before_a_snapshot_count_no_more(folder: Path, book: WatchBook, sources: list[Source]) -> None:
    entry = book.find(sources[0].name)
    assert entry is not None
    entry = book.change(entry, state="running")
    journal = (folder / JOURNAL_NAME).read_bytes()
    again = WatchBook(folder)
    again.change(entry, state="done")
    assert not (folder / JOURNAL_NAME).exists()
    # the power went before the journal was removed
    (folder / JOURNAL_NAME).write_bytes(journal)
    assert states(folder)["0.tif"] == "done"


def test_what_is_forgotten_is_gone_and_its_name_is_free(folder: Path, book: WatchBook, sources: list[Source]) -> None:
    book.forget([sources[0].name])
    book.write()
    assert sources[0].name not in states(folder)
    assert (folder / JOURNAL_NAME).exists()
    other = sources[0].path.with_suffix(".tiff")
    other.touch()
    source = Source(path=other, name=other.name, stamp=stamp_source(other))
    assert book.enter(source).name == "0"
    assert book.enter(sources[0]).name.startswith("0-")


def test_a_book_of_an_earlier_version_is_read(folder: Path, book: WatchBook) -> None:
    table = json.loads((folder / BOOK_NAME).read_text())
    del table["generation"]
    (folder / BOOK_NAME).write_text(json.dumps(table))
    assert entries(folder) == sorted(book, key=lambda entry: entry.source)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"sources": [3]}', '{"sources": [{"source": "a"}]}', '{"sources": [], "generation": "x"}']
)
def test_a_damaged_book_is_refused(folder: Path, content: str) -> None:
    (folder / BOOK_NAME).write_text(content)
    with pytest.raises(RunFolderError, match=r"watch\.json could not be read"):
        WatchBook(folder)
