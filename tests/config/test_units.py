"""The one grammar of durations, sizes, rates and percentages."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.units import (
    DURATION_PATTERN,
    PERCENT_PATTERN,
    RATE_PATTERN,
    SIZE_PATTERN,
    Rate,
    format_duration,
    format_size,
    parse_duration,
    parse_percent,
    parse_rate,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("10s", 10.0),
        ("1.5s", 1.5),
        ("5m", 300.0),
        ("5min", 300.0),
        ("1h30m", 5400.0),
        ("1d", 86400.0),
        ("0s", 0.0),
        ("1m30s500ms", 90.5),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500B", 500),
        ("64KiB", 65536),
        ("64 KiB", 65536),
        ("10MB", 10_000_000),
        ("1kB", 1000),
        ("1KB", 1000),
        ("1.5GiB", 1610612736),
        ("0B", 0),
    ],
)
def test_a_size_is_read_as_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "count", "period_s"),
    [
        ("200/min", 200, 60.0),
        ("200/m", 200, 60.0),
        ("5/15min", 5, 900.0),
        ("10/s", 10, 1.0),
        ("50/h", 50, 3600.0),
        ("1000/d", 1000, 86400.0),
        ("1000/day", 1000, 86400.0),
        ("60/hour", 60, 3600.0),
        ("5/2w", 5, 1_209_600.0),
        ("7/week", 7, 604_800.0),
        ("9/month", 9, 2_629_746.0),
        ("1/1h30m", 1, 5400.0),
        ("3/250ms", 3, 0.25),
    ],
)
def test_a_rate_is_a_count_in_a_period(text: str, count: int, period_s: float) -> None:
    assert parse_rate(text) == Rate(count, period_s)


@pytest.mark.parametrize(("text", "fraction"), [("1%", 0.01), ("0.5%", 0.005), ("100%", 1.0), ("0%", 0.0)])
def test_a_percentage_is_read_as_a_fraction(text: str, fraction: float) -> None:
    assert parse_percent(text) == pytest.approx(fraction)


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_duration, "10", "`10` has no unit; write 10s or 10ms"),
        (parse_duration, "", "`` is not a duration; write 250ms, 10s, 5m or 1h30m"),
        (parse_duration, "10 s", "`10 s` is not a duration; write 250ms, 10s, 5m or 1h30m"),
        (parse_duration, "-1s", "`-1s` is not a duration; write 250ms, 10s, 5m or 1h30m"),
        (parse_duration, "5weeks", "`5weeks` is not a duration; write 250ms, 10s, 5m or 1h30m"),
        (parse_duration, "s", "`s` is not a duration; write 250ms, 10s, 5m or 1h30m"),
        (parse_duration, "10s\n", "`10s\n` is not a duration; write 250ms, 10s, 5m or 1h30m"),
        (parse_size, "64", "`64` has no unit; write 64B, 64KiB or 64MiB"),
        (parse_size, "64kib", "`64kib` is not a size; write 500B, 64KiB or 10MB"),
        (parse_size, "1.5B", "`1.5B` is not a whole number of bytes; write 500B, 64KiB or 10MB"),
        (parse_rate, "10", "`10` has no period; write 10/s or 10/min"),
        (parse_rate, "10/sec", "`10/sec` is not a rate; write 10/s, 200/min or 5/15min"),
        (parse_rate, "1.5/s", "`1.5/s` is not a rate; write 10/s, 200/min or 5/15min"),
        (parse_rate, "10 / s", "`10 / s` is not a rate; write 10/s, 200/min or 5/15min"),
        (parse_rate, "0/min", "`0/min` admits nothing; write at least 1 in a period above zero, such as 1/min"),
        (parse_rate, "5/0s", "`5/0s` admits nothing; write at least 1 in a period above zero, such as 1/min"),
        (parse_percent, "1", "`1` has no percent sign; write 1%"),
        (parse_percent, "101%", "`101%` is more than 100%; write 1% or 0.5%"),
        (parse_percent, "half", "`half` is not a percentage; write 1% or 0.5%"),
        (parse_rate, "9" * 5000, f"`{'9' * 37}...` is not a rate; write 10/s, 200/min or 5/15min"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence_with_an_example(parse, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        parse(text)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "250ms"), (0.0005, "0.5ms"), (1.5, "1.5s"), (60, "1m"), (90, "1m30s"), (5400, "1h30m")],
)
def test_a_duration_is_written_as_people_write_it(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (500, "500B"), (65536, "64KiB"), (10_000_000, "10MB"), (1536, "1536B")]
)
def test_a_size_is_written_with_the_largest_exact_unit(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, 10**15))
def test_every_duration_survives_writing_and_reading(microseconds: int) -> None:
    seconds = microseconds / 1e6
    text = format_duration(seconds)
    assert parse_duration(text) == pytest.approx(seconds, abs=1e-6)
    assert re.search(DURATION_PATTERN, text)


@given(st.integers(0, 10**12 - 1))
def test_every_size_survives_writing_and_reading(size: int) -> None:
    text = format_size(size)
    assert parse_size(text) == size
    assert re.search(SIZE_PATTERN, text)


@given(st.integers(1, 10**9), st.integers(1, 10**7).map(lambda ms: ms / 1000))
def test_every_rate_survives_writing_and_reading(count: int, period_s: float) -> None:
    text = str(Rate(count, period_s))
    again = parse_rate(text)
    assert (again.count, again.period_s) == (count, pytest.approx(period_s))
    assert re.search(RATE_PATTERN, text)


@given(st.text(alphabet="0123456789./%smhdinKMGBke ", max_size=12))
def test_the_patterns_of_the_schema_accept_what_the_parsers_accept(text: str) -> None:
    """An editor must not underline what Weir takes. A zero rate and 101% are refused for their values."""
    for parse, pattern in (
        (parse_duration, DURATION_PATTERN),
        (parse_size, SIZE_PATTERN),
        (parse_rate, RATE_PATTERN),
        (parse_percent, PERCENT_PATTERN),
    ):
        matches = re.search(pattern[:-1] + r"\Z", text) is not None
        refusal = _refusal(parse, text)
        assert matches == (
            refusal is None or re.search("admits nothing|more than 100%|whole number", refusal) is not None
        )


def _refusal(parse, text: str) -> str | None:
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return None
