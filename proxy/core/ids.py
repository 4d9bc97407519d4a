"""Request identifiers: UUID version 7 (RFC 9562 §5.7), made cheaply.

The first 48 bits are Unix milliseconds, then 12 bits that count within the millisecond, then 62 random bits, drawn anew
for each millisecond (RFC 9562 §6.2, method 1). Only the count changes in between, and its text is looked up.
"""

from __future__ import annotations

from random import Random
from typing import Final

from proxy.core.clock import wall

_bits = Random().getrandbits
_COUNTS: Final = tuple([b"%03x" % count for count in range(0x1000)])


class RequestIds:
    """Makes UUIDv7 text as ASCII bytes, in ascending order for one worker."""

    __slots__ = ("_count", "_millisecond", "_prefix", "_suffix")

    def __init__(self) -> None:
        self._millisecond = -1
        self._count = 0
        self._prefix = b""
        self._suffix = b""

    def next(self) -> bytes:
        """The next identifier, 36 ASCII bytes such as b"0192f0c1-2b3a-7000-9b1c-4dd7f0a1b2c3"."""
        millisecond = int(wall() * 1000.0)
        count = self._count
        if millisecond > self._millisecond:
            self._restart(millisecond)
            count = 0
        elif count > 0xFFF:  # RFC 9562 §6.2: borrow the next millisecond rather than repeat
            self._restart(self._millisecond + 1)
            count = 0
        self._count = count + 1
        return self._prefix + _COUNTS[count] + self._suffix

    def _restart(self, millisecond: int) -> None:
        self._millisecond = millisecond
        text = b"%012x" % millisecond
        self._prefix = text[:8] + b"-" + text[8:] + b"-7"
        bits = _bits(62)
        self._suffix = b"-%04x-%012x" % (0x8000 | (bits >> 48), bits & 0xFFFFFFFFFFFF)
