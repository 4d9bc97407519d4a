"""When the primary had reached which position: what turns a replica's position into seconds.

A replica that has everything up to a position is as old as the moment at which the primary was there. Both moments are
read from one clock, ours; and an idle primary makes no replica old, for its position stands still.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final, NamedTuple

INTERVAL_S: Final = 0.1
SIZE: Final = 600  # a minute


class Lag(NamedTuple):
    """How old a replica is, in seconds: not younger than `least_s`, not older than `most_s`."""

    least_s: float
    most_s: float


class LsnRing:
    """Instants and positions, both rising: one each `interval_s`, and the newest one whenever it came."""

    __slots__ = ("_at", "_interval_s", "_lsns", "_size")

    def __init__(self, size: int = SIZE, interval_s: float = INTERVAL_S) -> None:
        self._size = size
        self._interval_s = interval_s
        self._at: list[float] = []
        self._lsns: list[int] = []

    def __len__(self) -> int:
        return len(self._at)

    def add(self, at: float, lsn: int) -> None:
        """The primary had reached `lsn` when it was asked at `at`, or soon after. A position before the last one means
        that it is another history: everything before is forgotten."""
        at_s, lsns = self._at, self._lsns
        if lsns and lsn < lsns[-1]:
            self.clear()
        elif len(at_s) > 1 and at - at_s[-2] < self._interval_s:
            at_s[-1], lsns[-1] = at, lsn  # the newest is not yet far enough from the one before to stay
            return
        at_s.append(at)
        lsns.append(lsn)
        if len(at_s) >= 2 * self._size:
            del at_s[: -self._size], lsns[: -self._size]

    def clear(self) -> None:
        self._at.clear()
        self._lsns.clear()

    def lag(self, replayed: int, at: float) -> Lag:
        """How old, at `at`, a server is that has everything up to `replayed`. Unknown is infinitely old."""
        at_s, lsns = self._at, self._lsns
        reached = bisect_right(lsns, replayed)
        most_s = at - at_s[reached - 1] if reached else float("inf")
        least_s = at - at_s[reached] if reached < len(at_s) else 0.0
        return Lag(max(least_s, 0.0), max(most_s, 0.0))

    def reached_at(self, lsn: int) -> float | None:
        """When the primary is known to have been at `lsn` or beyond; None: it never was."""
        found = bisect_left(self._lsns, lsn)
        return self._at[found] if found < len(self._at) else None
