"""The gate before an upstream: how many exchanges it has at once, who gets a free slot, and who is sent away.

A request waits for whichever endpoint is free first, not for one that was chosen while it was busy: in which line is
decided in `lines.py`, who is next in it, and who may not wait at all, in `queue.py`.

Nobody waits beside a free slot: whatever frees one calls `serve`, or serves nobody because `is_empty`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Generic

from proxy.core.errors import ErrorKind, ProxyError
from proxy.upstreams.adaptive import Adaptive
from proxy.upstreams.claims import Bid, Claim, Reach
from proxy.upstreams.lease import ConnectionT
from proxy.upstreams.line import Line, freest
from proxy.upstreams.lines import Lines
from proxy.upstreams.queue import PRIORITIES, Refusal
from proxy.upstreams.queue_flow import retry_after_s
from proxy.upstreams.queue_stats import QueueStats
from proxy.upstreams.shed import ShedRules
from proxy.upstreams.upstream import PoolNumbers

if TYPE_CHECKING:
    from proxy.upstreams.pool import EndpointPool

__all__ = ["Gate", "private_gate"]

TICK_S: Final = 0.05  # `tick` is called this often
_GRAIN_S: Final = 0.002  # later than that it may be because timers are coarse
_KINDS: Final = {
    Refusal.FULL: ErrorKind.QUEUE_FULL,
    Refusal.TIMEOUT: ErrorKind.QUEUE_TIMEOUT,
    Refusal.NO_CHANCE: ErrorKind.NO_CHANCE,
    Refusal.SHED: ErrorKind.SHED,
}


class Gate(Generic[ConnectionT]):
    """Of one upstream. Kept over a reload, with those who wait and with its counters."""

    __slots__ = (
        "_clock",
        "_ticked_at",
        "adaptive",
        "cap",
        "is_empty",
        "lines",
        "numbers",
        "pools",
        "stats",
    )

    def __init__(self, numbers: PoolNumbers, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.numbers = numbers
        self.adaptive: Adaptive | None = None
        self.cap: int | None = None  # of all endpoints together; None: no more than each has
        self._take_bounds()
        self.pools: list[EndpointPool[ConnectionT]] = []  # also those that a reload has dropped, to their last lease
        self.is_empty = True  # nobody waits; read at every release
        self.stats = QueueStats()
        self.lines: Lines[ConnectionT] = Lines(numbers)
        self._ticked_at = float("-inf")

    # -- for the pools --

    def attach(self, pool: EndpointPool[ConnectionT]) -> None:
        """From now on this gate decides who gets the pool's slots. Nobody may wait at its gate before."""
        if pool not in self.pools:
            self.pools.append(pool)
            pool.gate = self
            pool.ask_gate(self.is_asked)

    def choose(self, pool: EndpointPool[ConnectionT], bid: Bid) -> EndpointPool[ConnectionT] | None:
        """`pool` if it has a free slot, else another that will do and has one; None when the claim has to wait."""
        if self.adaptive is not None:
            self.adaptive.asked(self.in_use)
        if self.cap is not None and not self._has_slots():
            return None
        if pool.has_room:
            return pool
        if bid.reach == Reach.ONE:
            return None
        found = freest(self.lines.in_reach(pool, bid.reach, bid.among), self.numbers.max_in_flight)
        return found if found is not None and found.has_room else None

    def enqueue(
        self, pool: EndpointPool[ConnectionT], bid: Bid, deadline_at: float, now: float, fresh: bool
    ) -> Claim[ConnectionT]:
        """A claim that waits. Raises ProxyError for one that must not: QUEUE_FULL, NO_CHANCE, SHED, or NO_ENDPOINT when
        all that it could wait for drains."""
        line = self.lines.of(pool, bid)
        if all(other.is_draining for other in line.pools):
            raise ProxyError(ErrorKind.NO_ENDPOINT, f"{pool.address.label}: draining", retry_after_s=1.0)
        claim: Claim[ConnectionT] = Claim(now, deadline_at, fresh, bid)
        claim.expires_at = min(deadline_at, now + self.numbers.queue_timeout_s)
        drain_per_s = line.drain_per_s(self.cap, now)
        if self.numbers.shed is not None and self.lines.is_shed(line, claim.rank, self.cap):
            raise self._refused(claim, Refusal.SHED, line, drain_per_s)
        refusal = line.queue.judge(claim, now, drain_per_s)
        if refusal is not None:
            raise self._refused(claim, refusal, line, drain_per_s)
        claim.line = line
        displaced = line.queue.push(claim, now)
        self.lines.keep(line, pool, bid)
        self.is_empty = False
        for other in displaced:
            self.stats.classes[other.rank].displaced += 1
            other.line = None
            other.fail(self._refused(other, Refusal.FULL, line, drain_per_s))
        return claim

    def drop(self, claim: Claim[ConnectionT]) -> None:
        """Its client left: take it out, if it still waits for a slot."""
        line = claim.line
        if line is not None and line.queue.remove(claim):
            claim.line = None
            self.stats.classes[claim.rank].left += 1
            self.is_empty = self.lines.sweep()

    def serve(self) -> None:
        """Give free slots to those who are next. Between lines the better class goes first, then who waits longest."""
        now = self._clock()
        while not self.is_empty and (self.cap is None or self._has_slots()):
            best: tuple[tuple[int, float], Line[ConnectionT], EndpointPool[ConnectionT]] | None = None
            for line in self.lines.waiting():
                pool = line.free(self.numbers.max_in_flight)
                if pool is not None and (best is None or line.queue.next_rank < best[0]):
                    best = line.queue.next_rank, line, pool
            if best is None:
                return
            _, line, pool = best
            self._expire(line, now)
            claim = line.queue.pop(now)
            self.is_empty = self.lines.sweep()
            if claim is None:
                continue
            claim.line = None
            if not claim.future.done():  # else its client left in this very turn of the loop
                claim.queue_s = max(now - claim.since, 0.0)
                self.stats.classes[claim.rank].waited(claim.queue_s)
                pool.grant(claim, now)
            else:
                self.stats.classes[claim.rank].left += 1

    def tick(self, now: float) -> None:
        """Send away who has waited too long. Every pool calls it; once is enough for each `now`."""
        if now == self._ticked_at:
            return
        late_s, self._ticked_at = max(now - self._ticked_at - TICK_S - _GRAIN_S, 0.0), now
        if self.adaptive is not None:
            self._adapt(self.adaptive, now, late_s)
        for line in self.lines.all():
            self._expire(line, now)
            line.queue.observe(now)
            if self.numbers.shed is not None:
                self._observe_shedding(line, self.numbers.shed, now)
        self.is_empty = self.lines.sweep()
        if any(pool.closed for pool in self.pools):
            self.pools = [pool for pool in self.pools if not pool.closed]

    # -- configuration, health, end --

    def resize(self, numbers: PoolNumbers) -> None:
        """Other bounds, effective at once. Those who wait stay."""
        if numbers is self.numbers:
            return
        self.numbers = numbers
        self._take_bounds()
        self.lines.resize(numbers)
        for pool in self.pools:
            pool.ask_gate(self.is_asked)
        self.serve()

    def lead_to(self, by_reach: Sequence[Sequence[EndpointPool[ConnectionT]]]) -> None:
        """Which pools will do now, for each of Reach but ONE: the health of an endpoint has changed."""
        self.lines.lead_to(by_reach)
        self.serve()

    def database_said(self, is_late: bool) -> None:
        """A reading of the pooler of a database that is behind this upstream."""
        if self.adaptive is not None:
            self.adaptive.database_said(is_late)
            self._find_cap()

    def close(self) -> None:
        """Send everybody away."""
        for line in self.lines.all():
            for claim in line.queue.clear():
                claim.line = None
                claim.fail(ProxyError(ErrorKind.DRAINING, "shutting down"))
        self.is_empty = self.lines.sweep()

    # -- numbers --

    @property
    def in_use(self) -> int:
        """Leases at all endpoints, connects under way included."""
        return sum(pool.in_use for pool in self.pools)

    @property
    def is_asked(self) -> bool:
        """Every lease asks here, also where its endpoint has a connection at hand."""
        return self.cap is not None or self.adaptive is not None

    @property
    def most(self) -> int:
        """Slots by the configuration."""
        slots = sum(pool.numbers.max_in_flight for pool in self.pools if not pool.is_draining)
        total = self.numbers.max_in_flight_total
        return slots if total is None else min(slots, total)

    @property
    def slots(self) -> int:
        """Those that may be used now."""
        return self.most if self.cap is None else min(self.most, self.cap)

    @property
    def drain_per_s(self) -> float:
        """Leases a second at all endpoints, lately."""
        return sum(pool.flow.per_second for pool in self.pools)

    @property
    def mean_service_s(self) -> float | None:
        """How long a lease lasts; None when too few were seen lately."""
        known = [(flow.mean_s, flow.per_second) for flow in (pool.flow for pool in self.pools)]
        leases = sum(rate for mean_s, rate in known if mean_s is not None)
        return sum(mean_s * rate for mean_s, rate in known if mean_s is not None) / leases if leases else None

    def stats_now(self) -> dict[str, int]:
        pools = self.pools
        return {
            "total": sum(pool.total for pool in pools),
            "in_use": self.in_use,
            "idle": sum(pool.idle for pool in pools),
            "waiting": self.lines.count,
        }

    # -- bounds that move --

    def _take_bounds(self) -> None:
        """What `numbers` and the adaptive limit say."""
        rules = self.numbers.adaptive
        if rules is None:
            self.adaptive = None
        elif self.adaptive is None:
            self.adaptive = Adaptive(rules)
        else:
            self.adaptive.take_rules(rules)
        self._find_cap()

    def _has_slots(self) -> bool:
        return self.cap is None or self.in_use < self.cap

    def _find_cap(self) -> None:
        total, adaptive = self.numbers.max_in_flight_total, self.adaptive
        if adaptive is None or not adaptive.rules.enforces:
            self.cap = total
        else:
            self.cap = adaptive.bound if total is None else min(adaptive.bound, total)

    def _adapt(self, adaptive: Adaptive, now: float, late_s: float) -> None:
        adaptive.tick(self.in_use, self.most, now, late_s)
        before = self.cap
        self._find_cap()
        if before is not None and self.cap is not None and self.cap > before:
            self.serve()

    # -- who gets no slot --

    def _expire(self, line: Line[ConnectionT], now: float) -> None:
        if late := line.queue.expired(now):
            self._send_away(line, late, Refusal.TIMEOUT, now)

    def _observe_shedding(self, line: Line[ConnectionT], rules: ShedRules, now: float) -> None:
        queue, adaptive = line.queue, self.adaptive
        is_least = adaptive is not None and adaptive.rules.enforces and adaptive.is_least
        if line.shedding.observe(queue.fill, queue.late_rank, is_least, rules, now):
            refused = len(PRIORITIES) - line.shedding.level  # the best class that is
            for other in self.lines.rivals(line, self.cap):
                self._send_away(other, other.queue.take_worse_than(refused), Refusal.SHED, now)

    def _send_away(
        self, line: Line[ConnectionT], claims: Sequence[Claim[ConnectionT]], refusal: Refusal, now: float
    ) -> None:
        """Those who have waited, and are out of the line already."""
        drain_per_s = line.drain_per_s(self.cap, now) if claims else None
        for claim in claims:
            claim.line = None
            if not claim.future.done():
                claim.fail(self._refused(claim, refusal, line, drain_per_s, now - claim.since))

    def _refused(
        self,
        claim: Claim[ConnectionT],
        refusal: Refusal,
        line: Line[ConnectionT],
        drain_per_s: float | None,
        waited_s: float = 0.0,
    ) -> ProxyError:
        self.stats.classes[claim.rank].refused[refusal.value] += 1
        where = line.pools[0].address.label + (", ..." if len(line.pools) > 1 else "")
        waiting = len(line.queue)
        if refusal is Refusal.TIMEOUT:
            detail = f"{where}: no free slot within {waited_s:.2f} s"
        else:
            detail = f"{where}: {sum(pool.in_use for pool in line.pools)} in flight, {waiting} waiting"
        return ProxyError(_KINDS[refusal], detail, retry_after_s=retry_after_s(waiting + 1, drain_per_s))


def private_gate(pool: EndpointPool[ConnectionT], clock: Callable[[], float]) -> Gate[ConnectionT]:
    """Of a pool that belongs to no group (yet)."""
    gate: Gate[ConnectionT] = Gate(pool.numbers, clock)
    gate.attach(pool)
    return gate
