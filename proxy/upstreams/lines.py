"""The lines at a gate: which one a request joins, and which pools will do for it.

There is a line for each set of endpoints that will do: the primaries, the replicas, the replicas alone; those replicas
that have what a client must see, a line for each set of them; and one endpoint alone, for checks and for second
attempts that keep clear of where the first one failed. Lines of the last two kinds exist while somebody waits in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic

from proxy.upstreams.address import Address
from proxy.upstreams.claims import Bid, Reach
from proxy.upstreams.lease import ConnectionT
from proxy.upstreams.line import Line
from proxy.upstreams.queue import PRIORITIES
from proxy.upstreams.upstream import PoolNumbers

if TYPE_CHECKING:
    from proxy.upstreams.pool import EndpointPool

__all__ = ["Lines"]

_Some = tuple[int, frozenset[Address]]


class Lines(Generic[ConnectionT]):
    """Of one upstream. Kept over a reload, with those who wait."""

    __slots__ = ("_by_reach", "_numbers", "_ones", "_some")

    def __init__(self, numbers: PoolNumbers) -> None:
        self._numbers = numbers
        self._by_reach = tuple(
            Line[ConnectionT]((), numbers) for _ in (Reach.PRIMARY, Reach.REPLICA, Reach.REPLICA_ONLY)
        )
        self._ones: dict[EndpointPool[ConnectionT], Line[ConnectionT]] = {}  # by pool
        self._some: dict[_Some, Line[ConnectionT]] = {}  # by reach and replicas

    def of(self, pool: EndpointPool[ConnectionT], bid: Bid) -> Line[ConnectionT]:
        """Where a claim for `pool` waits; a new line perhaps, which `keep` has to be told of once somebody does."""
        if bid.among is not None and bid.reach != Reach.ONE:
            known = self._some.get((bid.reach, bid.among))
            return known or Line(self.in_reach(pool, bid.reach, bid.among), self._numbers)
        if bid.reach != Reach.ONE:
            line = self._by_reach[bid.reach]
            if line.pools:
                return line
        return self._ones.get(pool) or Line((pool,), self._numbers)

    def keep(self, line: Line[ConnectionT], pool: EndpointPool[ConnectionT], bid: Bid) -> None:
        """Somebody waits in the line that `of` gave."""
        if line not in self._by_reach:
            if bid.among is not None and bid.reach != Reach.ONE:
                self._some[bid.reach, bid.among] = line
            else:
                self._ones[pool] = line

    def in_reach(
        self, pool: EndpointPool[ConnectionT], reach: int, among: frozenset[Address] | None
    ) -> tuple[EndpointPool[ConnectionT], ...]:
        """The pools of a line. Of replicas only those of `among`: another one may lack what the client must see. While
        none of these is up, the primary, which has everything; `pool`, which was chosen, for who may not go there."""
        pools = self._by_reach[reach].pools
        if among is not None:
            pools = tuple([each for each in pools if each.address in among])
            if not pools and reach == Reach.REPLICA:
                pools = self._by_reach[Reach.PRIMARY].pools
        return pools or (pool,)

    def rivals(self, line: Line[ConnectionT], cap: int | None) -> Sequence[Line[ConnectionT]]:
        """Those who wait for some of the same slots, itself among them. With a cap that is everybody."""
        lines = self.all()
        if cap is not None:
            return lines
        return [other for other in lines if other is line or not set(line.pools).isdisjoint(other.pools)]

    def is_shed(self, line: Line[ConnectionT], rank: int, cap: int | None) -> bool:
        """What is refused in one line is not let into another for the same slots."""
        return line.shedding.refuses(rank) or any(other.shedding.refuses(rank) for other in self.rivals(line, cap))

    def all(self) -> tuple[Line[ConnectionT], ...]:
        return (*self._by_reach, *self._ones.values(), *self._some.values())

    def waiting(self) -> list[Line[ConnectionT]]:
        """Those in which somebody waits."""
        return [line for line in self.all() if line.queue.count]

    def sweep(self) -> bool:
        """Forget what nobody waits in, as a line has to be where its last one has left. True: nobody waits anywhere."""
        for pool in [pool for pool, line in self._ones.items() if not line.queue.count]:
            del self._ones[pool]
        for some in [some for some, line in self._some.items() if not line.queue.count]:
            del self._some[some]
        return not self._ones and not self._some and not any(line.queue.count for line in self._by_reach)

    # -- what a reload, or the health of an endpoint, changes --

    def resize(self, numbers: PoolNumbers) -> None:
        """Other bounds. Those who wait stay."""
        self._numbers = numbers
        for line in self.all():
            line.queue.max_waiting, line.queue.max_bytes = numbers.queue, numbers.queue_bytes
            if numbers.shed is None:
                line.shedding.level = 0

    def lead_to(self, by_reach: Sequence[Sequence[EndpointPool[ConnectionT]]]) -> None:
        """Which pools will do now, for each of Reach but ONE."""
        for line, pools in zip(self._by_reach, by_reach, strict=True):
            line.pools = tuple(pools)
        for (reach, among), line in self._some.items():
            line.pools = self.in_reach(line.pools[0], reach, among)

    # -- numbers --

    @property
    def count(self) -> int:
        """Who waits."""
        return sum(len(line.queue) for line in self.waiting())

    @property
    def size_bytes(self) -> int:
        """Content in memory of those who wait."""
        return sum(line.queue.size_bytes for line in self.waiting())

    def count_for(self, pool: EndpointPool[ConnectionT]) -> int:
        """Who waits for this endpoint and no other."""
        line = self._ones.get(pool)
        return 0 if line is None else len(line.queue)

    def depth(self, rank: int) -> int:
        """Who waits, of one class."""
        return sum(line.queue.depth(rank) for line in self.waiting())

    def oldest_wait_s(self, now: float) -> float:
        since = [line.queue.oldest_since(rank) for line in self.waiting() for rank in range(len(PRIORITIES))]
        return max((now - at for at in since if at is not None), default=0.0)

    def is_newest_first(self, rank: int) -> bool:
        """In any of them."""
        return any(line.queue.is_newest_first(rank) for line in self.waiting())

    def sheds(self, rank: int) -> bool:
        """Any of them."""
        return any(line.shedding.refuses(rank) for line in self.all())
