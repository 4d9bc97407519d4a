"""Wall-clock time as the logs write it: RFC 3339, UTC, milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime

_MILLISECONDS = tuple(f"{count:03d}Z" for count in range(1000))


class Timestamps:
    """Text of instants; what changes once a second is made once a second: "2026-01-01T00:00:00.250Z"."""

    __slots__ = ("_prefix", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def at(self, wall: float) -> str:
        second = int(wall)
        if second != self._second:
            self._second = second
            self._prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        return self._prefix + _MILLISECONDS[int((wall - second) * 1000.0)]


def rfc3339(wall: float) -> str:
    return Timestamps().at(wall)
