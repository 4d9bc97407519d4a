"""How late the event loop is. Everything that blocks it, ours or a library's, shows here and nowhere else."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from typing import Final

PERIOD_S: Final = 0.5
BOUNDS_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class LoopLag:
    """Asks to be called every half second and notes how late the call came."""

    __slots__ = ("_expected_at", "_handle", "buckets", "last_s", "total_s")

    def __init__(self) -> None:
        self.last_s = 0.0
        self.total_s = 0.0
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self._expected_at = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._expected_at = loop.time() + PERIOD_S
        self._handle = loop.call_later(PERIOD_S, self._tick, loop)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def note(self, now: float) -> None:
        """The call that was due at the expected instant came at `now`."""
        self.last_s = lag_s = max(0.0, now - self._expected_at)  # timers count whole milliseconds, so it may be early
        self.total_s += lag_s
        self.buckets[bisect_left(BOUNDS_S, lag_s)] += 1
        self._expected_at = now + PERIOD_S

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.note(loop.time())
        self._handle = loop.call_later(PERIOD_S, self._tick, loop)
