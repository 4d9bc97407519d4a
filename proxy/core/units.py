"""Durations, sizes, rates and percentages: how text becomes numbers, and numbers text again.

One grammar everywhere: `250ms`, `1h30m`, `64KiB`, `10MB`, `200/min`, `5/15min`, `10000/month`, `1%`. A number without
its unit is refused: nobody should have to remember whether a timeout counts seconds or milliseconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = [
    "DAY_S",
    "DURATION_PATTERN",
    "HOUR_S",
    "MONTH_S",
    "PERCENT_PATTERN",
    "RATE_PATTERN",
    "SIZE_PATTERN",
    "WEEK_S",
    "Rate",
    "format_duration",
    "format_size",
    "parse_duration",
    "parse_percent",
    "parse_rate",
    "parse_size",
]

HOUR_S: Final = 3600.0
DAY_S: Final = 86400.0
WEEK_S: Final = 7 * DAY_S
MONTH_S: Final = 365.2425 / 12 * DAY_S  # of the calendar, on average: 30 d 10 h 29 min 6 s, and no other period

_DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": HOUR_S, "d": DAY_S, "w": WEEK_S}
_RATE_PERIODS: Final = {**_DURATION_UNITS, "hour": HOUR_S, "day": DAY_S, "week": WEEK_S, "month": MONTH_S}
_SIZE_UNITS: Final = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
# Digits are bounded: a number of a thousand digits is a mistake, and converting it would cost time.
_NUMBER: Final = r"[0-9]{1,12}(\.[0-9]{1,9})?"
_UNIT: Final = "(ms|s|min|m|h|d|w)"
DURATION_PATTERN: Final = rf"^({_NUMBER}{_UNIT})+$"
SIZE_PATTERN: Final = rf"^{_NUMBER} ?(B|kB|KB|MB|GB|KiB|MiB|GiB)$"
RATE_PATTERN: Final = rf"^[0-9]{{1,12}}/({_UNIT}|hour|day|week|month|({_NUMBER}{_UNIT})+)$"
PERCENT_PATTERN: Final = r"^[0-9]{1,3}(\.[0-9]{1,9})?%$"

_DURATION: Final = re.compile(rf"({_NUMBER}{_UNIT})+")
_DURATION_PART: Final = re.compile(rf"(?P<number>{_NUMBER})(?P<unit>{_UNIT})")
_SIZE: Final = re.compile(rf"(?P<number>{_NUMBER}) ?(?P<unit>[A-Za-z]+)")
_RATE: Final = re.compile(r"(?P<count>[0-9]{1,12})/(?P<period>[0-9a-z.]+)")
_PERCENT: Final = re.compile(PERCENT_PATTERN[1:-1])


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` admissions in every `period_s` seconds. Both are above zero when it came from text."""

    count: int
    period_s: float

    def __str__(self) -> str:
        """The text that parses to it: `200/min`, `5/15min`, `1/1h30m`, `10000/month`."""
        for unit, period_s in (("month", MONTH_S), ("week", WEEK_S)):
            if self.period_s == period_s:
                return f"{self.count}/{unit}"
        for unit in ("d", "h", "min", "s"):
            times = self.period_s / _DURATION_UNITS[unit]
            if times >= 1 and times.is_integer():
                return f"{self.count}/{unit}" if times == 1 else f"{self.count}/{int(times)}{unit}"
        return f"{self.count}/{format_duration(self.period_s)}"


def parse_duration(text: str) -> float:
    """Seconds from `250ms`, `10s`, `5m` (or `5min`), `1h30m`, `7d`, `2w`. Raises ValueError."""
    if not _DURATION.fullmatch(text):
        if _is_number(text):
            raise ValueError(f"`{text}` has no unit; write {text}s or {text}ms")
        raise ValueError(f"`{_short(text)}` is not a duration; write 250ms, 10s, 5m or 1h30m")
    return sum(float(part["number"]) * _DURATION_UNITS[part["unit"]] for part in _DURATION_PART.finditer(text))


def parse_size(text: str) -> int:
    """Bytes from `500B`, `64KiB` (1024), `10MB` (1000 * 1000), `1.5GiB`. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if not match or match["unit"] not in _SIZE_UNITS:
        if _is_number(text):
            raise ValueError(f"`{text}` has no unit; write {text}B, {text}KiB or {text}MiB")
        raise ValueError(f"`{_short(text)}` is not a size; write 500B, 64KiB or 10MB")
    size = float(match["number"]) * _SIZE_UNITS[match["unit"]]
    if not size.is_integer():
        raise ValueError(f"`{text}` is not a whole number of bytes; write 500B, 64KiB or 10MB")
    return int(size)


def parse_rate(text: str) -> Rate:
    """A rate from `10/s`, `200/min`, `5/15min`, `1000/month`. Raises ValueError, also for one that admits nothing."""
    match = _RATE.fullmatch(text)
    if not match:
        if _is_number(text):
            raise ValueError(f"`{text}` has no period; write {text}/s or {text}/min")
        raise ValueError(_not_a_rate(text))
    period = match["period"]
    try:
        period_s = _RATE_PERIODS.get(period) or parse_duration(period)
    except ValueError:
        raise ValueError(_not_a_rate(text)) from None
    count = int(match["count"])
    if count == 0 or period_s == 0.0:
        raise ValueError(f"`{text}` admits nothing; write at least 1 in a period above zero, such as 1/min")
    return Rate(count, period_s)


def parse_percent(text: str) -> float:
    """A fraction from 0.0 to 1.0, from `1%`, `0.5%` or `100%`. Raises ValueError."""
    if not _PERCENT.fullmatch(text):
        if _is_number(text):
            meant = text if float(text) >= 1 else _plain(float(text) * 100)
            raise ValueError(f"`{text}` has no percent sign; write {meant}%")
        raise ValueError(f"`{_short(text)}` is not a percentage; write 1% or 0.5%")
    percent = float(text[:-1])
    if percent > 100.0:
        raise ValueError(f"`{text}` is more than 100%; write 1% or 0.5%")
    return percent / 100.0


def format_duration(seconds: float) -> str:
    """The shortest usual text: `250ms`, `10s`, `1m30s`, `1d`. To the microsecond."""
    microseconds = round(seconds * 1e6)
    if microseconds == 0:
        return "0s"
    if microseconds < 1_000_000:
        return f"{_plain(microseconds / 1000)}ms"
    minutes, rest = divmod(microseconds, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{number}{unit}" for number, unit in ((days, "d"), (hours, "h"), (minutes, "m")) if number]
    return "".join(parts) + (f"{_plain(rest / 1e6)}s" if rest else "")


def format_size(size_bytes: int) -> str:
    """The text with the largest unit that is exact: `64KiB`, `10MB`, `1500B`."""
    for unit in ("GiB", "GB", "MiB", "MB", "KiB", "kB"):
        count, rest = divmod(size_bytes, _SIZE_UNITS[unit])
        if count and not rest:
            return f"{count}{unit}"
    return f"{size_bytes}B"


def _plain(number: float) -> str:
    return f"{number:.6f}".rstrip("0").rstrip(".")


def _is_number(text: str) -> bool:
    return re.fullmatch(_NUMBER, text) is not None


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def _not_a_rate(text: str) -> str:
    return f"`{_short(text)}` is not a rate; write 10/s, 200/min or 5/15min"
