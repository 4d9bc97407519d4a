"""One line at the gate: claims that the same pools will do for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Generic

from proxy.upstreams.claims import Claim
from proxy.upstreams.lease import ConnectionT
from proxy.upstreams.queue import WaitQueue
from proxy.upstreams.shed import Shedding
from proxy.upstreams.upstream import PoolNumbers

if TYPE_CHECKING:
    from proxy.upstreams.pool import EndpointPool

__all__ = ["Line", "freest"]

_LEAST_S: Final = 1e-6  # that a lease can last, so that nothing is divided by zero


class Line(Generic[ConnectionT]):
    """All lines of an upstream have the bounds of the configuration, each for itself."""

    __slots__ = ("pools", "queue", "shedding")

    def __init__(self, pools: Sequence[EndpointPool[ConnectionT]], numbers: PoolNumbers) -> None:
        self.pools = tuple(pools)
        self.queue: WaitQueue[Claim[ConnectionT]] = WaitQueue(numbers.queue, numbers.queue_bytes)
        self.shedding = Shedding()

    def free(self, slots: int) -> EndpointPool[ConnectionT] | None:
        """The pool with a free slot that has most of them. What drains serves those who were let in before.

        `slots` are those of the configuration in force: a reload tells one pool after the other.
        """
        return freest(self.pools, slots)

    def drain_per_s(self, cap: int | None, now: float) -> float | None:
        """How many of the line are served in a second when all its slots are busy, from what its pools show; None
        while none of them has shown anything. `cap` is what all endpoints may have together."""
        slots = known_slots = 0
        known = 0.0
        for pool in self.pools:
            pool.sample(now)
            most = pool.numbers.max_in_flight
            slots += most
            if (mean_s := pool.flow.mean_s) is not None:
                known += most / max(mean_s, _LEAST_S)
                known_slots += most
        if not known_slots:
            return None
        rate = known * slots / known_slots  # those that showed nothing count like the others
        return rate if cap is None else rate * min(1.0, cap / slots)


def freest(pools: Sequence[EndpointPool[ConnectionT]], slots: int) -> EndpointPool[ConnectionT] | None:
    """See Line.free."""
    most, found = 0, None
    for pool in pools:
        spare = min(slots, pool.numbers.max_in_flight) - pool.in_use
        if spare > most:
            most, found = spare, pool
    return found
