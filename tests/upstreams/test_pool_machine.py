"""The pool's invariant under every order of events, one turn of the event loop at a time.

Connects are scripted so that hypothesis decides when each of them ends, and how; a turn of the loop is a rule like any
other, so that a cancellation or a death falls between any two steps of a lease. Those who ask are tasks (cancelled in
the loop's next turn) and runs of `start_now` (cancelled in the very call), as exchanges are.
"""

from __future__ import annotations

import asyncio
from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from proxy.upstreams.address import parse_address
from proxy.upstreams.claims import Bid, Reach
from proxy.upstreams.pool import EndpointPool
from proxy.upstreams.upstream import PoolNumbers
from tests.upstreams.machine import PLACES, Asker, Machine, Scripted


class PoolMachine(Machine):
    def __init__(self) -> None:
        super().__init__()
        self.is_draining = False

    @initialize(slots=st.integers(1, 3), idle=st.integers(0, 3), queue=st.integers(0, 3), warm=st.integers(0, 2))
    def build(self, slots: int, idle: int, queue: int, warm: int) -> None:
        self.numbers = PoolNumbers(
            max_in_flight=slots, max_idle=idle, queue=queue, min_idle=min(warm, idle, slots), max_lifetime_s=20.0
        )
        self.pool = EndpointPool(
            parse_address("http://127.0.0.1:1"), self.numbers, self.connect, clock=lambda: self.now
        )

    async def connect(self) -> Scripted:
        dial = self.loop.create_future()
        self.dials.append(dial)
        try:
            await dial
        except asyncio.CancelledError:
            if not self.loop_is_late:
                raise
            # a socket that was ready when it was told to stop
        finally:
            self.dials.remove(dial)
        connection = Scripted(self.now)
        self.connections.append(connection)
        return connection

    loop_is_late = False

    # What may happen

    @rule(
        fresh=st.booleans(),
        patience_s=st.sampled_from([0.4, 60.0]),
        as_task=st.booleans(),
        rank=st.integers(0, 2),
        share=st.sampled_from("ab"),
        reach=st.sampled_from([Reach.ONE, Reach.PRIMARY]),  # the pool is its own gate's only one: both mean the same
    )
    def somebody_asks(self, fresh: bool, patience_s: float, as_task: bool, rank: int, share: str, reach: int) -> None:
        bid = Bid(reach, rank, share)
        asker = Asker(partial(self.pool.lease, self.now + patience_s, self.now, fresh=fresh, bid=bid))
        self.begin(asker, as_task=as_task)

    @rule()
    def somebody_takes(self) -> None:
        lease = self.inside(lambda: self.pool.take_now(self.now))
        if lease is not None:
            assert lease.connection.is_alive
            assert lease.reused
            self.leases.append(lease)

    @precondition(lambda self: self.askers)
    @rule(place=PLACES, late=st.booleans())
    def a_client_leaves(self, place: int, late: bool) -> None:
        self.loop_is_late = late
        self.cancel(self.askers[place % len(self.askers)])

    @precondition(lambda self: self.leases)
    @rule(place=PLACES, clean=st.booleans(), twice=st.booleans())
    def a_lease_ends(self, place: int, clean: bool, twice: bool) -> None:
        lease = self.leases.pop(place % len(self.leases))
        self.inside(lambda: lease.release(clean and lease.connection.is_alive))
        if twice:
            self.inside(lambda: lease.release(True))

    @precondition(lambda self: any(connection.is_alive for connection in self.connections))
    @rule(place=PLACES, silently=st.booleans())
    def a_connection_dies(self, place: int, silently: bool) -> None:
        alive = [connection for connection in self.connections if connection.is_alive]
        connection = alive[place % len(alive)]
        if silently:
            connection.is_alive = False  # known to the connection, not yet to the pool
        else:
            self.inside(connection.die)

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.inside(lambda: self.pool.tick(self.now))
        self.inside(lambda: self.pool.warm(self.now))

    @rule(slots=st.integers(1, 4), idle=st.integers(0, 3))
    def the_numbers_change(self, slots: int, idle: int) -> None:
        self.numbers = PoolNumbers(max_in_flight=slots, max_idle=idle, queue=self.numbers.queue, max_lifetime_s=20.0)
        self.inside(lambda: self.pool.resize(self.numbers))

    @precondition(lambda self: len(self.connections) > 5)
    @rule()
    def the_pool_drains(self) -> None:
        self.is_draining = True
        self.inside(self.pool.drain)

    # What always holds

    @invariant()
    def open_is_idle_and_leased(self) -> None:
        if not hasattr(self, "pool"):
            return
        pool = self.pool
        assert pool.total == pool.idle + pool.in_use
        assert pool.total <= max(self.numbers.max_in_flight, pool.in_use)
        assert 0 <= pool.idle <= (0 if self.is_draining else self.numbers.max_idle)
        assert pool.in_use >= len(self.leases)
        assert pool.waiting <= self.numbers.queue
        assert all(connection.times_closed <= 1 for connection in self.connections)
        assert not self.complaints

    @invariant()
    def nobody_waits_beside_a_free_slot(self) -> None:
        if hasattr(self, "pool") and self.pool.waiting:
            assert self.pool.in_use >= self.numbers.max_in_flight

    @rule()
    def after_a_while_every_slot_is_accounted_for(self) -> None:
        self.settle()
        sockets = [connection for connection in self.connections if connection.times_closed == 0]
        assert self.pool.in_use == len(self.leases) + len(self.dials)
        assert self.pool.total == len(sockets) + len(self.dials)
        assert len(self.askers) <= self.pool.waiting + len(self.dials)

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            for asker in list(self.askers):
                self.cancel(asker)
            self.loop_is_late = False
            self.settle()
            for lease in self.leases:
                self.inside(partial(lease.release, False))
            for dial in self.dials:  # of warm-ups
                dial.cancel()
            self.settle()
            self.inside(self.pool.close)
            self.settle()
            assert (self.pool.total, self.pool.in_use, self.pool.idle, self.pool.waiting) == (0, 0, 0, 0)
            assert all(connection.times_closed == 1 for connection in self.connections)
            assert self.pool.closed
            assert not self.complaints
        self.loop.close()


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
