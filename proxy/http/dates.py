"""HTTP dates (RFC 9110 §5.6.7): one form to write, exactly three to read. No locale, no time zones, no guessing."""

from __future__ import annotations

from datetime import date
from typing import Final

__all__ = ["format_date", "parse_date"]

_DAYS: Final = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_LONG_DAYS: Final = (b"Monday", b"Tuesday", b"Wednesday", b"Thursday", b"Friday", b"Saturday", b"Sunday")
_MONTHS: Final = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_DAY_NAMES: Final = frozenset(name.lower() for name in _DAYS)
_LONG_DAY_NAMES: Final = frozenset(name.lower() for name in _LONG_DAYS)
_MONTH_NUMBERS: Final = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}
_EPOCH: Final = date(1970, 1, 1).toordinal()
_LAST: Final = (date(9999, 12, 31).toordinal() - _EPOCH + 1) * 86400 - 1
_FIFTY_YEARS_S: Final = 50 * 365.2425 * 86400


def format_date(seconds: int) -> bytes:
    """IMF-fixdate from seconds since 1970: `Sun, 06 Nov 1994 08:49:37 GMT`. Kept within the years 1970 to 9999."""
    days, rest = divmod(min(max(seconds, 0), _LAST), 86400)
    day = date.fromordinal(_EPOCH + days)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    return b"%b, %02d %b %04d %02d:%02d:%02d GMT" % (
        _DAYS[day.weekday()],
        day.day,
        _MONTHS[day.month - 1],
        day.year,
        hours,
        minutes,
        rest,
    )


def parse_date(value: bytes, now_wall: float) -> int | None:
    """Seconds since 1970 (below zero before it), or None for all that is not one of the three forms (rule 4).

    Names and GMT are read in any case. `now_wall` decides the century of the form that has a two-digit year. The name
    of the day must be one, but not the right one: recipients need not check it.
    """
    text = value.lower()
    if len(text) == 29:
        return _imf_fixdate(text)
    if len(text) == 24:
        return _asctime(text)
    return _rfc850(text, now_wall)


def _imf_fixdate(text: bytes) -> int | None:
    """`sun, 06 nov 1994 08:49:37 gmt`"""
    if text[:3] not in _DAY_NAMES or text[3:5] != b", " or text[25:] != b" gmt":
        return None
    if text[7:8] != b" " or text[11:12] != b" " or text[16:17] != b" ":
        return None
    return _seconds(_number(text[12:16]), text[8:11], _number(text[5:7]), text[17:25])


def _rfc850(text: bytes, now_wall: float) -> int | None:
    """`sunday, 06-nov-94 08:49:37 gmt`"""
    name, comma, rest = text.partition(b", ")
    if not comma or name not in _LONG_DAY_NAMES or len(rest) != 22 or rest[18:] != b" gmt":
        return None
    year = _number(rest[7:9])
    if year is None or rest[2:3] != b"-" or rest[6:7] != b"-" or rest[9:10] != b" ":
        return None
    # the latest year with these digits that is not more than 50 years ahead
    horizon = date.fromordinal(_EPOCH + int(now_wall) // 86400).year + 50
    year = horizon - (horizon - year) % 100
    month, day, clock = rest[3:6], _number(rest[:2]), rest[10:18]
    seconds = _seconds(year, month, day, clock)
    if seconds is not None and seconds - now_wall > _FIFTY_YEARS_S:
        return _seconds(year - 100, month, day, clock)
    return seconds


def _asctime(text: bytes) -> int | None:
    """`sun nov  6 08:49:37 1994`, with a blank for the first digit of the day"""
    if text[:3] not in _DAY_NAMES or text[3:4] != b" " or text[7:8] != b" ":
        return None
    if text[10:11] != b" " or text[19:20] != b" ":
        return None
    day = text[9:10] if text[8:9] == b" " else text[8:10]
    return _seconds(_number(text[20:24]), text[4:7], _number(day), text[11:19])


def _seconds(year: int | None, month_name: bytes, day: int | None, clock: bytes) -> int | None:
    month = _MONTH_NUMBERS.get(month_name)
    if year is None or month is None or day is None or clock[2:3] != b":" or clock[5:6] != b":":
        return None
    hours, minutes, seconds = _number(clock[:2]), _number(clock[3:5]), _number(clock[6:8])
    if hours is None or minutes is None or seconds is None or hours > 23 or minutes > 59:
        return None
    if seconds > 60:  # 60 is a leap second
        return None
    try:
        ordinal = date(year, month, day).toordinal()
    except ValueError:
        return None
    return (ordinal - _EPOCH) * 86400 + hours * 3600 + minutes * 60 + seconds


def _number(digits: bytes) -> int | None:
    """ASCII digits only: int() alone would take signs, blanks and underscores."""
    return int(digits) if digits.isdigit() else None
