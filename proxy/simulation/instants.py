"""The ways in which logs write a time, as seconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_MONTHS: Final = {
    month: number
    for number, month in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}


@lru_cache(maxsize=64)
def common_time(text: bytes) -> float | None:
    """`10/Oct/2000:13:55:36 -0700`, the form of the common log format. None when it is not that.

    The answer for a second is remembered: lines of one second come together.
    """
    if len(text) != 26 or text[2:3] != b"/" or text[6:7] != b"/" or text[11:12] != b":" or text[21:22] not in b"+-":
        return None
    try:
        at = datetime(
            int(text[7:11]), _MONTHS[text[3:6]], int(text[:2]), int(text[12:14]), int(text[15:17]), int(text[18:20])
        )
        east_s = int(text[22:24]) * 3600 + int(text[24:26]) * 60
    except (ValueError, KeyError):
        return None
    return at.replace(tzinfo=UTC).timestamp() - (east_s if text[21:22] == b"+" else -east_s)


def iso_time(text: str) -> float | None:
    """RFC 3339 and what resembles it; without an offset it is UTC. None when it is no time."""
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def number_time(text: bytes) -> float | None:
    """Seconds with a fraction, `1767225600.250`. None when it is none, or too far away to be a time."""
    try:
        at = float(text)
    except ValueError:
        return None
    return at if 0.0 <= at < 1e11 else None


def text_of(wall: float) -> str:
    """`2026-01-01 00:00:00`, UTC, for people."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S")
