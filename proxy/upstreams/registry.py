"""Every live endpoint, and the choice among them.

The registry owns what outlives an exchange and a reload: endpoints, keyed by upstream name, address and, for https,
the TLS settings. One coarse tick moves all that depends on time.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Generic

from proxy.core.clock import monotonic
from proxy.core.errors import ErrorKind, ProxyError
from proxy.upstreams.address import Address
from proxy.upstreams.endpoint import Endpoint
from proxy.upstreams.gate import Gate
from proxy.upstreams.group import Group, Role
from proxy.upstreams.health import NEVER
from proxy.upstreams.lease import ConnectionT
from proxy.upstreams.pool import EndpointPool
from proxy.upstreams.prober import Prober
from proxy.upstreams.retry import RetryBudget
from proxy.upstreams.upstream import Upstream

__all__ = ["GRACE_S", "TICK_S", "Endpoint", "Registry"]

TICK_S: Final = 0.05
GRACE_S: Final = 5.0  # from a reload to the drain of what it dropped: exchanges that began before it come this late

_Key = tuple[str, Address, str]
log = logging.getLogger("weir.upstreams")


class Registry(Generic[ConnectionT]):
    """Endpoints of all upstreams. `open_connection` opens one to an address, as `EndpointPool.connect` does."""

    def __init__(
        self,
        open_connection: Callable[[Upstream, Address], Awaitable[ConnectionT]],
        *,
        clock: Callable[[], float] = monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._open_connection = open_connection
        self._clock = clock
        self._rng = rng
        self._groups: dict[str, Group[ConnectionT]] = {}
        self._endpoints: dict[_Key, Endpoint[ConnectionT]] = {}  # of the configuration in force
        self._leaving: dict[_Key, tuple[float, Endpoint[ConnectionT]]] = {}  # dropped by a reload, and when to drain
        self._draining: list[Endpoint[ConnectionT]] = []
        self._prober: Prober[ConnectionT] = Prober(clock)
        self._ticker: asyncio.TimerHandle | None = None

    # -- for the stage --

    def select(
        self, upstream: Upstream, use_replicas: bool, exclude: Endpoint[ConnectionT] | None = None
    ) -> Endpoint[ConnectionT]:
        """The endpoint for the next attempt, another one than `exclude` where there is another.

        Endpoints that are out are skipped; when all are, the one that failed longest ago is tried. Reads go to the
        primary when no replica is healthy. Raises ProxyError (NO_ENDPOINT) when the upstream is gone altogether.
        """
        group = self._groups.get(upstream.name)
        if group is None:
            raise ProxyError(ErrorKind.NO_ENDPOINT, f"there is no upstream {upstream.name}", retry_after_s=1.0)
        return group.select(use_replicas, exclude)

    def select_replica(
        self, upstream: Upstream, exclude: Endpoint[ConnectionT] | None = None
    ) -> Endpoint[ConnectionT] | None:
        """A healthy replica, another one than `exclude`; None when there is none. Never the primary."""
        group = self._groups.get(upstream.name)
        return None if group is None else group.select_replica(exclude)

    def spend_retry(self, upstream: Upstream, now: float) -> bool:
        """Take a retry from the upstream's budget (W19). False: let the error stand."""
        group = self._groups.get(upstream.name)
        return group is not None and group.spend_retry(now)

    # -- for the operator --

    @property
    def endpoints(self) -> Sequence[Endpoint[ConnectionT]]:
        """Those of the configuration in force, for metrics."""
        return list(self._endpoints.values())

    @property
    def gates(self) -> dict[str, Gate[ConnectionT]]:
        """By name of the upstream: who waits for it, for metrics."""
        return {name: group.gate for name, group in self._groups.items() if group.drop_at == NEVER}

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
        for endpoint in self._alive():
            endpoint.pool.close()

    def tick(self, now: float) -> None:
        """Move everything that depends on time. `start` has this called every TICK_S."""
        for endpoint in self._alive():
            endpoint.pool.tick(now)
        for endpoint in self._endpoints.values():
            if endpoint.healthy:
                endpoint.pool.warm(now)
        self._prober.tick(self._endpoints.values(), now)
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
        before, self._endpoints = self._endpoints, {}
        for upstream in upstreams.values():
            for address in upstream.primary + upstream.replicas:
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
        return Endpoint(upstream, address, pool, now, self._rng, self._health_changed)

    def _group(self, upstream: Upstream, now: float) -> Group[ConnectionT]:
        primary = Role([self._endpoints[_key(upstream, address)] for address in upstream.primary])
        replicas = Role([self._endpoints[_key(upstream, address)] for address in upstream.replicas])
        before = self._groups.get(upstream.name)
        budget = before.budget if before is not None else RetryBudget(now)
        return Group(upstream.select, primary, replicas, budget, before.gate if before is not None else None)

    def _retire(self, now: float) -> None:
        for key, (drain_at, endpoint) in list(self._leaving.items()):
            if now >= drain_at:
                del self._leaving[key]
                endpoint.pool.drain()
                self._draining.append(endpoint)
        self._draining = [endpoint for endpoint in self._draining if not endpoint.pool.closed]
        for name in [name for name, group in self._groups.items() if now >= group.drop_at]:
            del self._groups[name]

    def _health_changed(self, endpoint: Endpoint[ConnectionT]) -> None:
        for group in self._groups.values():
            group.refresh()
        if endpoint.healthy:
            log.info("endpoint %s of upstream %s is back", endpoint.address.label, endpoint.upstream_name)
        else:
            log.warning(
                "endpoint %s of upstream %s is out: %s",
                endpoint.address.label,
                endpoint.upstream_name,
                endpoint.last_error,
            )


def _key(upstream: Upstream, address: Address) -> _Key:
    """Connections of one TLS identity are never used under another, so a renewed certificate makes a new endpoint."""
    return upstream.name, address, upstream.tls.fingerprint if upstream.tls is not None and address.is_tls else ""
