"""Dictionaries, held against another reader of the same grammar."""

from __future__ import annotations

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.structured import INNER_LIST, Date, Text, Token, parse_dictionary

BARE = st.one_of(
    st.integers(-(10**15), 10**15).map(lambda number: b"%d" % number),
    st.decimals(-1000, 1000, places=2).map(lambda number: str(number).encode()),
    st.sampled_from(
        [b"?0", b"?1", b"token", b"*t/a:b", b'"text"', b'"a\\"b\\\\"', b":aGk=:", b"@1659578233", b'%"f%c3%bc"']
    ),
    st.sampled_from([b"?2", b"-", b"1.", b"1.2345", b'"open', b'"\\x"', b":a", b"@1.5", b'%"%zz"', b"'x'", b"", b" 1"]),
)
PARAMETERS = st.sampled_from([b"", b"", b"", b";a", b"; a=1", b";a;b=?0", b";A", b"; a =1", b" ;a"])
VALUES = st.one_of(BARE, BARE, st.lists(BARE, max_size=3).map(lambda items: b"(" + b" ".join(items) + b")"))
MEMBERS = st.builds(
    lambda key, equals, value, parameters: key + (equals + value if value is not None else b"") + parameters,
    st.sampled_from([b"a", b"b", b"max-age", b"*x", b"_a", b"A", b"1a", b"a.b", b""]),
    st.sampled_from([b"=", b"=", b"=", b" =", b"= "]),
    st.one_of(st.none(), VALUES),
    PARAMETERS,
)
FIELDS = st.builds(
    lambda members, separator, ends: ends[0] + separator.join(members) + ends[1],
    st.lists(MEMBERS, max_size=4),
    st.sampled_from([b",", b", ", b" ,\t", b",,"]),
    st.sampled_from([(b"", b""), (b" ", b" "), (b"", b","), (b"\t", b"")]),
)


@pytest.mark.parametrize(
    ("value", "members"),
    [
        pytest.param(b"", {}, id="empty"),
        pytest.param(b"a", {b"a": True}, id="a member without a value is true"),
        pytest.param(b"a=?0, b=?1", {b"a": False, b"b": True}, id="booleans"),
        pytest.param(b"max-age=60", {b"max-age": 60}, id="integer"),
        pytest.param(b"a=-1", {b"a": -1}, id="negative"),
        pytest.param(b"a=1.5", {b"a": 1.5}, id="decimal"),
        pytest.param(b'a="x"', {b"a": Text("x")}, id="string"),
        pytest.param(b"a=x", {b"a": Token("x")}, id="token"),
        pytest.param(b"a=@7", {b"a": Date(7)}, id="date"),
        pytest.param(b"a=(1 2)", {b"a": INNER_LIST}, id="inner list"),
        pytest.param(b"a=1;b=2;c", {b"a": 1}, id="parameters are dropped"),
        pytest.param(b"a=1,a=2", {b"a": 2}, id="the last of two"),
        pytest.param(b"A=1", None, id="upper-case key"),
        pytest.param(b"a =1", None, id="blank before the equals sign"),
        pytest.param(b"a= 1", None, id="blank behind it"),
        pytest.param(b"a=1,", None, id="comma at the end"),
        pytest.param(b"a=1,,b", None, id="empty member"),
        pytest.param(b"a=1 b=2", None, id="no comma"),
        pytest.param(b"a='1'", None, id="single quotes"),
        pytest.param(b"a=1234567890123456", None, id="too long"),
        pytest.param(b"a=1.2345", None, id="too many decimals"),
        pytest.param(b'a="\xc3\xa4"', None, id="no ASCII"),
        pytest.param(b'a="x', None, id="never closed"),
    ],
)
def test_a_dictionary_is_read_strictly(value: bytes, members: dict[bytes, object] | None) -> None:
    found = parse_dictionary(value)
    assert found == members
    if members is not None and found is not None:
        assert [type(item) for item in found.values()] == [type(item) for item in members.values()]


@given(FIELDS)
def test_what_another_reader_refuses_is_refused_and_what_it_reads_is_read(value: bytes) -> None:
    assert _keys_and_kinds(parse_dictionary(value)) == _theirs(value)


@given(st.binary(max_size=30))
def test_no_bytes_are_too_odd(value: bytes) -> None:
    assert _keys_and_kinds(parse_dictionary(value)) == _theirs(value)


def _keys_and_kinds(members: dict[bytes, object] | None) -> object:
    if members is None:
        return None
    return {
        key.decode(): value if isinstance(value, bool | int | float) and not isinstance(value, Date) else ...
        for key, value in members.items()
    }


def _theirs(value: bytes) -> object:
    try:
        read = http_sf.parse(value, tltype="dictionary")
    except (http_sf.StructuredFieldError, ValueError, IndexError):
        return None
    found = {}
    for key, (item, _) in read.items():
        number = float(item) if type(item).__name__ == "Decimal" else item
        found[key] = number if isinstance(number, bool | int | float) else ...
    return found
