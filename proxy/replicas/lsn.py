"""Positions in Postgres' write-ahead log, and the log that they are positions in."""

from __future__ import annotations

from typing import NamedTuple


class History(NamedTuple):
    """One line of one cluster's log. Positions of different histories say nothing about one another: a promotion
    begins another timeline, and what the old primary wrote after that never happened."""

    system_id: int
    timeline: int


def parse_lsn(text: str) -> int:
    """`16/B374D848` as bytes since the beginning of the log. Raises ValueError."""
    high, slash, low = text.partition("/")
    if not slash or not (0 < len(high) <= 8 and 0 < len(low) <= 8) or not (_is_hex(high) and _is_hex(low)):
        raise ValueError(f"not a position in a log: {text[:40]!r}")
    return int(high, 16) << 32 | int(low, 16)


def format_lsn(lsn: int) -> str:
    """As Postgres writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def end_of_records(lsn: int, page_bytes: int, segment_bytes: int) -> int:
    """Where the last record before the insert position `lsn` ends at most.

    The insert position stands behind the header of a page that nothing was written to yet, and a standby that has
    everything stands before it: on an idle server it would look behind for as long as nobody writes. A page's header
    has 24 bytes, and 40 where the page begins a segment (access/xlog_internal.h); what a record leaves over to the next
    page stands behind the header, so this is exact.
    """
    start = lsn - lsn % page_bytes
    header = 40 if start % segment_bytes == 0 else 24
    return start if lsn - start == header else lsn


def _is_hex(text: str) -> bool:
    return all(character in "0123456789abcdefABCDEF" for character in text)
