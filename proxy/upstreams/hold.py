"""Requests that wait for a backend which refuses connections, because it is being restarted.

They are held apart from the pool's queue: a slot is worth nothing while nobody listens, and the queue's patience is for
a backend that is busy, not for one that is away. Bounded in number and in bytes of content; whoever leaves is dropped.
They go out in the order in which they came, as fast as the pools have room.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from proxy.core.tasks import Signal

__all__ = ["Held", "Hold", "HoldRules"]


@dataclass(frozen=True, slots=True)
class HoldRules:
    """How long an outage may last for its requests to wait, and how many of them may."""

    on_refused_s: float = 15.0  # from its beginning; 0: nobody waits
    requests: int = 1000
    max_bytes: int = 64 * 1024 * 1024  # of their content


class Held:
    """One request that waits. `signal` gives True when it may try again, False when its time is over."""

    __slots__ = ("content_bytes", "signal", "until_at")

    def __init__(self, content_bytes: int, until_at: float) -> None:
        self.content_bytes = content_bytes
        self.until_at = until_at  # monotonic
        self.signal: Signal[bool] = Signal()


class Hold:
    """The requests of one upstream that wait."""

    __slots__ = ("_held", "content_bytes", "refused", "total")

    def __init__(self) -> None:
        self._held: deque[Held] = deque()
        self.content_bytes = 0
        # counters, for metrics
        self.total = 0
        self.refused = 0

    def enter(self, content_bytes: int, until_at: float, rules: HoldRules) -> Held | None:
        """A place, or None: all are taken. Whoever got one calls `leave` when the wait is over, in every way."""
        if len(self._held) >= rules.requests or self.content_bytes + content_bytes > rules.max_bytes:
            self.refused += 1
            return None
        held = Held(content_bytes, until_at)
        self._held.append(held)
        self.content_bytes += content_bytes
        self.total += 1
        return held

    def leave(self, held: Held) -> None:
        """Take it out if it is here."""
        try:
            self._held.remove(held)
        except ValueError:
            return
        self.content_bytes -= held.content_bytes

    def release_one(self) -> None:
        """The one that came first goes on; it runs before this returns."""
        self._pop(0, True)

    def expire(self, now: float) -> None:
        """Whoever has waited long enough is told so."""
        for held in [held for held in self._held if held.until_at <= now]:
            if held in self._held:  # those before it ran, and may have taken others along
                self._pop(self._held.index(held), False)

    def _pop(self, position: int, may_go: bool) -> None:
        held = self._held[position]
        del self._held[position]
        self.content_bytes -= held.content_bytes
        if not held.signal.done():
            held.signal.set_result(may_go)

    def __len__(self) -> int:
        return len(self._held)
