"""Whether a line is too long for too long: then the newest in it are served first.

A queue is there for bursts: it fills and it empties, and while it does, first come is first served. One that has not
emptied for half a second holds back everybody for nothing: each request is served when its client has nearly given up.
So it is told from a burst as CoDel does it (RFC 8289 §4.2): not by its length but by the least wait within an
interval. Serving the newest first then answers most of them in time, and the price is paid by those who wait longest.
"""

from __future__ import annotations

from typing import Final

__all__ = ["INTERVAL_S", "TARGET_S", "Overload"]

TARGET_S: Final = 0.1  # a wait that no client minds
INTERVAL_S: Final = 0.5  # a burst is over by then
_NEVER: Final = float("inf")


class Overload:
    """Looks at how long the head, which is who has waited longest, has been there. 0.0 is an empty line."""

    __slots__ = ("_above_since", "is_sustained")

    def __init__(self) -> None:
        self.is_sustained = False
        self._above_since = _NEVER

    def observe(self, head_wait_s: float, now: float) -> None:
        """One look below the target says that the line is short, whatever was before."""
        if head_wait_s < TARGET_S:
            self._above_since = _NEVER
            self.is_sustained = False
        elif self._above_since == _NEVER:
            self._above_since = now
        elif now - self._above_since >= INTERVAL_S:
            self.is_sustained = True
