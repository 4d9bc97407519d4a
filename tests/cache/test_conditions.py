"""Rule 25 and If-Range of rule 33: conditions of requests held against what is stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.conditions import allows_range, fields_of_304, is_not_modified
from proxy.http.dates import format_date
from proxy.http.message import field

NOW = 1_700_000_000
OPAQUE = st.binary(max_size=8).filter(lambda value: b'"' not in value and b"\\" not in value)


@pytest.mark.parametrize(
    ("tags", "etag", "matches"),
    [
        pytest.param(b'"a"', b'"a"', True, id="strong"),
        pytest.param(b'"a"', b'"b"', False, id="another"),
        pytest.param(b'W/"a"', b'W/"a"', True, id="weak"),
        pytest.param(b'W/"a"', b'"a"', True, id="weak asked, strong stored"),
        pytest.param(b'"a"', b'W/"a"', True, id="strong asked, weak stored"),
        pytest.param(b'"x", "a" ,"y"', b'"a"', True, id="in a list"),
        pytest.param(b'"x,\\"a"', b'"a"', False, id="inside another tag"),
        pytest.param(b'"a,b"', b'"a,b"', True, id="a comma in the tag"),
        pytest.param(b"*", b'"a"', True, id="any"),
        pytest.param(b"*", None, True, id="any, without a tag"),
        pytest.param(b'"a"', None, False, id="no tag stored"),
        pytest.param(b"a", b'"a"', False, id="unquoted asked"),
        pytest.param(b'"a"', b"a", False, id="unquoted stored"),
        pytest.param(b"a", b"a", True, id="unquoted and identical"),
        pytest.param(b"a, b", b"a, b", True, id="malformed with a comma, and identical"),
        pytest.param(b"W/a", b"a", False, id="weakness of what is no tag"),
        pytest.param(b"a", b"W/a", False, id="the same, stored"),
        pytest.param(b"W/a", b"W/a", True, id="the same, identical"),
        pytest.param(b'w/"a"', b'w/"a"', True, id="lower-case weakness, identical"),
        pytest.param(b'w/"a"', b'W/"a"', False, id="lower-case weakness, not identical"),
        pytest.param('"ü"'.encode("latin-1"), '"ü"'.encode("latin-1"), True, id="obs-text"),
        pytest.param(b"", b'"a"', False, id="empty"),
    ],
)
def test_if_none_match(tags: bytes, etag: bytes | None, matches: bool) -> None:
    assert is_not_modified({b"if-none-match": tags}, etag, None, NOW) is matches


@pytest.mark.parametrize(
    ("since", "modified_s", "matches"),
    [
        pytest.param(format_date(NOW), NOW, True, id="equal"),
        pytest.param(format_date(NOW + 1), NOW, True, id="later"),
        pytest.param(format_date(NOW - 1), NOW, False, id="earlier"),
        pytest.param(b"Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777, True, id="RFC 850"),
        pytest.param(b"Sun Nov  6 08:49:37 1994", 784_111_777, True, id="asctime"),
        pytest.param(b"yesterday", NOW, False, id="no date"),
        pytest.param(format_date(NOW), None, False, id="nothing to compare with"),
    ],
)
def test_if_modified_since(since: bytes, modified_s: int | None, matches: bool) -> None:
    assert is_not_modified({b"if-modified-since": since}, None, modified_s, NOW) is matches


def test_if_none_match_is_evaluated_alone() -> None:
    both = {b"if-none-match": b'"b"', b"if-modified-since": format_date(NOW)}
    assert not is_not_modified(both, b'"a"', NOW - 5, NOW)
    both = {b"if-none-match": b'"a"', b"if-modified-since": format_date(NOW - 100)}
    assert is_not_modified(both, b'"a"', NOW, NOW)


def test_without_a_condition_nothing_is_not_modified() -> None:
    assert not is_not_modified({}, b'"a"', NOW, NOW)


@given(st.lists(OPAQUE, min_size=1, max_size=5), st.data())
def test_every_tag_of_a_list_is_found_strong_or_weak(opaque: list[bytes], data: st.DataObject) -> None:
    listed = b", ".join(data.draw(st.sampled_from([b"", b"W/"])) + b'"' + tag + b'"' for tag in opaque)
    chosen = data.draw(st.sampled_from(opaque))
    prefix = data.draw(st.sampled_from([b"", b"W/"]))
    assert is_not_modified({b"if-none-match": listed}, prefix + b'"' + chosen + b'"', None, NOW)
    assert not is_not_modified({b"if-none-match": listed}, b'"' + b"".join(opaque) + b'?"', None, NOW)


@pytest.mark.parametrize(
    ("if_range", "allowed"),
    [
        pytest.param(None, True, id="absent"),
        pytest.param(b'"a"', True, id="the same strong tag"),
        pytest.param(b'"b"', False, id="another tag"),
        pytest.param(b'W/"a"', False, id="a weak tag"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 GMT", True, id="the same date"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:38 GMT", False, id="a later date"),
        pytest.param(b"Sun Nov  6 08:49:37 1994", False, id="the same date written otherwise"),
        pytest.param(b"", False, id="empty"),
    ],
)
def test_if_range(if_range: bytes | None, allowed: bool) -> None:
    assert allows_range(if_range, b'"a"', b"Sun, 06 Nov 1994 08:49:37 GMT") is allowed


def test_a_weak_tag_never_allows_a_range() -> None:
    assert not allows_range(b'W/"a"', b'W/"a"', None)


def test_a_304_repeats_what_caches_need_and_nothing_else() -> None:
    names = ["Cache-Control", "Content-Location", "Date", "ETag", "Expires", "Vary"]
    others = ["Content-Type", "Content-Encoding", "Set-Cookie", "X-Other", "Last-Modified"]
    fields = [field(name, "x") for name in (*names, *others)]
    assert [name.decode() for _, name, _ in fields_of_304(fields)] == names


def test_a_304_names_the_last_modification_where_there_is_no_tag() -> None:
    assert fields_of_304([field("Last-Modified", "x")]) == [field("Last-Modified", "x")]
