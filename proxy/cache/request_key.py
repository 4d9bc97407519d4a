"""Under which key the response to a request is stored (key.py says how keys are made)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.cache.key import cache_key, origin_of, with_parts

if TYPE_CHECKING:
    from proxy.cache.cache import Cache
    from proxy.cache.policy import CachePolicy
    from proxy.exchange import Exchange


def key_of(exchange: Exchange, cache: Cache, policy: CachePolicy) -> bytes | None:
    """None when the route keeps users or tenants apart, and nobody knows whose request this is."""
    scheme, authority = origin(exchange)
    keying = policy.keying
    if keying is None:
        return cache_key(scheme, authority, exchange.request.target)
    uri = origin_of(scheme, authority) + keying.target(exchange.request.target)
    if not keying.has_parts:
        return uri
    parts = keying.parts(exchange.request.index, exchange.client)
    return None if parts is None else with_parts(uri, cache.invalidations.generation(uri), parts)


def origin(exchange: Exchange) -> tuple[str, bytes]:
    """Scheme and authority as the backend is told them (http/forwarding.py): it may answer with links to them."""
    request = exchange.request
    if not exchange.peer_is_trusted:
        return request.scheme, request.authority
    proto = request.index.get(b"x-forwarded-proto")
    scheme = request.scheme if proto is None else proto.decode("latin-1")
    return scheme, request.index.get(b"x-forwarded-host", request.authority)
