"""Which source comes next."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import MissingFileError
from geoseg.watch.order import Rule, rank_sources, read_order
from geoseg.watch.sources import Source, Stamp


def make(name: str, size: int = 1, changed: int = 1) -> Source:
    return Source(name=name, path=Path(name), stamp=Stamp(size_bytes=size, changed_ns=changed, files=1))


@pytest.mark.parametrize(
    ("rule", "expected"), [("oldest", "cab"), ("newest", "bac"), ("smallest", "abc"), ("largest", "cba"), ("name", "abc")]
)
def test_the_rule_decides(rule: Rule, expected: str) -> None:
    sources = [make("b", 2, 3), make("c", 3, 1), make("a", 1, 2)]
    assert [source.name for source in rank_sources(sources, rule)] == list(expected)


def test_patterns_come_before_the_rule_and_the_first_that_fits_counts() -> None:
    sources = [make(name) for name in ("bridge_1.tif", "bridge_2.tif", "dam.tif", "field.tif")]
    named = [source.name for source in rank_sources(sources, "name", ("dam*", "bridge_2.tif", "bridge*"))]
    assert named == ["dam.tif", "bridge_2.tif", "bridge_1.tif", "field.tif"]


@given(st.lists(st.tuples(st.text("ab*[", min_size=1, max_size=4), st.integers(0, 3)), unique_by=lambda row: row[0]), st.randoms())
def test_the_order_does_not_depend_on_the_order_of_finding(rows: list[tuple[str, int]], random: object) -> None:
    sources = [make(name, size) for name, size in rows]
    shuffled = list(sources)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert rank_sources(sources, "smallest", ("a*",)) == rank_sources(shuffled, "smallest", ("a*",))


def test_an_order_file_has_comments_and_empty_lines(tmp_path: Path) -> None:
    (tmp_path / "order.txt").write_text("\ufeff# urgent\nbridge_*  # the river\n\ndam.tif\n", encoding="utf-8")
    assert read_order(tmp_path / "order.txt") == ("bridge_*", "dam.tif")
    (tmp_path / "order.txt").write_text("flight#2.tif # comment\n  # flight#3.tif\nflight [#]4.tif\t#\n#5.tif\n", encoding="utf-8")
    order = read_order(tmp_path / "order.txt")
    assert order == ("flight#2.tif", "flight [#]4.tif")
    ranked = rank_sources([make("flight #4.tif"), make("flight#2.tif"), make("a.tif")], "name", order)
    assert [source.name for source in ranked] == ["flight#2.tif", "flight #4.tif", "a.tif"]
    with pytest.raises(MissingFileError, match="--order"):
        read_order(tmp_path / "none.txt")
