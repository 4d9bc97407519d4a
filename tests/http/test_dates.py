"""Rule 4: HTTP dates (RFC 9110 §5.6.7)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.dates import format_date, parse_date

NOW = 1_760_000_000.0  # 9 October 2025
EXAMPLE = 784_111_777  # 6 November 1994, 08:49:37
LAST = 253_402_300_799  # the last second of the year 9999


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(EXAMPLE, b"Sun, 06 Nov 1994 08:49:37 GMT", id="the example of the RFC"),
        pytest.param(0, b"Thu, 01 Jan 1970 00:00:00 GMT", id="the epoch"),
        pytest.param(951_782_400, b"Tue, 29 Feb 2000 00:00:00 GMT", id="leap day of a century"),
        pytest.param(LAST, b"Fri, 31 Dec 9999 23:59:59 GMT", id="the last year"),
        pytest.param(LAST + 1, b"Fri, 31 Dec 9999 23:59:59 GMT", id="later than the last year"),
        pytest.param(-1, b"Thu, 01 Jan 1970 00:00:00 GMT", id="before the epoch"),
    ],
)
def test_a_date_is_written_as_imf_fixdate(seconds: int, text: bytes) -> None:
    assert format_date(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 GMT", EXAMPLE, id="IMF-fixdate"),
        pytest.param(b"Sunday, 06-Nov-94 08:49:37 GMT", EXAMPLE, id="RFC 850"),
        pytest.param(b"Sun Nov  6 08:49:37 1994", EXAMPLE, id="asctime"),
        pytest.param(b"Sun Nov 06 08:49:37 1994", EXAMPLE, id="asctime with two digits"),
        pytest.param(b"sUN, 06 nOV 1994 08:49:37 gmt", EXAMPLE, id="any case"),
        pytest.param(b"SUNDAY, 06-NOV-94 08:49:37 GMT", EXAMPLE, id="any case, RFC 850"),
        pytest.param(b"Mon, 06 Nov 1994 08:49:37 GMT", EXAMPLE, id="another day of the week"),
        pytest.param(b"Fri, 31 Dec 9999 23:59:59 GMT", LAST, id="the last year"),
        pytest.param(b"Tue, 19 Jan 2038 03:14:08 GMT", 2**31, id="past 31 bits"),
        pytest.param(b"Fri, 01 Jan 1960 00:00:00 GMT", -315_619_200, id="before the epoch"),
        pytest.param(b"Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800, id="leap second"),
    ],
)
def test_the_three_forms_are_read(text: bytes, seconds: int) -> None:
    assert parse_date(text, NOW) == seconds


@pytest.mark.parametrize(
    ("two_digits", "year"),
    [(b"94", 1994), (b"25", 2025), (b"74", 2074), (b"76", 1976), (b"99", 1999), (b"00", 2000)],
)
def test_a_two_digit_year_is_never_more_than_fifty_years_ahead(two_digits: bytes, year: int) -> None:
    expected = int(datetime(year, 6, 1, 12, tzinfo=UTC).timestamp())
    assert parse_date(b"Monday, 01-Jun-" + two_digits + b" 12:00:00 GMT", NOW) == expected


def test_a_two_digit_year_is_of_the_next_century_near_its_end() -> None:
    now = datetime(2099, 1, 1, tzinfo=UTC).timestamp()
    expected = int(datetime(2101, 6, 1, 12, tzinfo=UTC).timestamp())
    assert parse_date(b"Monday, 01-Jun-01 12:00:00 GMT", now) == expected


def test_the_fiftieth_year_counts_to_the_day() -> None:
    now = datetime(2025, 6, 1, 12, tzinfo=UTC).timestamp()
    before = int(datetime(2075, 5, 1, 12, tzinfo=UTC).timestamp())
    after = int(datetime(1975, 7, 1, 12, tzinfo=UTC).timestamp())
    assert parse_date(b"Wednesday, 01-May-75 12:00:00 GMT", now) == before
    assert parse_date(b"Monday, 01-Jul-75 12:00:00 GMT", now) == after


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"0", id="zero"),
        pytest.param(b"784111777", id="a number"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 UTC", id="UTC"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 AEST", id="another zone"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 +0000", id="numeric zone"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37", id="no zone"),
        pytest.param(b"Sun 06 Nov 1994 08:49:37 GMT", id="no comma"),
        pytest.param(b"Sun  06 Nov 1994 08:49:37 GMT", id="a space for the comma"),
        pytest.param(b"Sun, 06  Nov 1994 08:49:37 GMT", id="doubled space"),
        pytest.param(b"Sun,  06 Nov 1994 8:49:37 GMT", id="doubled space, right length"),
        pytest.param(b"Sun, 06 Nov 94 08:49:37 GMT", id="two-digit year in the first form"),
        pytest.param(b"Sunday, 06-Nov-1994 08:49:37 GMT", id="four-digit year in the second form"),
        pytest.param(b"Sun, 06-Nov-1994 08:49:37 GMT", id="dashes with four digits"),
        pytest.param(b"Sun, 06-Nov-94 08:49:37 GMT", id="short day in the second form"),
        pytest.param(b"Sunday, 06 Nov 94 08:49:37 GMT", id="spaces in the second form"),
        pytest.param(b"Sun, 06 Nov 1994 08.49.37 GMT", id="dots in the time"),
        pytest.param(b"Sun, 06 Nov 1994 8:49:37 GMT", id="one-digit hour"),
        pytest.param(b"Sun, 06 Nov 1994 08:49 GMT", id="no seconds"),
        pytest.param(b"Sun, 6 Nov 1994 08:49:37 GMT", id="one-digit day"),
        pytest.param(b"Sun, +6 Nov 1994 08:49:37 GMT", id="signed day"),
        pytest.param(b"Sun, 1_ Nov 1994 08:49:37 GMT", id="underscore"),
        pytest.param(b"Sun, 31 Feb 1994 08:49:37 GMT", id="no such day"),
        pytest.param(b"Sun, 00 Nov 1994 08:49:37 GMT", id="day zero"),
        pytest.param(b"Sun, 06 Nov 0000 08:49:37 GMT", id="year zero"),
        pytest.param(b"Sun, 06 Nov 1994 24:00:00 GMT", id="hour 24"),
        pytest.param(b"Sun, 06 Nov 1994 08:60:37 GMT", id="minute 60"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:61 GMT", id="second 61"),
        pytest.param(b"Xyz, 06 Nov 1994 08:49:37 GMT", id="no day of the week"),
        pytest.param(b"Sun, 06 Xyz 1994 08:49:37 GMT", id="no month"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 GMT ", id="trailing space"),
        pytest.param(b"Sun, 06 Nov 1994 08:49:37GMT", id="no space before the zone"),
        pytest.param(b"Sun Nov 6 08:49:37 1994", id="asctime with one digit"),
        pytest.param(b"Sun Nov  6 08:49:37 94", id="asctime with two-digit year"),
        pytest.param(b"Sun Nov  6 08-49-37 1994", id="asctime with dashes"),
    ],
)
def test_everything_else_is_no_date(text: bytes) -> None:
    assert parse_date(text, NOW) is None


@given(st.integers(0, LAST))
def test_what_is_written_is_read_again(seconds: int) -> None:
    assert parse_date(format_date(seconds), NOW) == seconds


@given(st.integers(0, LAST))
def test_the_calendar_agrees_with_the_standard_library(seconds: int) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    text = moment.strftime("%H:%M:%S")
    assert format_date(seconds)[17:25].decode() == text
    assert int(format_date(seconds)[12:16]) == moment.year


@given(st.binary(max_size=40))
def test_any_bytes_are_a_date_or_none(value: bytes) -> None:
    assert parse_date(value, NOW) is None or isinstance(parse_date(value, NOW), int)


@given(st.integers(0, 28), st.integers(0, 255))
def test_no_single_changed_byte_is_read_as_another_form(place: int, octet: int) -> None:
    text = bytearray(b"Sun, 06 Nov 1994 08:49:37 GMT")
    text[place] = octet
    seconds = parse_date(bytes(text), NOW)
    assert seconds is None or len(format_date(seconds)) == 29
