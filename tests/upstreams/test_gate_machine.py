"""The gate before several pools under every order of events: slots, the bound of all, lines, and nobody forgotten.

As in test_pool_machine.py, hypothesis decides when each connect ends and how, and a turn of the loop is a rule.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from proxy.core.errors import ErrorKind, ProxyError
from proxy.upstreams.address import parse_address
from proxy.upstreams.claims import Bid, Reach
from proxy.upstreams.gate import Gate
from proxy.upstreams.pool import EndpointPool
from proxy.upstreams.upstream import PoolNumbers
from tests.upstreams.machine import PLACES, Asker, Machine, Scripted


class GateMachine(Machine):
    def __init__(self) -> None:
        super().__init__()
        self.may_have: dict[Asker, set[Any]] = {}  # of those who may not have every replica
        self.may_turn: list[Asker] = []  # of these, those who may go to a primary, as long as they wait
        self.seen: dict[int, int] = {}  # in use when it was last looked at; of all: -1

    @initialize(
        slots=st.integers(1, 2),
        total=st.sampled_from([None, None, 1, 2, 3]),
        queue=st.integers(0, 5),
        pools=st.integers(1, 3),
        quick=st.sampled_from([True, True, False]),
    )
    def build(self, slots: int, total: int | None, queue: int, pools: int, quick: bool) -> None:
        self.quick = quick  # no connect waits, so that more happens behind them
        self.numbers = PoolNumbers(
            max_in_flight=slots, max_idle=2, queue=queue, max_lifetime_s=20.0, max_in_flight_total=total
        )
        self.gate: Gate[Scripted] = Gate(self.numbers, lambda: self.now)
        self.pools: list[EndpointPool[Scripted]] = []
        for number in range(pools):
            address = parse_address(f"http://127.0.0.1:{number + 1}")
            pool = EndpointPool(address, self.numbers, self.connect, clock=lambda: self.now, rng=lambda: 0.5)
            pool.endpoint = number
            self.gate.attach(pool)
            self.pools.append(pool)
        self.up = list(self.pools)
        self.lead()

    def lead(self) -> None:
        primaries, replicas = self.up[:1] or self.pools[:1], self.up[1:]
        self.by_reach = [primaries, replicas or primaries, replicas or self.pools[1:]]
        for asker in self.may_turn:
            self.may_have[asker] |= {pool.endpoint for pool in primaries}
        self.gate.lead_to(self.by_reach)

    async def connect(self) -> Scripted:
        if not self.quick:
            dial = self.loop.create_future()
            self.dials.append(dial)
            try:
                await dial
            finally:
                self.dials.remove(dial)
        connection = Scripted(self.now)
        self.connections.append(connection)
        return connection

    def granted(self, asker: Asker) -> None:
        super().granted(asker)
        among = self.may_have.get(asker)
        assert among is None or asker.lease.endpoint in among  # type: ignore[union-attr]

    def refused(self, error: ProxyError) -> None:
        super().refused(error)
        if error.kind.status == 503 and error.kind is not ErrorKind.DRAINING:
            assert 1.0 <= (error.retry_after_s or 0.0) <= 30.0

    # What may happen

    @rule(
        place=PLACES,
        reach=st.sampled_from([Reach.PRIMARY, Reach.PRIMARY, Reach.REPLICA, Reach.REPLICA_ONLY, Reach.ONE]),
        rank=st.integers(0, 2),
        share=st.sampled_from("ab"),
        fresh=st.booleans(),
        patience_s=st.sampled_from([0.4, 60.0]),
        as_task=st.booleans(),
        only=st.sampled_from([None, None, {1}, {2}, {1, 2}]),
        many=st.integers(1, 4),
    )
    def some_ask(
        self,
        place: int,
        reach: int,
        rank: int,
        share: str,
        fresh: bool,
        patience_s: float,
        as_task: bool,
        only: set[int] | None,
        many: int,
    ) -> None:
        for _ in range(many):
            self.somebody_asks(place, reach, rank, share, fresh, patience_s, as_task, only)

    def somebody_asks(
        self,
        place: int,
        reach: int,
        rank: int,
        share: str,
        fresh: bool,
        patience_s: float,
        as_task: bool,
        only: set[int] | None,
    ) -> None:
        would_do = self.pools if reach == Reach.ONE else self.by_reach[reach]
        among = None
        if only is not None and reach in (Reach.REPLICA, Reach.REPLICA_ONLY):
            some = [pool for number, pool in enumerate(self.pools) if number in only]
            among = frozenset([pool.address for pool in some])
            would_do = [pool for pool in would_do if pool in some]
            if reach == Reach.REPLICA:
                would_do = would_do or self.by_reach[Reach.PRIMARY]
        if not would_do:
            return
        pool = would_do[place % len(would_do)]
        bid = Bid(reach, rank, share, among=among)
        asker = Asker(partial(pool.lease, self.now + patience_s, self.now, fresh=fresh, bid=bid))
        if among is not None:  # whoever may go there: the primary has everything
            self.may_have[asker] = {each.endpoint for each in self.pools if each.address in among}
            if reach == Reach.REPLICA:
                self.may_turn.append(asker)
                self.may_have[asker] |= {each.endpoint for each in self.by_reach[Reach.PRIMARY]}
        self.begin(asker, as_task=as_task)

    @precondition(lambda self: self.askers)
    @rule(place=PLACES)
    def a_client_leaves(self, place: int) -> None:
        self.cancel(self.askers[place % len(self.askers)])

    @precondition(lambda self: self.leases)
    @rule(place=PLACES, clean=st.booleans())
    def a_lease_ends(self, place: int, clean: bool) -> None:
        lease = self.leases.pop(place % len(self.leases))
        self.inside(lambda: lease.release(clean and lease.connection.is_alive))

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for pool in self.pools:
            self.inside(partial(pool.tick, self.now))

    @rule(which=st.sets(st.integers(0, 2)))
    def the_health_changes(self, which: set[int]) -> None:
        self.up = [pool for number, pool in enumerate(self.pools) if number in which]
        self.inside(self.lead)

    @rule(slots=st.integers(1, 3), total=st.sampled_from([None, 1, 3]))
    def the_numbers_change(self, slots: int, total: int | None) -> None:
        self.turn()  # what was under way comes before
        self.more_are_never_let_in()
        self.numbers = PoolNumbers(
            max_in_flight=slots,
            max_idle=2,
            queue=self.numbers.queue,
            max_lifetime_s=20.0,
            max_in_flight_total=total,
        )
        for pool in self.pools:
            self.inside(partial(pool.resize, self.numbers))

    # What always holds

    @invariant()
    def slots_are_kept(self) -> None:
        if not hasattr(self, "gate"):
            return
        for pool in self.pools:
            assert pool.total == pool.idle + pool.in_use
            assert pool.total <= max(self.numbers.max_in_flight, pool.in_use)
            assert pool.idle <= 2
        assert self.gate.in_use >= len(self.leases)
        assert self.gate.is_empty == (self.gate.lines.count == 0)
        assert sum(self.gate.lines.depth(rank) for rank in range(3)) == self.gate.lines.count
        assert not self.complaints

    @rule()
    def somebody_takes(self) -> None:
        pool = self.pools[0]
        lease = self.inside(lambda: pool.take_now(self.now))
        if lease is not None:
            self.leases.append(lease)

    @invariant()
    def more_are_never_let_in(self) -> None:
        """Above a bound are only those who were in before it was lowered."""
        if not hasattr(self, "gate"):
            return
        for number, pool in enumerate(self.pools):
            assert pool.in_use <= max(self.numbers.max_in_flight, self.seen.get(number, 0))
            self.seen[number] = pool.in_use
        in_use = self.gate.in_use
        total = self.numbers.max_in_flight_total
        assert total is None or in_use <= max(total, self.seen.get(-1, 0))
        self.seen[-1] = in_use

    @invariant()
    def nobody_waits_beside_a_free_slot(self) -> None:
        if not hasattr(self, "gate") or self.gate.is_empty:
            return
        total = self.numbers.max_in_flight_total
        if total is not None and self.gate.in_use >= total:
            return
        for line, pools in zip(self.gate.lines.all(), self.by_reach, strict=False):  # the first three are by reach
            assert list(line.pools) == list(pools)
        for line in self.gate.lines.waiting():
            assert all(pool.in_use >= self.numbers.max_in_flight for pool in line.pools)
        for pool in self.pools:
            if pool.waiting:
                assert pool.in_use >= self.numbers.max_in_flight

    def nobody_is_forgotten(self) -> None:
        """Whoever asked hears something when all time is over, also while no slot comes free."""
        for _ in range(2):  # the second time for connects that began at the end of the first
            self.now += 100.0
            for pool in self.pools:
                self.inside(partial(pool.tick, self.now))
            for _ in range(8):
                self.turn()
        assert self.gate.is_empty
        assert self.askers == []

    def teardown(self) -> None:
        if hasattr(self, "gate"):
            self.nobody_is_forgotten()
            for asker in list(self.askers):
                self.cancel(asker)
            self.settle()
            for lease in self.leases:
                self.inside(partial(lease.release, True))
            self.settle()
            assert self.gate.lines.count == 0
            assert self.gate.in_use == 0
            for pool in self.pools:
                self.inside(pool.close)
                assert pool.closed
                assert pool.total == 0
            assert all(connection.times_closed == 1 for connection in self.connections)
            assert not self.complaints
        self.loop.close()


TestGateMachine = GateMachine.TestCase
TestGateMachine.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)
