"""Rules 3 to 9: how long a response may be used without asking."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.freshness import date_of, explicit_lifetime, heuristic_lifetime, initial_age
from proxy.http.dates import format_date
from proxy.http.directives import MAX_DELTA_S, parse_directives

NOW = 1_700_000_000
PAST = format_date(NOW - 100)
FUTURE = format_date(NOW + 100)


@pytest.mark.parametrize(
    ("cache_control", "expires", "lifetime"),
    [
        pytest.param(None, None, None, id="nothing said"),
        pytest.param(b"max-age=60", None, 60.0, id="max-age"),
        pytest.param(b"s-maxage=5, max-age=60", None, 5.0, id="s-maxage wins"),
        pytest.param(b"max-age=60, s-maxage=5", None, 5.0, id="s-maxage wins in any order"),
        pytest.param(b"s-maxage=60, max-age=0", PAST, 60.0, id="s-maxage wins over everything"),
        pytest.param(b"max-age=60", PAST, 60.0, id="max-age wins over a past Expires"),
        pytest.param(b"max-age=60", b"0", 60.0, id="max-age wins over an invalid Expires"),
        pytest.param(b"max-age=0", FUTURE, 0.0, id="max-age=0 wins over a future Expires"),
        pytest.param(None, FUTURE, 100.0, id="Expires"),
        pytest.param(None, PAST, 0.0, id="Expires in the past"),
        pytest.param(None, format_date(NOW), 0.0, id="Expires equal to Date"),
        pytest.param(None, b"0", 0.0, id="Expires is zero"),
        pytest.param(None, b"soon", 0.0, id="Expires is no date"),
        pytest.param(None, FUTURE + b", " + FUTURE, 0.0, id="Expires on two lines"),
        pytest.param(b"max-age=-1", FUTURE, 0.0, id="negative"),
        pytest.param(b"max-age=1.5", FUTURE, 0.0, id="fraction"),
        pytest.param(b"max-age='60'", FUTURE, 0.0, id="single quotes"),
        pytest.param(b"max-age=", FUTURE, 0.0, id="empty value"),
        pytest.param(b"max-age", FUTURE, 0.0, id="no value"),
        pytest.param(b"max-age=60a", FUTURE, 0.0, id="letters"),
        pytest.param(b"max-age =60", FUTURE, 0.0, id="blank before the equals sign"),
        pytest.param(b"s-maxage=x, max-age=60", None, 0.0, id="invalid s-maxage does not fall back to max-age"),
        pytest.param(b'max-age="60"', None, 60.0, id="quoted"),
        pytest.param(b"max-age=060", None, 60.0, id="leading zero"),
        pytest.param(b"max-age=99999999999", None, float(MAX_DELTA_S), id="too large for 31 bits"),
        pytest.param(b"max-age=60, max-age=5", None, 60.0, id="the first of two"),
        pytest.param(b'x="max-age=60"', None, None, id="inside a quoted string"),
    ],
)
def test_explicit_lifetime(cache_control: bytes | None, expires: bytes | None, lifetime: float | None) -> None:
    index = {} if expires is None else {b"expires": expires}
    assert explicit_lifetime(index, parse_directives(cache_control), NOW, NOW) == lifetime


@pytest.mark.parametrize(
    ("status", "cache_control", "modified", "lifetime"),
    [
        pytest.param(200, b"", format_date(NOW - 1000), 100.0, id="a tenth"),
        pytest.param(200, b"", format_date(NOW - 10**9), 86400.0, id="a day at most"),
        pytest.param(200, b"", None, None, id="no Last-Modified"),
        pytest.param(200, b"", b"yesterday", None, id="Last-Modified is no date"),
        pytest.param(200, b"", format_date(NOW + 5), None, id="modified in the future"),
        pytest.param(200, b"", format_date(NOW), None, id="modified now"),
        *[
            pytest.param(status, b"", format_date(NOW - 1000), 100.0, id=f"{status}")
            for status in (203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501)
        ],
        *[
            pytest.param(status, b"", format_date(NOW - 1000), None, id=f"not {status}")
            for status in (201, 202, 302, 303, 307, 400, 403, 500, 502, 503, 504, 599)
        ],
        pytest.param(599, b"public", format_date(NOW - 1000), 100.0, id="599 with public"),
    ],
)
def test_heuristic_lifetime(status: int, cache_control: bytes, modified: bytes | None, lifetime: float | None) -> None:
    index = {} if modified is None else {b"last-modified": modified}
    assert heuristic_lifetime(status, index, parse_directives(cache_control), NOW, NOW) == lifetime


@pytest.mark.parametrize(
    ("age", "date_s", "delay_s", "expected"),
    [
        pytest.param(None, NOW, 0.0, 0.0, id="just made"),
        pytest.param(None, NOW - 30, 0.0, 30.0, id="an old Date"),
        pytest.param(None, NOW + 30, 0.0, 0.0, id="a Date in the future"),
        pytest.param(b"30", NOW, 0.0, 30.0, id="Age"),
        pytest.param(b"30", NOW - 50, 0.0, 50.0, id="the Date says more"),
        pytest.param(b"30", NOW, 2.5, 32.5, id="the way takes time"),
        pytest.param(None, NOW, 2.5, 2.5, id="the way takes time without Age"),
        pytest.param(b"30, 90", NOW, 0.0, 30.0, id="the first member"),
        pytest.param(b"x, 90", NOW, 0.0, 0.0, id="only the first member"),
        pytest.param(b"-30", NOW, 0.0, 0.0, id="negative"),
        pytest.param(b"30.5", NOW, 0.0, 0.0, id="fraction"),
        pytest.param(b"30;a=b", NOW, 0.0, 0.0, id="parameters"),
        pytest.param(b"", NOW, 0.0, 0.0, id="empty"),
        pytest.param(b"9999999999", NOW, 0.0, float(MAX_DELTA_S), id="saturated"),
    ],
)
def test_initial_age(age: bytes | None, date_s: int, delay_s: float, expected: float) -> None:
    assert initial_age({} if age is None else {b"age": age}, date_s, NOW, delay_s) == expected


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        pytest.param(None, NOW, id="missing"),
        pytest.param(b"today", NOW, id="invalid"),
        pytest.param(PAST, NOW - 100, id="valid"),
        pytest.param(PAST + b", " + PAST, NOW, id="two lines"),
    ],
)
def test_a_date_that_cannot_be_read_is_the_time_of_receipt(date: bytes | None, expected: int) -> None:
    assert date_of({} if date is None else {b"date": date}, NOW + 0.5) == expected


@given(st.binary(max_size=60), st.binary(max_size=40))
def test_no_field_makes_a_negative_lifetime(cache_control: bytes, expires: bytes) -> None:
    lifetime = explicit_lifetime({b"expires": expires}, parse_directives(cache_control), NOW, NOW)
    assert lifetime is not None
    assert lifetime >= 0.0


@given(st.binary(max_size=20), st.integers(-(10**6), 10**6), st.floats(0, 100))
def test_no_field_makes_a_negative_age(age: bytes, offset: int, delay_s: float) -> None:
    assert initial_age({b"age": age}, NOW + offset, NOW, delay_s) >= 0.0
