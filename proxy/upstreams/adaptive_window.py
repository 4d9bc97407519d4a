"""What an upstream answered in the last moment: how long nine of ten answers took at most."""

from __future__ import annotations

from typing import Final

__all__ = ["Window", "p90"]

WINDOW_S: Final = 0.1
MAX_WINDOW_S: Final = 1.0  # of one that waits for answers; then the few there are must do
ENOUGH: Final = 10
MAX_ANSWERS: Final = 1000  # of a window; more say nothing more


def p90(latencies_s: list[float]) -> float:
    """What nine of ten took at most; there must be one."""
    ordered = sorted(latencies_s)
    return ordered[(9 * len(ordered) - 1) // 10]


class Window:
    """It has 100 ms, and more while hardly anything comes. Once it `is_over` it is read and opened anew."""

    __slots__ = ("_began_at", "_latencies_s", "late_s", "most_in_use", "timeouts")

    def __init__(self) -> None:
        self._began_at: float | None = None  # with the first look
        self._latencies_s: list[float] = []
        self.timeouts = 0
        self.most_in_use = 0
        self.late_s = 0.0  # at most, of the looks

    def took(self, latency_s: float) -> None:
        if len(self._latencies_s) < MAX_ANSWERS:
            self._latencies_s.append(latency_s)

    def sees(self, in_use: int, now: float, late_s: float = 0.0) -> None:
        """A look at the slots in use, that much later than it should have been."""
        if self._began_at is None:
            self._began_at = now
        if late_s > self.late_s:
            self.late_s = late_s
        if in_use > self.most_in_use:
            self.most_in_use = in_use

    def is_over(self, now: float) -> bool:
        """It may be closed: there is something to go by."""
        count, elapsed_s = len(self._latencies_s), self.elapsed_s(now)
        if elapsed_s < WINDOW_S:
            return False
        return count >= ENOUGH or self.timeouts > 0 or elapsed_s >= MAX_WINDOW_S

    @property
    def p90_s(self) -> float | None:
        """None without an answer."""
        return p90(self._latencies_s) if self._latencies_s else None

    def open(self, now: float) -> None:
        self._began_at = now
        self._latencies_s.clear()
        self.timeouts = self.most_in_use = 0
        self.late_s = 0.0

    def elapsed_s(self, now: float) -> float:
        return 0.0 if self._began_at is None else now - self._began_at
