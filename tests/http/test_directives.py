"""Rules 1, 2 and 3: lists, Cache-Control directives and delta-seconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.directives import MAX_DELTA_S, delta_seconds, field_names, parse_directives, split_list

TOKEN = st.text("abcdefghijklmnopqrstuvwxyz-0123456789", min_size=1, max_size=12).map(str.encode)
PLAIN = st.binary(max_size=20).filter(lambda value: b'"' not in value and b"\\" not in value)


@pytest.mark.parametrize(
    ("value", "members"),
    [
        pytest.param(b"", [], id="empty"),
        pytest.param(b"a", [b"a"], id="one"),
        pytest.param(b"a,b , \tc", [b"a", b"b", b"c"], id="blanks around members"),
        pytest.param(b",, a,,", [b"a"], id="empty members"),
        pytest.param(b'"a, b", c', [b'"a, b"', b"c"], id="comma in a quoted string"),
        pytest.param(b'x="a,\\",b", c', [b'x="a,\\",b"', b"c"], id="quoted quote"),
        pytest.param(b'x="a, b', [b'x="a, b'], id="never closed"),
        pytest.param(b'x="a\\', [b'x="a\\'], id="ends with a backslash"),
        pytest.param(b'W/"a", "b"', [b'W/"a"', b'"b"'], id="entity-tags"),
    ],
)
def test_a_list_is_split_at_commas_outside_quoted_strings(value: bytes, members: list[bytes]) -> None:
    assert split_list(value) == members


def test_field_names_are_lower_case_and_each_once() -> None:
    assert field_names(b"Accept , accept,, Accept-Encoding,*") == (b"accept", b"accept-encoding", b"*")


@pytest.mark.parametrize(
    ("value", "directives"),
    [
        pytest.param(None, {}, id="no field"),
        pytest.param(b"", {}, id="empty"),
        pytest.param(b"no-store", {b"no-store": None}, id="no value"),
        pytest.param(b"Max-Age=5, NO-CACHE", {b"max-age": b"5", b"no-cache": None}, id="any case"),
        pytest.param(b'max-age="5"', {b"max-age": b"5"}, id="quoted value"),
        pytest.param(b"max-age='5'", {b"max-age": b"'5'"}, id="single quotes are part of the value"),
        pytest.param(b"max-age=5, max-age=9", {b"max-age": b"5"}, id="the first counts"),
        pytest.param(b"max-age =5", {b"max-age": b""}, id="blank before the equals sign"),
        pytest.param(b"max-age= 5", {b"max-age": b""}, id="blank after the equals sign"),
        pytest.param(b"no-store =1", {b"no-store": b""}, id="a malformed directive is still there"),
        pytest.param(b'x="no-store, max-age=9"', {b"x": b"no-store, max-age=9"}, id="quoted text is no directive"),
        pytest.param(b'private="a, b", public', {b"private": b"a, b", b"public": None}, id="list as value"),
        pytest.param(b'x="a\\"b"', {b"x": b'a"b'}, id="quoted-pair"),
        pytest.param(b'x="a, max-age=5', {b"x": b'"a, max-age=5', b"no-store": None}, id="never closed"),
        pytest.param(b"a=b=c", {b"a": b"b=c"}, id="two equals signs"),
    ],
)
def test_directives_are_read(value: bytes | None, directives: dict[bytes, bytes | None]) -> None:
    assert parse_directives(value) == directives


def test_a_long_field_is_read_like_a_short_one() -> None:
    assert parse_directives(b"x=" + b"y" * 1000 + b", max-age=3")[b"max-age"] == b"3"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param(b"0", 0, id="zero"),
        pytest.param(b"3600", 3600, id="digits"),
        pytest.param(b"003600", 3600, id="leading zeros"),
        pytest.param(b"2147483648", MAX_DELTA_S, id="the bound"),
        pytest.param(b"99999999999999999999", MAX_DELTA_S, id="past 64 bits"),
        pytest.param(b"9" * 5000, MAX_DELTA_S, id="five thousand digits"),
        pytest.param(b"0" * 5000 + b"7", 7, id="five thousand zeros"),
        pytest.param(None, None, id="no value"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b"-1", None, id="negative"),
        pytest.param(b"+1", None, id="signed"),
        pytest.param(b"1.0", None, id="fraction"),
        pytest.param(b"1e3", None, id="exponent"),
        pytest.param(b"1_000", None, id="underscore"),
        pytest.param(b"a3600", None, id="leading letter"),
        pytest.param(b"3600a", None, id="trailing letter"),
        pytest.param(b"'3600'", None, id="single quotes"),
        pytest.param(b" 5", None, id="blank"),
        pytest.param("٣".encode(), None, id="digits of another script"),
    ],
)
def test_delta_seconds_are_ascii_digits(value: bytes | None, seconds: int | None) -> None:
    assert delta_seconds(value) == seconds


@given(st.binary(max_size=80))
def test_any_bytes_can_be_split_and_parsed(value: bytes) -> None:
    assert all(member == member.strip(b" \t") and member for member in split_list(value))
    assert all(name == name.lower() for name in parse_directives(value))


@given(st.lists(TOKEN, max_size=8), st.sampled_from([b",", b", ", b" ,\t", b",,"]))
def test_tokens_come_back_whatever_separates_them(tokens: list[bytes], separator: bytes) -> None:
    assert split_list(separator.join(tokens)) == tokens


@given(TOKEN, PLAIN, st.booleans())
def test_quoting_changes_no_value(name: bytes, value: bytes, with_pairs: bool) -> None:
    quoted = b"".join(b"\\" + bytes((octet,)) for octet in value) if with_pairs else value
    assert parse_directives(name + b'="' + quoted + b'"') == {name: value}


@given(st.lists(PLAIN, min_size=1, max_size=4), TOKEN)
def test_nothing_inside_quotes_becomes_a_directive(values: list[bytes], name: bytes) -> None:
    field = b", ".join(b'x="' + value + b'"' for value in values) + b", " + name
    assert set(parse_directives(field)) == {b"x", name}


@given(st.integers(0, 10**30))
def test_every_number_is_read_up_to_the_bound(number: int) -> None:
    assert delta_seconds(b"%d" % number) == min(number, MAX_DELTA_S)
