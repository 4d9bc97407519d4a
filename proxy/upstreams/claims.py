"""Leases that somebody waits for, and the bounded queue of them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Generic

from proxy.core.errors import ProxyError
from proxy.upstreams.lease import ConnectionT, Lease

__all__ = ["Claim", "ClaimQueue", "Throughput"]

_MAX_RETRY_AFTER_S: Final = 30.0


class Claim(Generic[ConnectionT]):
    """A lease to come. It waits for a slot, then perhaps for a connect, and ends once: with its future."""

    __slots__ = ("deadline_at", "expires_at", "fresh", "future", "queue_s", "since", "task")

    def __init__(self, now: float, deadline_at: float, fresh: bool) -> None:
        self.future: asyncio.Future[Lease[ConnectionT]] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[ConnectionT | ProxyError] | None = None  # the connect, once there is one
        self.since = now
        self.deadline_at = deadline_at
        self.expires_at = deadline_at  # of the present wait
        self.fresh = fresh  # an idle connection will not do
        self.queue_s = 0.0

    def fail(self, error: ProxyError) -> None:
        """End it, and the connect with it."""
        if not self.future.done():
            self.future.set_exception(error)
        if self.task is not None:
            self.task.cancel()


class ClaimQueue(Generic[ConnectionT]):
    """First in, first out. Whoever leaves is taken out at once and never served."""

    __slots__ = ("_claims", "is_empty")

    def __init__(self) -> None:
        self._claims: deque[Claim[ConnectionT]] = deque()
        self.is_empty = True  # read at every release

    def append(self, claim: Claim[ConnectionT], expires_at: float) -> None:
        claim.expires_at = min(claim.deadline_at, expires_at)
        self._claims.append(claim)
        self.is_empty = False

    def pop(self) -> Claim[ConnectionT] | None:
        """The claim that has waited longest."""
        while self._claims:
            claim = self._claims.popleft()
            self.is_empty = not self._claims
            if not claim.future.done():  # else its client left in this very turn of the loop
                return claim
        return None

    def remove(self, claim: Claim[ConnectionT]) -> None:
        """Take it out if it is here."""
        try:
            self._claims.remove(claim)
        except ValueError:
            return
        self.is_empty = not self._claims

    def expired(self, now: float) -> list[Claim[ConnectionT]]:
        """Take out and return what has waited too long."""
        claims = [claim for claim in self._claims if claim.expires_at <= now]
        for claim in claims:
            self.remove(claim)
        return claims

    def clear(self) -> list[Claim[ConnectionT]]:
        """Take out and return all."""
        claims = list(self._claims)
        self._claims.clear()
        self.is_empty = True
        return claims

    def __len__(self) -> int:
        return len(self._claims)


class Throughput:
    """Leases a second, lately: what a full queue can promise."""

    __slots__ = ("_leases", "_measured_at", "_rate")

    def __init__(self, now: float) -> None:
        self._measured_at = now
        self._leases = 0
        self._rate = 0.0

    def measure(self, leases: int, now: float) -> None:
        """Called about once a second with a running total. Half of the figure is the last second's."""
        self._rate = (self._rate + (leases - self._leases) / max(now - self._measured_at, 1e-3)) / 2.0
        self._leases = leases
        self._measured_at = now

    def retry_after_s(self, waiting: int) -> float:
        """When a queue of `waiting` will have been served: from 1 s, also when nothing is known, to 30 s."""
        if self._rate <= 0.0:
            return 1.0
        return min(max((waiting + 1) / self._rate, 1.0), _MAX_RETRY_AFTER_S)
