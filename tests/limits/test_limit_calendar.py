"""Windows of a calendar: the lengths of months, the days on which clocks change, and who decides which one is open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.limits.algorithms.calendar import Calendar, Unit

HOUR = 3600.0
DAY = 24 * HOUR
UNITS: list[Unit] = ["hour", "day", "week", "month"]
ZONES = [
    *("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Havana"),
    *("Asia/Beirut", "America/Sao_Paulo", "Pacific/Apia", "Pacific/Chatham"),
]


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("unit", "zone", "now", "start", "end"),
    [
        ("hour", "UTC", "2025-05-05T10:20:30Z", "2025-05-05T10:00:00Z", "2025-05-05T11:00:00Z"),
        ("hour", "Asia/Kolkata", "2025-05-05T10:20:30Z", "2025-05-05T09:30:00Z", "2025-05-05T10:30:00Z"),
        ("day", "Europe/Berlin", "2025-05-05T21:59:59Z", "2025-05-04T22:00:00Z", "2025-05-05T22:00:00Z"),
        ("day", "Europe/Berlin", "2025-05-05T22:00:00Z", "2025-05-05T22:00:00Z", "2025-05-06T22:00:00Z"),
        ("week", "UTC", "2025-05-07T12:00:00Z", "2025-05-05T00:00:00Z", "2025-05-12T00:00:00Z"),
        ("week", "UTC", "2025-05-11T23:59:59Z", "2025-05-05T00:00:00Z", "2025-05-12T00:00:00Z"),
        ("month", "UTC", "2025-12-31T23:59:59Z", "2025-12-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("month", "America/New_York", "2025-03-20T00:00:00Z", "2025-03-01T05:00:00Z", "2025-04-01T04:00:00Z"),
    ],
)
def test_a_window_begins_and_ends_with_the_local_calendar(
    unit: Unit, zone: str, now: str, start: str, end: str
) -> None:
    calendar = Calendar(unit, zone)
    assert calendar.start_of(at(now)) == at(start)
    assert calendar.end_after(at(now)) == at(end)
    assert calendar.ends(at(now))[:2] == (at(start), at(end))


@pytest.mark.parametrize(
    ("unit", "zone", "now", "length_s"),
    [
        ("day", "Europe/Berlin", "2025-03-30T12:00:00+02:00", 23 * HOUR),
        ("day", "Europe/Berlin", "2025-10-26T12:00:00+01:00", 25 * HOUR),
        ("day", "Europe/Berlin", "2025-10-26T02:30:00+01:00", 25 * HOUR),  # the hour that comes twice
        ("day", "Australia/Lord_Howe", "2025-04-06T12:00:00+10:30", 24.5 * HOUR),
        ("day", "America/Havana", "2025-11-02T00:30:00-05:00", 25 * HOUR),  # midnight itself comes twice
        ("day", "America/Sao_Paulo", "2018-11-04T12:00:00-02:00", 23 * HOUR),  # midnight does not come at all
        ("week", "Europe/Berlin", "2025-03-30T12:00:00+02:00", 7 * DAY - HOUR),
        ("month", "UTC", "2025-02-10T00:00:00Z", 28 * DAY),
        ("month", "UTC", "2028-02-10T00:00:00Z", 29 * DAY),
        ("month", "UTC", "2025-04-10T00:00:00Z", 30 * DAY),
        ("month", "Europe/Berlin", "2025-03-10T00:00:00Z", 31 * DAY - HOUR),
        ("month", "Europe/Berlin", "2025-10-10T00:00:00Z", 31 * DAY + HOUR),
        ("hour", "Europe/Berlin", "2025-10-26T02:30:00+02:00", HOUR),
        ("hour", "Europe/Berlin", "2025-10-26T02:30:00+01:00", HOUR),
    ],
)
def test_days_have_23_or_25_hours_and_months_their_days(unit: Unit, zone: str, now: str, length_s: float) -> None:
    calendar = Calendar(unit, zone)
    assert calendar.end_after(at(now)) - calendar.start_of(at(now)) == length_s


def test_the_hour_that_comes_twice_is_two_windows() -> None:
    hours = Calendar("hour", "Europe/Berlin")
    assert hours.end_after(at("2025-10-26T02:30:00+02:00")) == at("2025-10-26T02:00:00+01:00")
    assert hours.end_after(at("2025-10-26T02:30:00+01:00")) == at("2025-10-26T03:00:00+01:00")


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("unit", UNITS)
@given(second=st.integers(int(at("2010-01-01T00:00:00Z")), int(at("2035-01-01T00:00:00Z"))))
def test_windows_follow_one_another_without_a_gap(unit: Unit, zone: str, second: int) -> None:
    calendar, now = Calendar(unit, zone), float(second)
    ends = calendar.ends(now)
    assert ends[0] <= now < ends[1]
    assert list(ends) == sorted(set(ends))
    for begin, end in pairwise(ends):
        assert calendar.end_after(begin) == end
        assert calendar.end_after(end - 1.0) == end
        local = datetime.fromtimestamp(end, ZoneInfo(zone))
        before = local.astimezone(UTC) - timedelta(seconds=1)
        assert local.date() != before.astimezone(ZoneInfo(zone)).date() or unit == "hour" or local.fold


def test_what_is_remembered_is_that_of_the_window_that_is_open() -> None:
    calendar = Calendar("day", "UTC")
    day = at("2025-05-05T00:00:00Z")
    for now in (day, day + 100.0, day + DAY - 1.0, day + DAY, day - 1.0, day + 400 * DAY, day):
        assert calendar.ends(now) == Calendar("day", "UTC").ends(now)


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "", "../etc/passwd", "/etc/localtime", "x" * 300])
def test_a_zone_that_does_not_exist_is_refused_with_a_sentence(zone: str) -> None:
    with pytest.raises(ValueError, match="is no time zone"):
        Calendar("day", zone)


def test_calendars_of_one_unit_and_zone_are_equal() -> None:
    assert {Calendar("day", "UTC"), Calendar("day", "UTC"), Calendar("hour", "UTC")} == {
        Calendar("hour", "UTC"),
        Calendar("day", "UTC"),
    }
