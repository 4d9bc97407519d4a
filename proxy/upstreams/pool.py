"""The connections to one endpoint: bounded leases, and a stack of idle connections. Who waits does so at the gate.

A slot is the right to one lease. `in_use` counts slots, connects under way included; `total == idle + in_use` at every
moment. Everything that waits is a claim with a future: for a slot (at the gate) or for a connect (dialling). A slot
comes back in one of two places, `take_back` or `_dialled`, whatever was cancelled when: that is why none gets lost.

Time comes in with the calls and with `tick`, which the registry calls twenty times a second: there is no timer per
connection, per claim or per pool.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Generic

from proxy.core.clock import monotonic
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.tasks import spawn
from proxy.upstreams.address import Address
from proxy.upstreams.claims import ANYBODY, Bid, Claim
from proxy.upstreams.gate import Gate, private_gate
from proxy.upstreams.idle import IdleStack
from proxy.upstreams.lease import ConnectionT, LateLease, Lease
from proxy.upstreams.queue_flow import Flow
from proxy.upstreams.upstream import PoolNumbers

__all__ = ["EndpointPool"]

_REAP_EVERY_S: Final = 1.0
_WARM_AGAIN_S: Final = 1.0  # after a warm-up connect that failed; twice that after the next, and so on
_MAX_WARM_AGAIN_S: Final = 30.0
_LIFETIME_SPREAD: Final = 0.1  # connections that were opened together end over this part of their lifetime
_NEVER: Final = float("inf")


class EndpointPool(Generic[ConnectionT]):
    """Leases connections to `address`, at most `max_in_flight` at once; no more than that are ever open.

    `connect` opens one. It runs in a task of its own, which is cancelled after the connect timeout, and raises
    ProxyError when it fails.
    """

    __slots__ = (
        "_dialling",
        "_idle",
        "_limit",
        "_reap_at",
        "_rng",
        "_slots",
        "_warm_at",
        "_warm_failures",
        "_warming",
        "address",
        "clock",
        "connect",
        "connect_failures",
        "connects",
        "endpoint",
        "flow",
        "gate",
        "in_use",
        "is_draining",
        "numbers",
        "on_warm_failed",
        "reuses",
        "total",
    )

    def __init__(
        self,
        address: Address,
        numbers: PoolNumbers,
        connect: Callable[[], Awaitable[ConnectionT]],
        *,
        clock: Callable[[], float] = monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        now = clock()
        self.address = address
        self.numbers = numbers
        self.connect = connect
        self.endpoint: Any = None  # upstreams.endpoint.Endpoint, when it belongs to one
        self.on_warm_failed: Callable[[ProxyError, float], None] | None = None
        self.total = 0  # connections open and being opened
        self.in_use = 0  # leases and connects under way
        # counters, for metrics
        self.connects = 0
        self.connect_failures = 0
        self.reuses = 0
        self.flow = Flow(now)

        self.clock = clock
        self._rng = rng
        self._slots = numbers.max_in_flight  # 0 while draining
        self._limit = self._slots  # the same for who asks at the pool alone: nobody may where all endpoints have a cap
        self.is_draining = False
        self._idle: IdleStack[ConnectionT] = IdleStack(self._discard)
        self._idle.take_numbers(numbers)
        self._dialling: set[Claim[ConnectionT]] = set()
        self._warming = 0
        self._warm_at = now
        self._warm_failures = 0
        self._reap_at = now + _REAP_EVERY_S
        self.gate: Gate[ConnectionT] = private_gate(self, clock)

    # -- leasing --

    def take_now(self, now: float) -> Lease[ConnectionT] | None:
        """A lease on an idle connection, or None when that needs a wait, a connect or a look at the other endpoints
        (`lease` does that). Never waits."""
        if self.in_use >= self._limit:
            return None
        connection = self._idle.pop(now)
        if connection is None:
            return None
        self.in_use += 1
        self.reuses += 1
        return Lease(self, connection, True)

    async def lease(
        self, deadline_at: float, now: float, *, fresh: bool = False, bid: Bid = ANYBODY
    ) -> Lease[ConnectionT]:
        """A lease, after waiting for a slot up to the queue timeout and for a connect up to the connect timeout,
        and for neither beyond `deadline_at`. With `fresh` the connection is a new one. Where the bid reaches further
        than this endpoint, it may be another's: `Lease.endpoint` tells.

        Raises ProxyError: QUEUE_FULL, QUEUE_TIMEOUT, NO_CHANCE, SHED, CONNECT_TIMEOUT, NO_ENDPOINT when the pool
        drains, or what the connect raised. Cancelling it gives everything back.
        """
        if not fresh and (lease := self.take_now(now)) is not None:
            return lease
        pool = self.gate.choose(self, bid)
        if pool is None:
            claim = self.gate.enqueue(self, bid, deadline_at, now, fresh)
        elif not fresh and (connection := pool._idle.pop(now)) is not None:
            return pool._lend(connection)
        else:
            claim = Claim(now, deadline_at, fresh, bid)
            pool._dial(claim, now)
        try:
            return await claim.future
        except BaseException:
            self._abandon(claim)
            raise

    def is_risky(self, now: float) -> bool:
        """The next idle connection has idled so long that the endpoint may be closing it: not for a request that must
        not be sent twice."""
        return self._idle.is_risky(now)

    def take_back(self, connection: ConnectionT, clean: bool) -> None:
        """The end of a lease; only `Lease.release` calls this. Who is next at the gate gets the slot at once."""
        if clean and self.gate.is_empty and self.in_use <= self._limit and self._idle.push(connection, self.clock()):
            self.in_use -= 1
            return
        # A queue, a cap, a broken connection, a full stack, a lower limit or a drain.
        self.in_use -= 1
        if clean:
            self._idle.push_beyond(connection, self.clock())
        else:
            self._discard(connection)
        self._slot_is_free()

    # -- time, configuration, end --

    def tick(self, now: float) -> None:
        """End what has waited too long; close what has been idle or alive too long. Late by at most the tick."""
        self.gate.tick(now)
        self.sample(now)
        if self._dialling:
            self._expire_dialling(now)
        if now >= self._reap_at:
            self._reap_at = now + _REAP_EVERY_S
            self._idle.reap(now)

    def sample(self, now: float) -> None:
        """Tell `flow` how busy the endpoint is."""
        self.flow.sample(self.in_use, self.connects + self.reuses, now)

    def warm(self, now: float) -> None:
        """Open what is missing to `min_idle`, in the background. For healthy endpoints."""
        while now >= self._warm_at and self.idle + self._warming < self.numbers.min_idle and self.total < self._slots:
            claim: Claim[ConnectionT] = Claim(now, _NEVER, fresh=True)
            claim.future.add_done_callback(self._warmed)
            self._warming += 1
            self._dial(claim, now)

    def resize(self, numbers: PoolNumbers) -> None:
        """Other numbers, effective at once. Leases above a lower limit are not interrupted."""
        self.numbers = numbers
        if not self.is_draining:
            self._slots = numbers.max_in_flight
            self._idle.take_numbers(numbers)
        self.gate.resize(numbers)
        self.ask_gate(self.gate.is_asked)
        self._slot_is_free()

    def ask_gate(self, is_asked: bool) -> None:
        """Whether every lease has to ask at the gate: the endpoints together have a bound too."""
        self._limit = -1 if is_asked else self._slots

    def drain(self) -> None:
        """No new leases, nothing idle. What has a lease or a place in the queue is served to its end."""
        self.is_draining = True
        self._slots = self._limit = self._idle.limit = 0
        self._idle.shrink(0)

    def close(self) -> None:
        """Drain, and fail everything that waits, here or at the gate. Leased connections close when released."""
        self.drain()
        self.gate.close()
        for claim in [*self._dialling]:
            claim.fail(ProxyError(ErrorKind.DRAINING, f"{self.address.label}: shutting down"))

    @property
    def closed(self) -> bool:
        """Drained to the last lease."""
        return self.is_draining and self.in_use == 0 and self.waiting == 0

    # -- numbers --

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Who waits for this endpoint and would not take another."""
        return self.gate.lines.count_for(self)

    @property
    def load(self) -> int:
        """Exchanges that are here."""
        return self.in_use

    @property
    def has_room(self) -> bool:
        """A connection may be opened without waiting for a slot of this endpoint."""
        return self.in_use < self._slots

    def stats(self) -> dict[str, int]:
        return {"total": self.total, "in_use": self.in_use, "idle": self.idle, "waiting": self.waiting}

    def __repr__(self) -> str:
        numbers = " ".join(f"{name}={value}" for name, value in self.stats().items())
        return f"<EndpointPool {self.address.label} {numbers}>"

    # -- slots --

    def grant(self, claim: Claim[ConnectionT], now: float) -> None:
        """Give a slot to a claim that has waited; only the gate calls this. Also while draining: what waits was let
        in."""
        connection = None if claim.fresh else self._idle.pop(now)
        if connection is None:
            self._dial(claim, now)
        else:
            self.in_use += 1
            self.reuses += 1
            claim.future.set_result(LateLease(self, connection, True, claim.queue_s))

    def _lend(self, connection: ConnectionT) -> Lease[ConnectionT]:
        self.in_use += 1
        self.reuses += 1
        return Lease(self, connection, True)

    def _slot_is_free(self) -> None:
        """Serve who waits, and close what is idle beyond the limits."""
        if not self.gate.is_empty:
            self.sample(self.clock())
            self.gate.serve()
        self._idle.shrink(min(self._idle.limit, max(self.numbers.max_in_flight - self.in_use, 0)))

    def _abandon(self, claim: Claim[ConnectionT]) -> None:
        """Nobody waits for this claim any more. If it dials, its slot comes back in `_dialled`."""
        if claim.task is None:
            self.gate.drop(claim)
        else:
            claim.task.cancel()
        future = claim.future
        if not future.done():
            future.cancel()
        elif not future.cancelled() and future.exception() is None:
            future.result().release(True)  # granted and abandoned in the same turn of the loop: it is unused

    def _closed_idle(self, connection: ConnectionT) -> None:
        self._idle.closed(connection, self.clock())

    def _discard(self, connection: ConnectionT) -> None:
        self.total -= 1
        connection.on_closed = None
        connection.close()

    # -- connecting --

    def _dial(self, claim: Claim[ConnectionT], now: float) -> None:
        self.in_use += 1
        self.total += 1
        self._idle.shrink(max(self.numbers.max_in_flight - self.in_use, 0))  # a fresh one, while others idle
        claim.expires_at = min(claim.deadline_at, now + self.numbers.connect_timeout_s)
        claim.task = spawn(self._connect(), name=f"connect {self.address.label}")
        claim.task.add_done_callback(partial(self._dialled, claim))
        self._dialling.add(claim)

    async def _connect(self) -> ConnectionT | ProxyError:
        try:
            return await self.connect()
        except ProxyError as error:  # an ordinary end of a connect, returned because a task that raises is logged
            return error

    def _dialled(self, claim: Claim[ConnectionT], task: asyncio.Task[ConnectionT | ProxyError]) -> None:
        """Every connect ends here, also one that was cancelled before it began."""
        self._dialling.discard(claim)
        if task.cancelled():
            self._not_connected(claim, None)
        elif (error := task.exception()) is not None:
            self._not_connected(claim, error)
        elif isinstance(outcome := task.result(), ProxyError):
            self._not_connected(claim, outcome)
        else:
            self.connects += 1
            outcome.on_closed = self._closed_idle
            lifetime_s = self.numbers.max_lifetime_s * (1.0 - _LIFETIME_SPREAD * self._rng())
            outcome.retires_at = outcome.opened_at + lifetime_s
            lease = LateLease(self, outcome, False, claim.queue_s)
            if claim.future.done():
                lease.release(True)  # for whoever comes next
            else:
                claim.future.set_result(lease)

    def _not_connected(self, claim: Claim[ConnectionT], error: BaseException | None) -> None:
        """`error` is None for a connect that was cancelled: by its client, by its timeout, or with the loop."""
        self.in_use -= 1
        self.total -= 1
        if not claim.future.done():
            if error is None:
                claim.future.cancel()
            else:
                self.connect_failures += 1
                if isinstance(error, ProxyError):
                    error.at = self.endpoint  # whoever waited may have asked for another one
                claim.future.set_exception(error)
        self._slot_is_free()

    def _warmed(self, future: asyncio.Future[Lease[ConnectionT]]) -> None:
        self._warming -= 1
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self._warm_failures = 0
            future.result().release(True)
            return
        now = self.clock()
        if now >= self._warm_at:  # those that fail together are one failure
            delay_s = min(_WARM_AGAIN_S * 2.0 ** min(self._warm_failures, 10), _MAX_WARM_AGAIN_S)
            self._warm_at = now + delay_s * (0.75 + 0.25 * self._rng())
            self._warm_failures += 1
        if isinstance(error, ProxyError) and self.on_warm_failed is not None:
            self.on_warm_failed(error, now)

    # -- expiry --

    def _expire_dialling(self, now: float) -> None:
        for claim in [claim for claim in self._dialling if claim.expires_at <= now and not claim.future.done()]:
            self.connect_failures += 1
            late = ProxyError(ErrorKind.CONNECT_TIMEOUT, f"{self.address.label}: not connected in time")
            late.at = self.endpoint
            claim.fail(late)
