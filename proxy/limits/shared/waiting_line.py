"""The requests that wait for the store, in order of arrival, and the one timer that ends waits.

All have the same patience, so the oldest is always the next to lose it: no request needs a timer of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from proxy.core.clock import monotonic
from proxy.core.tasks import Signal
from proxy.limits.policy import LimitPolicy
from proxy.limits.shared.parts import Parts
from proxy.limits.verdict import Verdict

_GRACE_S: Final = 0.001  # the last part of a wait, in which a reply that is here already gets read
GRAIN_S: Final = 0.001  # timers are this coarse: waits that end so close to each other end together
# A wait has two timers, each up to a grain late, and perhaps another wait's just ahead of it: it ends that much sooner
_EARLY_S: Final = 0.004
_EARLY_SHARE: Final = 0.16  # but no more than this part of the patience


def longest_wait_s(patience_s: float) -> float:
    """After that a request stops waiting, so that it has its verdict when its patience is over."""
    return patience_s - min(_EARLY_S, patience_s * _EARLY_SHARE)


class Ticket(Signal[Verdict]):
    """One request that waits: for its verdict, never for an exception. It may be cancelled: then the client left."""

    __slots__ = ("asked_at", "is_sent", "keys", "member", "parts", "policies")

    word: ClassVar[bytes] = b""  # it wants a decision

    def __init__(
        self,
        policies: tuple[LimitPolicy, ...],
        keys: Sequence[bytes],
        asked_at: float,
        member: bytes,
        parts: Parts | None,
    ) -> None:
        super().__init__()
        self.policies = policies
        self.keys = keys
        self.asked_at = asked_at
        self.member = member
        self.parts = parts  # of a request that is decided here for some of its limits; `policies` are the others
        self.is_sent = False  # it may have been charged


class WaitingLine:
    """Belongs to the running loop. `expired` gets the tickets whose patience ended, oldest first, still undecided."""

    __slots__ = ("_expired", "_in_flight", "_loop", "_queue", "_timer", "patience_s")

    def __init__(self, patience_s: float, expired: Callable[[list[Ticket]], None]) -> None:
        self.patience_s = patience_s
        self._expired = expired
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Ticket] = deque()
        self._in_flight: list[list[Ticket]] = []  # groups, in the order in which they set out
        self._timer: asyncio.Handle | None = None

    def __bool__(self) -> bool:
        """Someone waits to be taken along."""
        return bool(self._queue)

    def add(
        self,
        policies: tuple[LimitPolicy, ...],
        keys: Sequence[bytes],
        now: float,
        member: bytes = b"",
        parts: Parts | None = None,
    ) -> Ticket:
        """Stand in line."""
        ticket = Ticket(policies, keys, now, member, parts)
        self._queue.append(ticket)
        if self._timer is None:
            self._timer = self._loop.call_later(max(longest_wait_s(self.patience_s) - _GRACE_S, 0.0), self._look)
        return ticket

    def take(self, most: int) -> list[Ticket]:
        """The next group, at most `most`, without those that nobody waits for any more: they are not charged."""
        queue = self._queue
        group: list[Ticket] = []
        while queue and len(group) < most:
            ticket = queue.popleft()
            if not ticket.done():
                ticket.is_sent = True
                group.append(ticket)
        if group:
            self._in_flight.append(group)
        return group

    def landed(self, group: list[Ticket]) -> None:
        """A group that was taken has been decided, one way or the other."""
        if self._in_flight and self._in_flight[0] is group:
            del self._in_flight[0]
        else:  # a later one, or it was cleared, or has expired: an empty group is nowhere
            self._in_flight = [other for other in self._in_flight if other is not group]

    def clear(self) -> list[Ticket]:
        """Take out everyone, in flight too, who is still undecided."""
        sent = [ticket for group in self._in_flight for ticket in group]
        tickets = [ticket for ticket in (*sent, *self._queue) if not ticket.done()]
        self._in_flight = []
        self._queue.clear()
        return tickets

    def close(self) -> None:
        """No timer is left behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Is the oldest about to have waited long enough?"""
        left_s = self._patience_left_s()
        if left_s is None:
            self._timer = None
        elif left_s > _GRACE_S + GRAIN_S:
            self._timer = self._loop.call_later(left_s - _GRACE_S, self._look)
        else:
            # If it was this process that stood still, the reply lies unread in the socket. A loop may run its timers
            # before it reads, and callbacks before what it read is acted upon: so first one, then the other.
            self._timer = self._loop.call_later(_GRACE_S, self._read_first)

    def _read_first(self) -> None:
        self._timer = self._loop.call_soon(self._end)

    def _end(self) -> None:
        """End every wait that was long enough."""
        due = monotonic() + GRAIN_S - longest_wait_s(self.patience_s)
        sent = [ticket for group in self._in_flight for ticket in group if not ticket.done()]
        expired = [ticket for ticket in sent if ticket.asked_at <= due]
        queue = self._queue
        while queue and queue[0].asked_at <= due:
            ticket = queue.popleft()
            if not ticket.done():
                expired.append(ticket)
        if expired:
            self._expired(expired)
        left_s = self._patience_left_s()
        self._timer = None if left_s is None else self._loop.call_later(max(left_s - _GRACE_S, 0.0), self._look)

    def _patience_left_s(self) -> float | None:
        """Of the oldest, or None when nobody waits."""
        sent = (ticket for group in self._in_flight for ticket in group if not ticket.done())
        oldest = next(sent, None) or (self._queue[0] if self._queue else None)
        return None if oldest is None else oldest.asked_at + longest_wait_s(self.patience_s) - monotonic()
