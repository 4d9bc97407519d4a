"""Breaker: when to stop asking a store that does not answer, and when to try again.

Closed, every request asks the store. After `FAILURES` failures in a row it opens: nobody asks, so nobody waits. After
about two seconds one probe may go out; its success closes the breaker, its failure opens it for as long again.
"""

from __future__ import annotations

from typing import Final

FAILURES: Final = 5
LONGEST_OPEN_S: Final = 2.0
JITTER: Final = 0.25  # the share of it that is drawn, so that a fleet does not probe in step


class Breaker:
    """Pure: `now` is monotonic, `draw` is a number from 0.0 to 1.0."""

    __slots__ = ("_failures", "_probe_at", "is_closed")

    def __init__(self) -> None:
        self.is_closed = True
        self._failures = 0
        self._probe_at = 0.0

    def failed(self, now: float, draw: float) -> bool:
        """A call or a probe failed, or was too late. True when that opened the breaker, or keeps it open."""
        self._failures += 1
        if self.is_closed and self._failures < FAILURES:
            return False
        self.is_closed = False
        self._probe_at = now + LONGEST_OPEN_S * (1.0 - JITTER * draw)
        return True

    def succeeded(self) -> None:
        """A call or a probe was answered in time."""
        self.is_closed = True
        self._failures = 0

    def probe_in_s(self, now: float) -> float:
        """Seconds until the next probe may go out; 0.0 when it may."""
        return 0.0 if self.is_closed else max(0.0, self._probe_at - now)

    @property
    def state(self) -> str:
        return "closed" if self.is_closed else "open"
