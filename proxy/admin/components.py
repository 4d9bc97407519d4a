"""How every part of Weir is: for /readyz and /healthz (admin.health.Health)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from proxy.admin.health import Component
from proxy.core.clock import wall

if TYPE_CHECKING:
    from proxy.app import App


class Components:
    def __init__(self, app: App) -> None:
        self._app = app

    def is_started(self) -> bool:
        return self._app.is_open

    def is_draining(self) -> bool:
        return self._app.host.is_draining

    async def components(self) -> Sequence[Component]:
        app = self._app
        store = app.limit_store.status()
        parts = [Component("store", not store.get("error"), store)]
        controls = app.controls_store.status()
        parts.append(Component("controls", not controls.get("error"), controls))
        for name, detail in app.registry.status().items():
            parts.append(Component(f"upstream {name}", bool(detail.get("healthy")), detail))
        for name, detail in app.replicas.status().items():
            parts.append(Component(name, bool(detail["healthy"]), detail))
        if (sessions := app.replicas.store_status()) is not None:
            parts.append(Component("sessions", not sessions["error"], sessions))
        purges = app.purges.status()
        parts.append(Component("purges", not purges.get("error"), purges))
        parts.append(Component("cache", True, {"entries": app.cache.entries, "bytes": app.cache.bytes}))
        if app.database.is_on:
            parts.append(Component("database", app.database.error is None, app.database.status()))
        if (disk := app.cache.disk) is not None:
            parts.append(Component("cache disk", disk.is_ready, disk.status()))
        if app.cache.shared is not None:
            shared = app.cache.shared.status()
            parts.append(Component("shared cache", not shared["error"], shared))
        snapshot = app.snapshot
        if snapshot.precomputes:  # one that fails is to be seen, and is no reason to look at all of Weir
            parts.append(Component("precompute", True, app.precomputer.status()))
        parts.append(
            Component("configuration", True, {"version": snapshot.version, "age_s": wall() - snapshot.loaded_at_wall})
        )
        if snapshot.identity.needs_jwks:
            detail = snapshot.identity.status()
            parts.append(Component("identity", not any(keys["problem"] for keys in detail["key_sets"]), detail))
        return parts
