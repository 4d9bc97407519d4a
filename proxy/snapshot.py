"""Snapshot: the compiled configuration, immutable, replaced whole.

An exchange keeps the snapshot that it began with. No name is left to look up in it: routes hold their limits, their
cache policy and their upstream as objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.clients.addresses import TrustedProxies
from proxy.routing.table import RouteTable


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The configuration in force."""

    version: str  # first 12 hex digits of the SHA-256 of all source files
    loaded_at_wall: float
    routes: RouteTable
    upstreams: Mapping[str, Any]  # name -> upstreams.upstream.Upstream
    trusted_proxies: TrustedProxies
    identity: Any  # clients.identity.Identity
    private_fields: frozenset[bytes]  # lower-case names that identify users: dropped when the peer is not trusted
    limits: Sequence[Any]  # every limits.limit.Limit, in a stable order
    wire: Any  # wire.settings.WireLimits
    limiter: Any  # limits.settings.LimiterSettings: store failure behaviour, field style
    cache: Any  # cache.settings.CacheSettings: byte budget
    access_log: Any  # observe.settings.AccessLogSettings
    consistencies: Sequence[Any]  # every replicas.consistency.Consistency
    settings: Any  # config.settings.Settings: the parsed models, for `explain` and the operator API
    precomputes: Sequence[Any] = ()  # cache.precompute.Precompute: what is fetched before anybody asks
