"""What an upstream takes when it has less to do: measured now and then under a load that never lets up.

For a moment it gets half of its limit, and what is sent in that moment is timed. When answers come in nearly half the
time, then nothing was gained by the other half: it only waited inside the backend, and the half is halved again. Where
halving does cost throughput, it is for one step. Never below `least`: a measurement that lets hardly anything through
would be an outage of its own.
"""

from __future__ import annotations

from typing import Final

from proxy.upstreams.adaptive_window import p90

__all__ = ["Measure"]

HALF: Final = 0.5
GAINED: Final = 0.6  # of the time before: then all that was taken away had only been waiting
ANSWERS: Final = 20  # of a step
FEW: Final = 5  # are enough when no more come in time
MAX_STEP_S: Final = 2.0


class Measure:
    """One measurement. `level` is what may be in use; when `tick` says that it is over, `usual_s` is what was found
    (None: too little came) and `limit` the most that makes sense to go on with. `before_s`: what they took before."""

    __slots__ = ("_began_at", "_latencies_s", "_least", "_settled_at", "before_s", "level", "limit", "usual_s")

    def __init__(self, limit: float, least: int, before_s: float, now: float) -> None:
        self.limit = limit
        self.usual_s: float | None = None
        self._least = least
        self.before_s = before_s
        self._latencies_s: list[float] = []
        self._settled_at: float | None = None  # since when no more than `level` are in use
        self._begin(now)

    def took(self, latency_s: float, now: float) -> None:
        """An answer. Those count whose request was sent when no more than `level` were in use."""
        if self._settled_at is not None and now - latency_s >= self._settled_at:
            self._latencies_s.append(latency_s)

    def tick(self, in_use: int, now: float) -> bool:
        """Move on; True when it is over."""
        if self._settled_at is None and in_use <= self.level:
            self._settled_at = now
        is_late = now - self._began_at >= MAX_STEP_S
        if len(self._latencies_s) < (FEW if is_late else ANSWERS):
            return is_late
        found_s = p90(self._latencies_s)
        if found_s > GAINED * self.before_s or self.level <= self._least:
            self.usual_s = found_s
            return True
        self.limit = self.level
        self.before_s = found_s
        self._begin(now)
        return False

    def _begin(self, now: float) -> None:
        self.level = max(self.limit * HALF, float(self._least))
        self._began_at = now
        self._settled_at = None
        self._latencies_s.clear()
