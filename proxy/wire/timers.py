"""Deadlines of connections, looked at by one coarse sweep.

A connection's deadline moves several times a request (head, content, idle), so a timer for each would cost more than
the request. Here a move is one assignment to `deadline_at`, and a sweep compares them all: about 15 ns a connection.
A deadline is late by at most the sweep's period.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from proxy.core.clock import monotonic

NEVER: Final = float("inf")


class Timed(Protocol):
    """Something with a deadline on the monotonic clock; NEVER when it has none now."""

    deadline_at: float

    def expired(self, now: float) -> None:
        """The deadline has passed. Sets the next one or NEVER, or is closed and removed."""


class Timers:
    """Sweeps everything that was added, every `period_s` seconds. One per worker and kind of connection."""

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self._timed: set[Timed] = set()
        self._handle: asyncio.TimerHandle | None = None
        self.add = self._timed.add
        self.remove = self._timed.discard

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._handle = loop.call_later(self.period_s, self._tick, loop)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def sweep(self, now: float) -> None:
        """Call `expired(now)` on all whose deadline has passed."""
        for timed in [timed for timed in self._timed if timed.deadline_at <= now]:
            timed.expired(now)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._handle = loop.call_later(self.period_s, self._tick, loop)
        self.sweep(monotonic())

    def __len__(self) -> int:
        return len(self._timed)
