"""One address of one upstream, alive: its pool, its health, its counters.

It outlives exchanges and reloads; the registry creates it and lets it go. Two state machines say whether it is used:
`health` (can it be reached) and `ejection` (is what it answers of any use).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic

from proxy.core.errors import ErrorKind, ProxyError, Side
from proxy.upstreams.adaptive import Adaptive
from proxy.upstreams.address import Address
from proxy.upstreams.ejection import Ejection, Totals
from proxy.upstreams.health import NEVER, Health
from proxy.upstreams.lease import ConnectionT
from proxy.upstreams.pool import EndpointPool
from proxy.upstreams.upstream import HealthRules, Upstream

__all__ = ["CONNECT_FAILURES", "Check", "Endpoint"]

CONNECT_FAILURES: Final = frozenset({ErrorKind.CONNECT_REFUSED, ErrorKind.CONNECT_TIMEOUT, ErrorKind.TLS_FAILED})
_NOT_ITS_FAULT: Final = frozenset(
    {
        ErrorKind.QUEUE_FULL,
        ErrorKind.QUEUE_TIMEOUT,
        ErrorKind.NO_CHANCE,
        ErrorKind.SHED,
        ErrorKind.NO_ENDPOINT,
        ErrorKind.OUT_OF_SOCKETS,
        ErrorKind.REUSED_CONNECTION_CLOSED,  # both sides may end a connection that nobody uses (RFC 9112 §9.5)
    }
)
_TIMEOUTS: Final = frozenset({ErrorKind.RESPONSE_TIMEOUT, ErrorKind.CONNECT_TIMEOUT})
_LEAST_SHARE: Final = 0.1  # of one that has just been admitted: with nothing it would never warm up
_REMEMBER_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check. `error` is empty when it passed; `status` is 0 without a response."""

    at: float
    latency_s: float
    status: int = 0
    error: str = ""


class Endpoint(Generic[ConnectionT]):
    """`address` in the upstream named `upstream_name`.

    The stage reports every attempt with `succeeded` or `failed`; an attempt whose client left is not reported.
    `on_change` is called when it is used otherwise than before: out, back, on trial, at its full share.
    """

    __slots__ = (
        "_admitted_at",
        "_broken",
        "_on_change",
        "_remember_at",
        "_rng",
        "adaptive",
        "address",
        "ejection",
        "ejections",
        "failures",
        "failures_in_a_row",
        "health",
        "is_last",
        "is_out",
        "is_told_out",
        "last_check",
        "last_error",
        "latency_sum_s",
        "pool",
        "requests",
        "rules",
        "share",
        "upstream",
        "upstream_name",
    )

    def __init__(
        self,
        upstream: Upstream,
        address: Address,
        pool: EndpointPool[ConnectionT],
        now: float,
        rng: Callable[[], float],
        on_change: Callable[[Endpoint[ConnectionT]], None],
    ) -> None:
        self.upstream = upstream  # of the configuration in force
        self.upstream_name = upstream.name
        self.address = address
        self.adaptive: Adaptive | None = None  # of its upstream, where it has one; the group keeps it
        self.pool = pool
        self.rules: HealthRules | None = upstream.health
        self.health = Health(now if self.rules is not None else NEVER)
        self.ejection = Ejection(now)
        self.is_out = False  # what `healthy` says, for every exchange
        self.is_told_out = False  # the operator knows; the registry keeps it
        self.is_last = False  # no other endpoint that takes everything is in; the group keeps it
        self.share = 1.0  # of its part of the exchanges, less while it starts slowly
        self.last_check: Check | None = None
        self.last_error = ""  # what took it out, or would; with addresses, for the operator
        # counters, for metrics; connects, reuses and queue counters are the pool's
        self.requests = 0  # attempts that ended, well or not
        self.failures = 0
        self.failures_in_a_row = 0
        self.ejections = 0
        self.latency_sum_s = 0.0
        self._broken = 0  # of the failures those without an answer, but for connects
        self._admitted_at = now
        self._remember_at = now
        self._rng = rng
        self._on_change = on_change
        pool.on_warm_failed = self._warm_failed
        pool.endpoint = self

    @property
    def healthy(self) -> bool:
        """It is used."""
        return self.health.healthy and self.ejection.is_in

    @property
    def load(self) -> int:
        return self.pool.load

    @property
    def in_flight(self) -> int:
        """Leases, connects under way included."""
        return self.pool.in_use

    # -- what exchanges tell --

    def succeeded(self, now: float, latency_s: float = 0.0) -> None:
        """A response head came, with a status that is no failure: an endpoint that answers 500 can be reached."""
        self.requests += 1
        self.latency_sum_s += latency_s
        if self.failures_in_a_row:
            self.failures_in_a_row = 0
        if self.is_out:
            self._passed_while_out(now)

    def answered(self, status: int, now: float, latency_s: float = 0.0) -> None:
        """A response head came; `status` may be a failure (`eject: {statuses}`)."""
        rules = self.upstream.eject
        if rules is None or status not in rules.statuses:
            self.succeeded(now, latency_s)
            return
        self.latency_sum_s += latency_s
        self._count_failure()
        if not self.health.healthy and self.health.exchange_passed(self.rules is not None):
            self._admit(now)  # it can be reached
        self._judge(f"status {status}", now, is_broken=False)

    def failed(self, kind: ErrorKind, now: float) -> None:
        """An attempt ended with `kind`. A connect that failed takes the endpoint out at once, other failures in
        numbers; what was our doing (a full queue, say) does not count at all."""
        if kind.side is not Side.UPSTREAM or kind in _NOT_ITS_FAULT:
            return
        self._count_failure()
        if self.adaptive is not None and kind in _TIMEOUTS:
            self.adaptive.timed_out()
        if kind in CONNECT_FAILURES:
            self._connect_failed(kind.value, now)
        else:
            self._broken += 1
            self._judge(kind.value, now, is_broken=True)

    # -- what time and checks tell --

    def checked(self, check: Check) -> None:
        """A check has ended."""
        self.last_check = check
        rules = self.rules
        rise, fall, interval_s = (rules.rise, rules.fall, rules.interval_s) if rules is not None else (1, 1, NEVER)
        interval_s *= 0.9 + 0.2 * self._rng()  # so that the workers' checks spread
        if not check.error:
            if self.health.check_passed(check.at, rise, interval_s):
                self._admit(check.at)
            return
        if self.health.healthy:
            self.last_error = check.error
        if self.health.check_failed(check.at, self._rng(), fall, interval_s):
            self._changed()

    def tick(self, now: float) -> None:
        """Move what depends on time: the window of failures, the end of an ejection, the slow start."""
        if now >= self._remember_at:
            self._remember_at = now + _REMEMBER_EVERY_S
            self.ejection.remember(self._totals())
        if self.share < 1.0:
            slow_start_s = self.upstream.slow_start_s
            grown = (now - self._admitted_at) / slow_start_s if slow_start_s > 0.0 else 1.0
            self.share = min(max(grown, _LEAST_SHARE), 1.0)
            if self.share >= 1.0:
                self._on_change(self)
        if self.is_out and self.ejection.tick(now, self.pool.in_use == 0 and self.pool.waiting == 0):
            self._on_change(self)

    def begin_trial(self, now: float) -> None:
        """The exchange that asked for an endpoint gets this one although it is ejected."""
        self.ejection.begin_trial(now)
        self._on_change(self)

    def start_slowly(self, now: float) -> None:
        """It is new, or back: its part of the exchanges grows over the slow start."""
        self._admitted_at = now
        self.share = _LEAST_SHARE if self.upstream.slow_start_s > 0.0 else 1.0

    def update(self, upstream: Upstream, now: float) -> None:
        """The configuration has changed; health and connections stay."""
        self.upstream = upstream
        self.pool.resize(upstream.pool)
        if upstream.eject is None and self.ejection.reset(now, self._totals()):
            self.is_out = not self.healthy
        if self.rules != upstream.health:
            self.rules = upstream.health
            if self.rules is not None or not self.health.healthy:
                self.health.check_at = min(self.health.check_at, now)
            else:
                self.health.check_at = NEVER
                self.last_check = None

    def status(self, now: float) -> dict[str, Any]:
        """For the operator."""
        check, ejection = self.last_check, self.ejection
        return {
            "address": self.address.label,
            "healthy": self.healthy,
            "error": None if self.healthy else self.last_error,
            "ejection": None
            if ejection.is_in
            else {"state": ejection.state.value, "ends_in_s": round(max(ejection.until_at - now, 0.0), 3)},
            "share": round(self.share, 3),
            "check": None
            if check is None
            else {
                "status": check.status or None,
                "error": check.error or None,
                "latency_s": round(check.latency_s, 6),
                "age_s": round(max(now - check.at, 0.0), 3),
            },
            "pool": self.pool.stats(),
        }

    # -- private --

    def _count_failure(self) -> None:
        self.requests += 1
        self.failures += 1
        self.failures_in_a_row += 1

    def _totals(self) -> Totals:
        return Totals(self.requests, self.failures, self._broken)

    def _judge(self, error: str, now: float, *, is_broken: bool) -> None:
        rules = self.upstream.eject
        if rules is None or not self.health.healthy:
            return
        was_in = self.ejection.is_in
        if not self.ejection.failed(
            now,
            self._rng(),
            rules,
            self._totals(),
            self.failures_in_a_row,
            is_broken=is_broken,
            is_last=self.is_last,
        ):
            return
        if self.ejection.is_in:
            self._admit(now)
            return
        self.ejections += 1
        self.last_error = f"{self.ejection.why}, the last one: {error}" if was_in else f"trial failed: {error}"
        self._changed()

    def _passed_while_out(self, now: float) -> None:
        was_out = not self.healthy
        if not self.health.healthy:
            self.health.exchange_passed(self.rules is not None)
        self.ejection.passed(now, self._totals())
        if was_out and self.healthy:
            self._admit(now)

    def _connect_failed(self, error: str, now: float) -> None:
        if self.health.healthy:
            self.last_error = error
        was_refusing = self.health.is_refusing
        if self.health.connect_failed(now, self._rng()) or not was_refusing:
            self.ejection.reset(now, self._totals())  # when it listens again, it is another process
            self._changed()

    def _warm_failed(self, error: ProxyError, now: float) -> None:
        """A connect for later failed: better to know it before a client does."""
        if error.kind in CONNECT_FAILURES:
            self._connect_failed(str(error), now)

    def _admit(self, now: float) -> None:
        self.failures_in_a_row = 0
        if self.healthy:
            self.start_slowly(now)
        self._changed()

    def _changed(self) -> None:
        self.is_out = not self.healthy
        self._on_change(self)

    def __repr__(self) -> str:
        return f"<Endpoint {self.upstream_name} {'healthy' if self.healthy else 'out'} {self.pool!r}>"
