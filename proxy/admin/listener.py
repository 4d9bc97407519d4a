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
    from proxy.app import App


class AdminListener:
    def __init__(self, app: App) -> None:
        self._app = app
        self._runner: web.BaseRunner | None = None
        self._file: SocketFile | None = None

    async def open(self, text: str) -> None:
        """`text`: where, as configured. Raises OSError when that cannot be had."""
        if text == "off":
            return
        app, address = self._app, parse_address(text)
        admin = make_admin(_View(app, text), _operator(app))
        _cache_operator(app).add_to(admin)
        ReplicasOperator(app.replicas).add_to(admin)
        _precompute_operator(app).add_to(admin)
        UpstreamsOperator(app.registry.status).add_to(admin)
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

    def __init__(self, app: App, address: str) -> None:
        self.health = Components(app)
        self.metrics = app.collector
        self.address = address


def _operator(app: App) -> Operator:
    return Operator(
        Parts(
            tokens=lambda: app.snapshot.settings.operator.tokens,
            limits=lambda: app.snapshot.limits,
            routes=lambda: {route.name for route in app.snapshot.routes.routes},
            store=app.limit_store,
            controls=app.controls,
            sharing=app.controls_store,
            audit=app.observe.audit,
            events=app.observe.events,
        )
    )


def _cache_operator(app: App) -> CacheOperator:
    return CacheOperator(
        CacheParts(
            cache=app.cache,
            audit=app.observe.audit,
            tokens=lambda: app.snapshot.settings.operator.tokens,
            targets=partial(_targets, app),
            sharing=app.purges,
        )
    )


def _precompute_operator(app: App) -> PrecomputeOperator:
    return PrecomputeOperator(app.precomputer, app.observe.audit, lambda: app.snapshot.settings.operator.tokens)


def _targets(app: App, target: bytes) -> set[bytes]:
    """All forms in which a route writes this path and query in a key."""
    policies = [route.cache for route in app.snapshot.routes.routes if route.cache is not None]
    return {policy.keying.target(target) for policy in policies if policy.keying is not None}
