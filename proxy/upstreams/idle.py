"""Idle connections of one endpoint, last in, first out.

What was used last is used next: it is the least likely to have been closed by the other side, and what is not needed
grows old at the bottom, where it is found and closed.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final, Generic

from proxy.upstreams.lease import ConnectionT
from proxy.upstreams.upstream import PoolNumbers

__all__ = ["IdleStack"]

_SAFE_SHARE: Final = 0.5  # of the learned limit: the rest is for the request to get there, and for a busy machine


class IdleStack(Generic[ConnectionT]):
    """Holds what nobody uses. `discard` is called with each connection that leaves unused."""

    __slots__ = ("_connections", "_discard", "_idle_timeout_s", "_max_lifetime_s", "_since", "learned_s", "limit")

    def __init__(self, discard: Callable[[ConnectionT], None]) -> None:
        self._discard = discard
        self._connections: list[ConnectionT] = []
        self._since: list[float] = []  # beside them: a pair for each would be one more allocation an exchange
        self._idle_timeout_s = 0.0
        self._max_lifetime_s = 0.0
        self.limit = 0
        self.learned_s = inf  # how long the endpoint lets a connection idle, as far as it has shown

    def take_numbers(self, numbers: PoolNumbers) -> None:
        self._idle_timeout_s = numbers.idle_timeout_s
        self._max_lifetime_s = numbers.max_lifetime_s
        self.limit = numbers.max_idle

    def is_risky(self, now: float) -> bool:
        """What `pop` would give may be closed by the endpoint while the request is on its way."""
        since = self._since
        return bool(since) and now - since[-1] > self.learned_s * _SAFE_SHARE

    def push(self, connection: ConnectionT, now: float) -> bool:
        """Keep it, unless `limit` are here already."""
        if len(self._connections) >= self.limit:
            return False
        self._connections.append(connection)
        self._since.append(now)
        return True

    def push_beyond(self, connection: ConnectionT, now: float) -> None:
        """Keep it in any case; the caller pops or shrinks before it returns."""
        self._connections.append(connection)
        self._since.append(now)

    def pop(self, now: float) -> ConnectionT | None:
        """The freshest that may carry an exchange. Those found unusable on the way are discarded."""
        connections = self._connections
        while connections:
            connection = connections.pop()
            since = self._since.pop()
            if now - since > self.learned_s:
                self.learned_s = now - since  # it is alive at this age
            if (
                connection.is_clean  # W1: it closes itself on any byte, and is looked at once more
                and now - since < self._idle_timeout_s
                and now < connection.retires_at
            ):
                return connection
            self._discard(connection)
        return None

    def closed(self, connection: ConnectionT, now: float) -> None:
        """The endpoint closed it. Discard it if it is here, and learn from it."""
        for position, other in enumerate(self._connections):
            if other is connection:
                self.learned_s = min(self.learned_s, now - self._since[position])
                self._discard_at(position)
                return

    def shrink(self, size: int) -> None:
        """Discard the oldest until `size` are left."""
        while len(self._connections) > size:
            self._discard_at(0)

    def reap(self, now: float) -> None:
        """Discard what has been idle or alive too long."""
        for position in range(len(self._connections) - 1, -1, -1):
            if (
                now - self._since[position] >= self._idle_timeout_s
                or now >= self._connections[position].retires_at
                or now - self._connections[position].opened_at >= self._max_lifetime_s  # a reload may have lowered it
            ):
                self._discard_at(position)

    def _discard_at(self, position: int) -> None:
        del self._since[position]
        self._discard(self._connections.pop(position))

    def __len__(self) -> int:
        return len(self._connections)
