"""The operator's listener: everything that it serves, opened and closed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from proxy.admin.app import make_admin
from proxy.admin.cache_operator import CacheOperator, CacheParts
from proxy.admin.components import Components
from proxy.admin.operator import Operator, Parts
from proxy.admin.precompute_operator import PrecomputeOperator
from proxy.admin.replicas_operator import ReplicasOperator
from proxy.admin.runner import AdminRunner
from proxy.admin.upstreams_operator import UpstreamsOperator
from proxy.config.addresses import parse_address
from proxy.server.socket_files import SocketFile

if TYPE_CHECKING:
    from proxy.app import Services


class AdminListener:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._runner: web.BaseRunner | None = None
        self._file: SocketFile | None = None

    async def open(self, text: str) -> None:
        """`text`: where, as configured. Raises OSError when that cannot be had."""
        if text == "off":
            return
        services, address = self._services, parse_address(text)
        admin = make_admin(_View(services, text), _operator(services))
        _cache_operator(services).add_to(admin)
        ReplicasOperator(services.replicas).add_to(admin)
        _precompute_operator(services).add_to(admin)
        UpstreamsOperator(services.registry.status).add_to(admin)
        self._runner = runner = AdminRunner(admin)
        await runner.setup()
        site: web.BaseSite
        if address.path:
            SocketFile.claim(address.path)
            site = web.UnixSite(runner, address.path)
        else:
            site = web.TCPSite(runner, address.host, address.port)
        await site.start()
        if address.path:
            self._file = SocketFile(address.path)

    async def close(self) -> None:
        """Safe also where it was never opened."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._file is not None:
            self._file.remove()

    @property
    def address(self) -> str | None:
        """Where it is, as printed; the real port where 0 was configured."""
        if self._runner is None or not self._runner.addresses:
            return None
        address = self._runner.addresses[0]
        return f"http://{address[0]}:{address[1]}" if isinstance(address, tuple) else f"unix:{address}"


class _View:
    """What the admin application shows (admin.app.View)."""

    def __init__(self, services: Services, address: str) -> None:
        self.health = Components(services)
        self.metrics = services.collector
        self.address = address


def _operator(services: Services) -> Operator:
    return Operator(
        Parts(
            tokens=lambda: services.snapshot.settings.operator.tokens,
            limits=lambda: services.snapshot.limits,
            routes=lambda: {route.name for route in services.snapshot.routes.routes},
            store=services.limit_store,
            controls=services.controls,
            sharing=services.controls_store,
            audit=services.observe.audit,
            events=services.observe.events,
        )
    )


def _cache_operator(services: Services) -> CacheOperator:
    return CacheOperator(
        CacheParts(
            cache=services.cache,
            audit=services.observe.audit,
            tokens=lambda: services.snapshot.settings.operator.tokens,
            targets=partial(_targets, services),
            sharing=services.purges,
        )
    )


def _precompute_operator(services: Services) -> PrecomputeOperator:
    return PrecomputeOperator(
        services.precomputer, services.observe.audit, lambda: services.snapshot.settings.operator.tokens
    )


def _targets(services: Services, target: bytes) -> set[bytes]:
    """All forms in which a route writes this path and query in a key."""
    policies = [route.cache for route in services.snapshot.routes.routes if route.cache is not None]
    return {policy.keying.target(target) for policy in policies if policy.keying is not None}
