"""What Weir would do with one request, found out by the stages themselves. Nothing is sent, nothing is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from proxy.cache.key import cache_key, origin_of
from proxy.cache.policy import describe_cache
from proxy.clients.addresses import connection_client
from proxy.clients.client import Client
from proxy.clients.stage import identify
from proxy.core.errors import ErrorKind, ProxyError
from proxy.exchange import Exchange
from proxy.http.heads import check_method, index_head, read_request
from proxy.http.message import Field, Request, field
from proxy.limits.describe import Description, describe
from proxy.routing.route import Route
from proxy.routing.stage import match_route
from proxy.snapshot import Snapshot

__all__ = ["Asked", "Explanation", "explain_request"]

_CACHEABLE: Final = (b"GET", b"HEAD")


@dataclass(frozen=True, slots=True)
class Asked:
    """The request in question, as the command line gives it."""

    method: str
    target: str  # a path, or a whole URL
    ip: str  # the other end of the connection
    fields: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Stage by stage. What comes after a refusal is None."""

    request: dict[str, Any]
    result: str
    route: dict[str, Any] | None = None
    client: dict[str, Any] | None = None
    limits: tuple[Description, ...] = ()
    cache: dict[str, Any] | None = None
    upstream: dict[str, Any] | None = None


def explain_request(asked: Asked, snapshot: Snapshot) -> Explanation:
    """Never raises for what the request is: a malformed one is explained like any other."""
    said: dict[str, Any] = {"method": asked.method, "target": asked.target, "from": asked.ip}
    try:
        request = _request(asked, snapshot)
    except ProxyError as error:
        return Explanation(said, f"{_answer(error.kind)} ({error.detail})")
    peer = connection_client((asked.ip, 0))
    exchange = Exchange(request, snapshot, None, peer, snapshot.trusted_proxies.trusts(peer.address), b"-", 0.0)
    said |= {"host": request.host, "path": request.path, "from_trusted_proxy": exchange.peer_is_trusted}
    answer = match_route(exchange)
    route = exchange.route
    if route is None:
        return Explanation(said, _answer(exchange.error or ErrorKind.NO_ROUTE))
    matched = {"name": route.name, "where": route.where, "path": route.pattern, "names": exchange.params or {}}
    if answer is not None:
        return Explanation(said, f"{answer.status} from Weir: the route's CORS rule answers a preflight", matched)
    challenge = identify(exchange)
    limits = tuple(describe(limit, exchange.client, request, route) for limit in route.limits)
    if any(limit.denies for limit in limits):
        is_listed = any(limit.deny.find(exchange.client) and limit.mode == "enforce" for limit in route.limits)
        result = _answer(ErrorKind.FORBIDDEN if is_listed else ErrorKind.RATE_LIMITED)
    elif challenge is not None:
        result = _answer(ErrorKind.UNAUTHENTICATED)
    else:
        result = "goes on to the cache or the upstream" + (", while the limits admit it" if limits else "")
    return Explanation(
        said,
        result,
        matched,
        _client(exchange),
        limits,
        _cache(route, request, exchange.client),
        _upstream(route, request),
    )


def _request(asked: Asked, snapshot: Snapshot) -> Request:
    """The request that a connection would have read. Raises ProxyError."""
    url = urlsplit(asked.target)
    fields: list[Field] = [field(name, value) for name, value in asked.fields]
    target = asked.target
    if url.netloc:
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    if not any(lower == b"host" for lower, _, _ in fields):
        fields.insert(0, field("Host", url.netloc or "localhost"))
    method = asked.method.encode("latin-1", "replace")
    check_method(method)
    raw_target = target.encode("utf-8", "surrogateescape")
    fields, index = index_head(fields, snapshot.wire.underscore_fields)
    return read_request(method, raw_target, 1, fields, index, url.scheme or "http")


def _answer(kind: ErrorKind) -> str:
    return f"{kind.status} from Weir: {kind.title.rstrip('.')}"


def _client(exchange: Exchange) -> dict[str, Any]:
    client = exchange.client
    problem = f"credentials refused: {client.fault}" if client.error is not None else ""
    if problem and exchange.snapshot.identity.needs_jwks:
        problem += " (keys that come from a URL are not fetched here)"
    return {
        "address": client.address,
        "user": client.user,
        "tenant": client.tenant,
        "api_key": client.api_key,
        "plan": client.plan,
        "via": client.via,
        "problem": problem,
        "is_required": exchange.route is not None and exchange.route.requires_user,
    }


def _cache(route: Route, request: Request, client: Client) -> dict[str, Any]:
    policy = route.cache
    said: dict[str, Any] = {"policy": describe_cache(policy), "applies": False, "key": None, "reason": ""}
    if policy is None:
        said["reason"] = "the route has no `cache`"
    elif request.method not in _CACHEABLE:
        said["reason"] = f"{request.method.decode('latin-1')} is never answered from the cache"
    else:
        keying = policy.keying
        key = cache_key(request.scheme, request.authority, request.target)
        if keying is not None:
            key = origin_of(request.scheme, request.authority) + keying.target(request.target)
        said |= {"applies": True, "key": key.decode("latin-1")}
        if keying is not None and keying.by is not None and keying.parts(request.index, client) is None:
            said |= {"applies": False, "reason": f"no {keying.by} is known, and each has responses of its own"}
        elif b"authorization" in request.index and not policy.shares_authorized:
            said["reason"] = "with Authorization: only what the response allows to be shared (RFC 9111 §3.5)"
    return said


def _upstream(route: Route, request: Request) -> dict[str, Any]:
    upstream = route.upstream
    method = request.method.decode("latin-1")
    reads_replica = False
    if not upstream.replicas:
        why = "the upstream has no replicas"
    elif route.read_primary:
        why = "the route says `read: primary`"
    elif request.method not in _CACHEABLE:
        why = f"{method} may write"
    elif request.upgrade:
        why = "an upgraded connection goes to the primary"
    else:
        reads_replica, why = True, f"{method} reads"
    addresses = upstream.replicas if reads_replica else upstream.primary
    return {
        "name": upstream.name,
        "role": "replicas" if reads_replica else "primary",
        "why": why,
        "endpoints": [address.label for address in addresses],
        "select": upstream.select,
    }
