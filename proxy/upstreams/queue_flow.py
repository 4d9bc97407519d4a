"""How long an endpoint holds a slot, without a clock in the way of any exchange.

Little's law: what is in use, on average, is what begins in a second times how long each takes. Both sides are read
about twenty times a second, and whenever somebody waits. So it costs nothing where nobody does.
"""

from __future__ import annotations

from math import exp
from typing import Final

__all__ = ["MAX_RETRY_AFTER_S", "Flow", "retry_after_s"]

MAX_RETRY_AFTER_S: Final = 30.0
_FADES_S: Final = 3.0  # a mean over about this long
_ENOUGH: Final = 1.0  # leases; of fewer nothing is concluded


class Flow:
    """Of one endpoint. Older figures fade, so that a backend that is quick again is seen to be so at once: it brings
    many new leases, and they outweigh the few old ones."""

    __slots__ = ("_at", "_begun", "_busy_s", "_elapsed_s", "_in_use", "_leases")

    def __init__(self, now: float) -> None:
        self._at = now
        self._in_use = 0
        self._begun = 0
        self._busy_s = 0.0  # slot seconds
        self._leases = 0.0
        self._elapsed_s = 0.0

    def sample(self, in_use: int, begun: int, now: float) -> None:
        """`in_use` now; `begun` is a running total of leases."""
        elapsed_s = now - self._at
        if elapsed_s <= 0.0:
            return
        fade = exp(-elapsed_s / _FADES_S)
        self._busy_s = self._busy_s * fade + (self._in_use + in_use) * 0.5 * elapsed_s
        self._leases = self._leases * fade + (begun - self._begun)
        self._elapsed_s = self._elapsed_s * fade + elapsed_s
        self._at, self._in_use, self._begun = now, in_use, begun

    @property
    def mean_s(self) -> float | None:
        """Seconds that a lease lasts; None when too few were seen lately to say."""
        return self._busy_s / self._leases if self._leases >= _ENOUGH else None

    @property
    def per_second(self) -> float:
        """Leases a second, lately."""
        return self._leases / self._elapsed_s if self._elapsed_s else 0.0


def retry_after_s(waiting: int, drain_per_s: float | None) -> float:
    """When a line of `waiting` will have been served: from 1 s, also when nothing is known, to 30 s."""
    if drain_per_s is None:
        return 1.0
    if drain_per_s * MAX_RETRY_AFTER_S <= waiting:
        return MAX_RETRY_AFTER_S
    return max(waiting / drain_per_s, 1.0)
