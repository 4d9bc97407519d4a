"""Leases that somebody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any, Final, Generic

from proxy.core.errors import ProxyError
from proxy.upstreams.address import Address
from proxy.upstreams.lease import ConnectionT, Lease
from proxy.upstreams.queue import NORMAL

__all__ = ["ANYBODY", "Bid", "Claim", "Reach"]


class Reach:
    """Which endpoints will do. Each is a line of its own, for each waits for other slots."""

    PRIMARY: Final = 0
    REPLICA: Final = 1  # a replica; the primary while no replica is up
    REPLICA_ONLY: Final = 2
    ONE: Final = 3  # only the endpoint that was chosen


class Bid:
    """What counts when there are more requests than slots. Made when there is no connection at hand."""

    __slots__ = ("among", "cost", "rank", "reach", "share", "size_bytes")

    def __init__(
        self,
        reach: int = Reach.ONE,
        rank: int = NORMAL,
        share: Hashable = None,
        size_bytes: int = 0,
        cost: int = 1,
        among: frozenset[Address] | None = None,
    ) -> None:
        self.reach = reach
        self.rank = rank  # of its class, 0 first
        self.share = share  # whose it is: tenants take turns
        self.size_bytes = size_bytes  # of content that is in memory while it waits
        self.cost = cost  # turns that it takes
        self.among = among  # of the replicas in reach, those that have what the client must see; None: any


ANYBODY: Final = Bid()


class Claim(Generic[ConnectionT]):
    """A lease to come. It waits for a slot, then perhaps for a connect, and ends once: with its future."""

    __slots__ = (
        "cost",
        "deadline_at",
        "expires_at",
        "fresh",
        "future",
        "line",
        "queue_s",
        "rank",
        "share",
        "since",
        "size_bytes",
        "task",
    )

    def __init__(self, now: float, deadline_at: float, fresh: bool, bid: Bid = ANYBODY) -> None:
        self.future: asyncio.Future[Lease[ConnectionT]] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[ConnectionT | ProxyError] | None = None  # the connect, once there is one
        self.line: Any = None  # line.Line, while it waits for a slot
        self.since = now
        self.deadline_at = deadline_at
        self.expires_at = deadline_at  # of the present wait
        self.fresh = fresh  # an idle connection will not do
        self.queue_s = 0.0
        self.rank = bid.rank
        self.share = bid.share
        self.size_bytes = bid.size_bytes
        self.cost = bid.cost

    def fail(self, error: ProxyError) -> None:
        """End it, and the connect with it."""
        if not self.future.done():
            self.future.set_exception(error)
        if self.task is not None:
            self.task.cancel()
