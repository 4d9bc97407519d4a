"""Every live endpoint, and the choice among them.

The registry owns what outlives an exchange and a reload: endpoints, keyed by upstream name, address and, for https,
the TLS settings. One coarse tick moves all that depends on time.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Generic

from proxy.core.clock import monotonic
from proxy.core.errors import ErrorKind, ProxyError
from proxy.upstreams.address import Address
from proxy.upstreams.endpoint import Endpoint
from proxy.upstreams.gate import TICK_S, Gate
from proxy.upstreams.group import Group
from proxy.upstreams.health import NEVER
from proxy.upstreams.hedging import Hedging
from proxy.upstreams.hold import Held, Hold
from proxy.upstreams.lease import ConnectionT
from proxy.upstreams.pool import EndpointPool
from proxy.upstreams.prober import Prober
from proxy.upstreams.resolver import Lookup, Resolver, look_up
from proxy.upstreams.retry import RetryBudget
from proxy.upstreams.upstream import PoolNumbers, Upstream

__all__ = ["GRACE_S", "TICK_S", "Endpoint", "Registry"]

GRACE_S: Final = 5.0  # from a reload to the drain of what it dropped: exchanges that began before it come this late

_Key = tuple[str, Address, str]
log = logging.getLogger("weir.upstreams")


def log_change(endpoint: Endpoint[Any]) -> None:
    """What is said of an endpoint that went out or came back, unless somebody else says it."""
    if endpoint.healthy:
        log.info("endpoint %s of upstream %s is back", endpoint.address.label, endpoint.upstream_name)
    else:
        label, name = endpoint.address.label, endpoint.upstream_name
        log.warning("endpoint %s of upstream %s is out: %s", label, name, endpoint.last_error)


class Registry(Generic[ConnectionT]):
    """Endpoints of all upstreams. `open_connection` opens one to an address, as `EndpointPool.connect` does."""

    def __init__(
        self,
        open_connection: Callable[[Upstream, Address], Awaitable[ConnectionT]],
        *,
        clock: Callable[[], float] = monotonic,
        rng: Callable[[], float] = random.random,
        on_change: Callable[[Endpoint[Any]], None] = log_change,
        lookup: Lookup = look_up,
    ) -> None:
        """`on_change` is told of every endpoint that goes out or comes back."""
        self.rng = rng
        self._open_connection = open_connection
        self._clock = clock
        self._on_change = on_change
        self._groups: dict[str, Group[ConnectionT]] = {}
        self._endpoints: dict[_Key, Endpoint[ConnectionT]] = {}  # of the configuration in force
        self._leaving: dict[_Key, tuple[float, Endpoint[ConnectionT]]] = {}  # dropped by a reload, and when to drain
        self._draining: list[Endpoint[ConnectionT]] = []
        self._prober: Prober[ConnectionT] = Prober(clock)
        self._upstreams: Mapping[str, Upstream] = {}  # of the configuration in force
        self._resolver = Resolver(lookup, clock, self._moved)
        self._ticker: asyncio.TimerHandle | None = None

    # -- for the stage --

    def select(
        self,
        upstream: Upstream,
        use_replicas: bool,
        exclude: Endpoint[ConnectionT] | None = None,
        is_safe: bool = True,
    ) -> Endpoint[ConnectionT]:
        """The endpoint for the next attempt, another one than `exclude` where there is another.

        Endpoints that are out are skipped; when all refuse connections, the one that failed longest ago is tried.
        Reads go to the primary when no replica is healthy. `is_safe`: the request may be the trial of an endpoint that
        was ejected. Raises ProxyError (NO_ENDPOINT) when the breaker is open or the upstream is gone altogether.
        """
        group = self._groups.get(upstream.name)
        if group is None:
            raise ProxyError(ErrorKind.NO_ENDPOINT, f"there is no upstream {upstream.name}", retry_after_s=1.0)
        return group.select(use_replicas, exclude, is_safe)

    def select_among(
        self, upstream: Upstream, readers: frozenset[Address], exclude: Endpoint[ConnectionT] | None = None
    ) -> Endpoint[ConnectionT]:
        """As `select`, with only these of the replicas: the primary when none of them is healthy."""
        group = self._groups.get(upstream.name)
        endpoint = group.select_replica(exclude, readers) if group is not None and readers else None
        return self.select(upstream, False, exclude) if endpoint is None else endpoint

    def select_replica(
        self,
        upstream: Upstream,
        exclude: Endpoint[ConnectionT] | None = None,
        readers: frozenset[Address] | None = None,
    ) -> Endpoint[ConnectionT] | None:
        """A healthy replica, another one than `exclude` and one of `readers`; None when there is none. Never the
        primary."""
        group = self._groups.get(upstream.name)
        return None if group is None else group.select_replica(exclude, readers)

    def spend_retry(self, upstream: Upstream, now: float) -> bool:
        """Take a retry from the upstream's budget (W19). False: let the error stand."""
        group = self._groups.get(upstream.name)
        return group is not None and group.spend_retry(now)

    def has_other(self, upstream: Upstream, use_replicas: bool, endpoint: Endpoint[ConnectionT]) -> bool:
        """Another endpoint than this one may be used now."""
        group = self._groups.get(upstream.name)
        return group is not None and group.has_other(use_replicas, endpoint)

    def hedging(self, upstream: Upstream) -> Hedging | None:
        """What is known for hedges, where the upstream hedges."""
        group = self._groups.get(upstream.name)
        return None if group is None else group.hedging

    def wait_back(self, upstream: Upstream, use_replicas: bool, content_bytes: int, deadline_at: float) -> Held | None:
        """A place among the requests that wait because every endpoint refuses connections; None: no place, or no such
        reason, or it has gone on for too long. `content_bytes` are kept meanwhile. End it with `stop_waiting`."""
        group = self._groups.get(upstream.name)
        return None if group is None else group.wait_back(use_replicas, content_bytes, deadline_at)

    def stop_waiting(self, upstream: Upstream, held: Held) -> None:
        """The wait is over: it may try again, its time is up, or its client left."""
        group = self._groups.get(upstream.name)
        if group is not None:
            group.hold.leave(held)

    def release_held(self, upstream: Upstream) -> None:
        """One of those who waited got its answer: let the next go."""
        group = self._groups.get(upstream.name)
        if group is not None:
            group.release_held()

    def hold_back(self, share_of: Callable[[str], float]) -> None:
        """Let each upstream have `share_of(name)` (0 to 1) of its `max_in_flight`, at each endpoint, and of its
        `max_in_flight_total` at once, but never less than one. Until the next call, or the next `apply`."""
        for endpoint in self._endpoints.values():
            numbers = _part_of(endpoint.upstream.pool, share_of(endpoint.upstream.name))
            if endpoint.pool.numbers != numbers:
                endpoint.pool.resize(numbers)

    def database_said(self, is_late: Callable[[str], bool]) -> None:
        """A reading of the database's pooler: take half of its adaptive limit from each upstream of which
        `is_late(name)`, and let the others' grow again."""
        for name, group in self._groups.items():
            group.gate.database_said(is_late(name))

    # -- for the operator --

    @property
    def endpoints(self) -> Sequence[Endpoint[ConnectionT]]:
        """Those of the configuration in force, for metrics."""
        return list(self._endpoints.values())

    @property
    def gates(self) -> dict[str, Gate[ConnectionT]]:
        """By name of the upstream: who waits for it, for metrics."""
        return {name: group.gate for name, group in self._groups.items() if group.drop_at == NEVER}

    @property
    def groups(self) -> Sequence[Group[ConnectionT]]:
        """The upstreams of the configuration in force, for metrics."""
        return [group for group in self._groups.values() if group.drop_at == NEVER]

    def status(self) -> dict[str, Any]:
        """By name of the upstream: whether it can serve, and its endpoints with role, health, last check and pool."""
        now = self._clock()
        return {name: group.status(now) for name, group in self._groups.items() if group.drop_at == NEVER}

    # -- life --

    def start(self) -> None:
        """Begin to tick: checks, warm-up, timeouts. Needs the running loop."""
        self._tick_and_again(asyncio.get_running_loop())

    async def stop(self) -> None:
        """End checks, fail what waits, close what is idle. Connections in use close when they are released."""
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        await self._prober.stop()
        await self._resolver.stop()
        for endpoint in self._alive():
            endpoint.pool.close()
        for group in self._groups.values():
            group.hold.expire(NEVER)

    def tick(self, now: float) -> None:
        """Move everything that depends on time. `start` has this called every TICK_S."""
        for endpoint in self._alive():
            endpoint.pool.tick(now)
        for endpoint in self._endpoints.values():
            endpoint.tick(now)
            if not endpoint.is_out:
                endpoint.pool.warm(now)
        for group in list(self._groups.values()):
            group.tick(now)
        self._prober.tick(self._endpoints.values(), now)
        self._resolver.tick(now)
        if self._leaving or self._draining:
            self._retire(now)

    def _tick_and_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ticker = loop.call_later(TICK_S, self._tick_and_again, loop)
        self.tick(self._clock())

    def _alive(self) -> list[Endpoint[ConnectionT]]:
        return [*self._endpoints.values(), *(endpoint for _, endpoint in self._leaving.values()), *self._draining]

    # -- reload --

    def apply(self, upstreams: Mapping[str, Upstream], now: float) -> None:
        """Make the endpoints those of `upstreams`. One that stays keeps its connections and its health; one that is
        dropped is selected no more, and drained after GRACE_S."""
        self._upstreams = upstreams
        self._resolver.follow(
            [
                (address, upstream.resolve_s)
                for upstream in upstreams.values()
                if upstream.resolve_s
                for address in upstream.primary + upstream.replicas
            ],
            now,
        )
        self._place(upstreams, now)

    def _moved(self) -> None:
        """The addresses of a name have changed."""
        self._place(self._upstreams, self._clock())

    def _places(self, upstream: Upstream, addresses: tuple[Address, ...]) -> list[Address]:
        """The addresses with names looked up, each once."""
        if not upstream.resolve_s:
            return list(addresses)
        return list(dict.fromkeys(place for address in addresses for place in self._resolver.addresses_of(address)))

    def _place(self, upstreams: Mapping[str, Upstream], now: float) -> None:
        before, self._endpoints = self._endpoints, {}
        for upstream in upstreams.values():
            for address in self._places(upstream, upstream.primary + upstream.replicas):
                key = _key(upstream, address)
                if key not in self._endpoints:
                    self._endpoints[key] = self._keep_or_create(key, before, upstream, now)
            self._groups[upstream.name] = self._group(upstream, now)
        for key in before.keys() - self._endpoints.keys():
            self._leaving[key] = (now + GRACE_S, before[key])
        for name, group in self._groups.items():
            if name not in upstreams and group.drop_at == NEVER:
                group.drop_at = now + GRACE_S

    def _keep_or_create(
        self, key: _Key, before: Mapping[_Key, Endpoint[ConnectionT]], upstream: Upstream, now: float
    ) -> Endpoint[ConnectionT]:
        address = key[1]
        connect = partial(self._open_connection, upstream, address)
        endpoint = before.get(key)
        if endpoint is None and key in self._leaving:
            endpoint = self._leaving.pop(key)[1]
        if endpoint is not None:
            endpoint.pool.connect = connect
            endpoint.update(upstream, now)
            return endpoint
        pool = EndpointPool(address, upstream.pool, connect, clock=self._clock)
        endpoint = Endpoint(upstream, address, pool, now, self.rng, self._changed)
        if upstream.name in self._groups:
            endpoint.start_slowly(now)  # beside others that are warm
        return endpoint

    def _group(self, upstream: Upstream, now: float) -> Group[ConnectionT]:
        primary = [self._endpoints[_key(upstream, address)] for address in self._places(upstream, upstream.primary)]
        replicas = [self._endpoints[_key(upstream, address)] for address in self._places(upstream, upstream.replicas)]
        before = self._groups.get(upstream.name)
        gate = before.gate if before is not None else None
        budget, hold = (RetryBudget(now), Hold()) if before is None else (before.budget, before.hold)
        group = Group(upstream, primary, replicas, budget, hold, self._clock, self.rng, gate)
        if upstream.hedge is not None:
            group.hedging = before.hedging if before is not None else None
            if group.hedging is None:
                group.hedging = Hedging(upstream.hedge, now)
            group.hedging.take_rules(upstream.hedge)
        return group

    def _retire(self, now: float) -> None:
        for key, (drain_at, endpoint) in list(self._leaving.items()):
            if now >= drain_at:
                del self._leaving[key]
                endpoint.pool.drain()
                self._draining.append(endpoint)
        self._draining = [endpoint for endpoint in self._draining if not endpoint.pool.closed]
        for name in [name for name, group in self._groups.items() if now >= group.drop_at]:
            self._groups[name].hold.expire(NEVER)
            del self._groups[name]

    def _changed(self, endpoint: Endpoint[ConnectionT]) -> None:
        group = self._groups.get(endpoint.upstream_name)
        if group is not None:
            group.refresh()
        if endpoint.health.is_refusing:
            self._resolver.hurry(endpoint.address)
        if endpoint.is_told_out is endpoint.healthy:
            endpoint.is_told_out = not endpoint.healthy
            self._on_change(endpoint)
        if group is not None and endpoint.healthy:
            group.release_held()


def _part_of(numbers: PoolNumbers, share: float) -> PoolNumbers:
    if share >= 1.0:
        return numbers
    total = numbers.max_in_flight_total
    return replace(
        numbers,
        max_in_flight=max(int(numbers.max_in_flight * share), 1),
        max_in_flight_total=None if total is None else max(int(total * share), 1),
    )


def _key(upstream: Upstream, address: Address) -> _Key:
    """Connections of one TLS identity are never used under another, so a renewed certificate makes a new endpoint."""
    return upstream.name, address, upstream.tls.fingerprint if upstream.tls is not None and address.is_tls else ""
