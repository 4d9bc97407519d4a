"""Services: what the line works with. `App` makes them and keeps them in order; a stage takes the one that it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxy.cache.cache import Cache
    from proxy.core.ids import RequestIds
    from proxy.limits.stage import Limiter
    from proxy.observe.observe import Observe
    from proxy.replicas.replicas import Replicas
    from proxy.snapshot import Snapshot
    from proxy.upstreams.registry import Registry


class Services:
    """One per worker. A reload replaces `snapshot` and `limiter` whole; the others outlive it."""

    __slots__ = ("cache", "ids", "limiter", "observe", "registry", "replicas", "snapshot")

    def __init__(
        self,
        snapshot: Snapshot,
        limiter: Limiter,
        cache: Cache,
        registry: Registry[Any],
        replicas: Replicas,
        observe: Observe,
        ids: RequestIds,
    ) -> None:
        self.snapshot = snapshot
        self.limiter = limiter
        self.cache = cache
        self.registry = registry
        self.replicas = replicas
        self.observe = observe
        self.ids = ids
