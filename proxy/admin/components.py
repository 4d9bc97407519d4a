"""How every part of Weir is: for /readyz and /healthz (admin.health.Health)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from proxy.admin.health import Component
from proxy.core.clock import wall

if TYPE_CHECKING:
    from proxy.app import Services


class Components:
    def __init__(self, services: Services) -> None:
        self._services = services

    def is_started(self) -> bool:
        return self._services.is_open

    def is_draining(self) -> bool:
        return self._services.host.is_draining

    async def components(self) -> Sequence[Component]:
        services = self._services
        store = services.limit_store.status()
        parts = [Component("store", not store.get("error"), store)]
        controls = services.controls_store.status()
        parts.append(Component("controls", not controls.get("error"), controls))
        for name, detail in services.registry.status().items():
            parts.append(Component(f"upstream {name}", bool(detail.get("healthy")), detail))
        for name, detail in services.replicas.status().items():
            parts.append(Component(name, bool(detail["healthy"]), detail))
        if (sessions := services.replicas.store_status()) is not None:
            parts.append(Component("sessions", not sessions["error"], sessions))
        purges = services.purges.status()
        parts.append(Component("purges", not purges.get("error"), purges))
        parts.append(Component("cache", True, {"entries": services.cache.entries, "bytes": services.cache.bytes}))
        if services.database.is_on:
            parts.append(Component("database", services.database.error is None, services.database.status()))
        if (disk := services.cache.disk) is not None:
            parts.append(Component("cache disk", disk.is_ready, disk.status()))
        if services.cache.shared is not None:
            shared = services.cache.shared.status()
            parts.append(Component("shared cache", not shared["error"], shared))
        snapshot = services.snapshot
        if snapshot.precomputes:  # one that fails is to be seen, and is no reason to look at all of Weir
            parts.append(Component("precompute", True, services.precomputer.status()))
        parts.append(
            Component("configuration", True, {"version": snapshot.version, "age_s": wall() - snapshot.loaded_at_wall})
        )
        if snapshot.identity.needs_jwks:
            detail = snapshot.identity.status()
            parts.append(Component("identity", not any(keys["problem"] for keys in detail["key_sets"]), detail))
        return parts
