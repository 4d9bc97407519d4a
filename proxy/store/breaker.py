"""Breaker: when to stop asking a store that does not answer, and when to try again.

Closed, every request asks the store. It opens after `FAILURES` failures in a row, or when most of the answers of a
second came too late: then nobody asks, so nobody waits. After 1.5 s at most one probe may go out; its success
closes the breaker, its failure opens it for as long again.
"""

from __future__ import annotations

from typing import Final

FAILURES: Final = 5
LONGEST_OPEN_S: Final = (
    1.5  # so that a store that is back is in use within two seconds, also if Sentinels are asked first
)
JITTER: Final = 0.25  # the share of it that is drawn, so that a fleet does not probe in step
WINDOW_S: Final = 1.0  # in which answers are compared


class Breaker:
    """Pure: `now` is monotonic, `draw` is a number from 0.0 to 1.0."""

    __slots__ = ("_answers", "_failures", "_late", "_probe_at", "_window_ends_at", "is_closed")

    def __init__(self) -> None:
        self.is_closed = True
        self._failures = 0
        self._probe_at = 0.0
        self._answers = 0  # in this window
        self._late = 0  # of those
        self._window_ends_at = 0.0

    def answered(self, is_late: bool, now: float, draw: float) -> bool:
        """A call of a closed breaker was answered, within its time or not. True when that opened the breaker."""
        if now >= self._window_ends_at:
            self._window_ends_at = now + WINDOW_S
            self._answers = self._late = 0
        self._answers += 1
        if not is_late:
            self._failures = 0
            return False
        self._late += 1
        if self._late < FAILURES or 2 * self._late <= self._answers:
            return False
        self._open(now, draw)
        return True

    def failed(self, now: float, draw: float) -> bool:
        """A call or a probe failed, or had no answer in time. True when that opened the breaker, or keeps it open."""
        self._failures += 1
        if self.is_closed and self._failures < FAILURES:
            return False
        self._open(now, draw)
        return True

    def succeeded(self) -> None:
        """A probe was answered in time."""
        self.is_closed = True
        self._failures = 0
        self._window_ends_at = 0.0

    def probe_in_s(self, now: float) -> float:
        """Seconds until the next probe may go out; 0.0 when it may."""
        return 0.0 if self.is_closed else max(0.0, self._probe_at - now)

    def state(self, now: float) -> str:
        """closed, open, or half-open: a probe decides."""
        if self.is_closed:
            return "closed"
        return "open" if self._probe_at > now else "half-open"

    def _open(self, now: float, draw: float) -> None:
        self.is_closed = False
        self._probe_at = now + LONGEST_OPEN_S * (1.0 - JITTER * draw)
