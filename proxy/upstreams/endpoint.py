"""One address of one upstream, alive: its pool, its health, its counters.

It outlives exchanges and reloads; the registry creates it and lets it go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic

from proxy.core.errors import ErrorKind, ProxyError, Side
from proxy.upstreams.address import Address
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
        ErrorKind.NO_ENDPOINT,
        ErrorKind.REUSED_CONNECTION_CLOSED,  # both sides may end a connection that nobody uses (RFC 9112 §9.5)
    }
)


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
    `on_change` is called when `healthy` has changed.
    """

    __slots__ = (
        "_on_change",
        "_rng",
        "address",
        "failures",
        "failures_in_a_row",
        "health",
        "last_check",
        "last_error",
        "latency_sum_s",
        "pool",
        "requests",
        "rules",
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
        self.pool = pool
        self.rules: HealthRules | None = upstream.health
        self.health = Health(now if self.rules is not None else NEVER)
        self.last_check: Check | None = None
        self.last_error = ""  # what took it out, or would; with addresses, for the operator
        # counters, for metrics; connects, reuses and queue counters are the pool's
        self.requests = 0  # attempts that ended, well or not
        self.failures = 0
        self.failures_in_a_row = 0
        self.latency_sum_s = 0.0
        self._rng = rng
        self._on_change = on_change
        pool.on_warm_failed = self._warm_failed
        pool.endpoint = self

    @property
    def healthy(self) -> bool:
        return self.health.healthy

    @property
    def load(self) -> int:
        return self.pool.load

    @property
    def in_flight(self) -> int:
        """Leases, connects under way included."""
        return self.pool.in_use

    def succeeded(self, now: float, latency_s: float = 0.0) -> None:
        """A response head came. Its status does not matter: an endpoint that answers 500 can be reached."""
        self.requests += 1
        self.latency_sum_s += latency_s
        if self.failures_in_a_row:
            self.failures_in_a_row = 0
        health = self.health
        if not health.healthy and health.exchange_passed(self.rules is not None):
            self._on_change(self)

    def failed(self, kind: ErrorKind, now: float) -> None:
        """An attempt ended with `kind`. Only a connect that failed takes the endpoint out; what was our doing (a full
        queue, say) does not count at all."""
        if kind.side is not Side.UPSTREAM or kind in _NOT_ITS_FAULT:
            return
        self.requests += 1
        self.failures += 1
        self.failures_in_a_row += 1
        if kind in CONNECT_FAILURES:
            self._connect_failed(kind.value, now)

    def checked(self, check: Check) -> None:
        """A check has ended."""
        self.last_check = check
        rules = self.rules
        rise, fall, interval_s = (rules.rise, rules.fall, rules.interval_s) if rules is not None else (1, 1, NEVER)
        interval_s *= 0.9 + 0.2 * self._rng()  # so that the workers' checks spread
        if check.error:
            self.last_error = check.error
            changed = self.health.check_failed(check.at, self._rng(), fall, interval_s)
        else:
            changed = self.health.check_passed(check.at, rise, interval_s)
        if changed:
            self._on_change(self)

    def update(self, upstream: Upstream, now: float) -> None:
        """The configuration has changed; health and connections stay."""
        self.upstream = upstream
        self.pool.resize(upstream.pool)
        if self.rules != upstream.health:
            self.rules = upstream.health
            if self.rules is not None or not self.healthy:
                self.health.check_at = min(self.health.check_at, now)
            else:
                self.health.check_at = NEVER
                self.last_check = None

    def status(self, now: float) -> dict[str, Any]:
        """For the operator."""
        check = self.last_check
        return {
            "address": self.address.label,
            "healthy": self.healthy,
            "error": None if self.healthy else self.last_error,
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

    def _connect_failed(self, error: str, now: float) -> None:
        self.last_error = error
        if self.health.connect_failed(now, self._rng()):
            self._on_change(self)

    def _warm_failed(self, error: ProxyError, now: float) -> None:
        """A connect for later failed: better to know it before a client does."""
        if error.kind in CONNECT_FAILURES:
            self._connect_failed(str(error), now)

    def __repr__(self) -> str:
        return f"<Endpoint {self.upstream_name} {'healthy' if self.healthy else 'out'} {self.pool!r}>"
