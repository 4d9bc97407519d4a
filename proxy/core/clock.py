"""The only place that reads a clock. Rules take `now` as an argument; stages and protocols read it here, once.

`monotonic()` gives instants (`*_at`, float seconds, meaningful only in this process); `wall()` gives calendar time
(`*_wall`, float seconds since 1970). Tests replace neither: they pass `now`. Both are Final: what is compiled then
finds them without a look-up.
"""

import time
from typing import Final

from proxy.http.dates import format_date

__all__ = ["DateField", "monotonic", "wall"]

monotonic: Final = time.monotonic
wall: Final = time.time


class DateField:
    """The field line of Date with its CRLF, formatted at most once a second (RFC 9110 §6.6.1)."""

    __slots__ = ("_second", "line")

    def __init__(self) -> None:
        self._second = -1
        self.line = b""

    def line_at(self, now_wall: float) -> bytes:
        second = int(now_wall)
        if second != self._second:
            self._second = second
            self.line = b"Date: %b\r\n" % format_date(second)
        return self.line


DATE: Final = DateField()
