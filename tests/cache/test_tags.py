"""Which tags a response has, and what of them the client sees."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.tags import MAX_TAG_BYTES, MAX_TAGS, UNKNOWN, group_names, tags_of, without_tags
from proxy.http.message import field

Lines = list[tuple[str, str]]


@pytest.mark.parametrize(
    ("lines", "tags"),
    [
        pytest.param([], (), id="none"),
        pytest.param([("Content-Type", "text/html")], (), id="other fields"),
        pytest.param([("Surrogate-Key", "a b  c")], (b"a", b"b", b"c"), id="between blanks"),
        pytest.param([("Surrogate-Key", "a,b")], (b"a,b",), id="a comma is part of a surrogate key"),
        pytest.param([("Surrogate-Key", "a\tb")], (b"a", b"b"), id="a tab is a blank"),
        pytest.param([("Cache-Tag", "a, b,,c d")], (b"a", b"b", b"c d"), id="between commas"),
        pytest.param([("Cache-Groups", '"a", "b c"')], (b"a", b"b c"), id="strings"),
        pytest.param([("Cache-Groups", '"a";x=1, "b"')], (b"a", b"b"), id="parameters mean nothing"),
        pytest.param([("Cache-Groups", 'a, 7, "b"')], (b"b",), id="what is no string means nothing"),
        pytest.param([("Cache-Groups", '"a", "b')], (), id="a string that is not closed spoils the field"),
        pytest.param([("Cache-Groups", '"a\\"b"')], (b'a"b',), id="a quote in a string"),
        pytest.param([("Cache-Groups", '"a\\b"')], (), id="a bad escape"),
        pytest.param([("Cache-Groups", '"a"b')], (), id="something behind a string"),
        pytest.param([("Surrogate-Key", "a b"), ("Surrogate-Key", "c a")], (b"a", b"b", b"c"), id="on two lines"),
        pytest.param([("Cache-Groups", '"A"'), ("Surrogate-Key", "a")], (b"a", b"A"), id="case means something"),
        pytest.param([("Surrogate-Key", " "), ("Cache-Tag", " , ")], (), id="empty"),
    ],
)
def test_tags(lines: Lines, tags: tuple[bytes, ...]) -> None:
    assert tags_of([field(name, value) for name, value in lines]) == tags


def test_too_many_or_too_long_tags_are_replaced_by_one_that_every_purge_finds() -> None:
    many = " ".join(f"t{number}" for number in range(MAX_TAGS + 1))
    assert tags_of([field("Surrogate-Key", many)]) == (*(b"t%d" % number for number in range(MAX_TAGS)), UNKNOWN)
    long = "x" * (MAX_TAG_BYTES + 1)
    assert tags_of([field("Surrogate-Key", f"a {long} b")]) == (b"a", b"b", UNKNOWN)
    assert tags_of([field("Surrogate-Key", "x" * MAX_TAG_BYTES)]) == (b"x" * MAX_TAG_BYTES,)


def test_only_the_groups_are_for_clients() -> None:
    plain = [field("Date", "x"), field("Cache-Groups", '"a"')]
    assert without_tags(plain) is plain
    assert without_tags([field("surrogate-KEY", "a"), *plain, field("Cache-Tag", "b")]) == plain


@given(st.lists(st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20)))
def test_any_list_of_strings_is_read_back(names: list[str]) -> None:
    written = ", ".join('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in names)
    assert group_names(written.encode()) == [name.encode() for name in names]


@given(st.binary(max_size=60))
def test_nothing_that_comes_is_an_error(value: bytes) -> None:
    lines: Any = [(name, name, value) for name in (b"surrogate-key", b"cache-tag", b"cache-groups")]
    tags = tags_of(lines)
    assert len(set(tags)) == len(tags) <= MAX_TAGS + 1
