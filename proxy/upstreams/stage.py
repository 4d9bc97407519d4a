"""select and forward: choose an endpoint and attempt it, and another one where `again.py` says so."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Final

from proxy.core.errors import ErrorKind, ProxyError
from proxy.http.message import Response, field
from proxy.http.problems import REASONS
from proxy.upstreams.again import Again
from proxy.upstreams.attempt import attempt
from proxy.upstreams.hedged import hedged, may_hedge
from proxy.upstreams.retry import READS
from proxy.wire.limits import HIGH_WATER_BYTES

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.routing.route import Route
    from proxy.upstreams.address import Address
    from proxy.upstreams.registry import Endpoint, Registry
    from proxy.upstreams.upstream import Fallback

_SAFE: Final = frozenset({b"GET", b"HEAD"})
_NOBODY: Final = frozenset(  # nobody of the upstream got the request
    {
        ErrorKind.NO_ENDPOINT,
        ErrorKind.OUT_OF_SOCKETS,
        ErrorKind.CONNECT_REFUSED,
        ErrorKind.CONNECT_TIMEOUT,
        ErrorKind.TLS_FAILED,
    }
)


async def fetch(exchange: Exchange, registry: Registry[Any]) -> Response:
    """The backend's final response; its content is bytes, or a Source that must be started or cancelled.

    Waits for content of the request (at most HIGH_WATER_BYTES before a connection is leased, W17), for a slot, for a
    connection and for the response head, together at most the route's timeout. Raises ProxyError.
    """
    request = exchange.request
    route = exchange.route
    assert route is not None
    body = request.body
    if body is not None:
        body.limit(route.max_body_bytes)
        if not body.is_complete:
            await body.prefill(HIGH_WATER_BYTES)
    use_replicas = not route.read_primary and request.method in _SAFE and not request.upgrade
    if exchange.readers is not None and not exchange.readers:
        use_replicas = False  # only the primary has what this client must see
    deadline_at = exchange.received_at + route.timeout_s
    failed: Endpoint[Any] | None = None
    fresh = False
    again: Again | None = None  # most exchanges need none
    while True:
        if exchange.replicas_only:
            endpoint = _replica(registry, route, failed, exchange.readers)
        elif exchange.readers is not None:
            endpoint = registry.select_among(route.upstream, exchange.readers, failed)
        else:
            endpoint = registry.select(route.upstream, use_replicas, failed, request.method in READS)
        exchange.endpoint = endpoint
        exchange.attempts += 1
        exchange.bytes_sent_up = 0
        failure: ProxyError | None = None
        try:
            if route.upstream.hedge is None or exchange.attempts > 1 or not may_hedge(exchange, route):
                endpoint, response = await attempt(exchange, route, endpoint, deadline_at, fresh=fresh)
            else:
                endpoint, response = await hedged(exchange, registry, route, endpoint, deadline_at, use_replicas)
        except ProxyError as error:
            # What follows may wait, and a handler must not: docs/decisions/0016
            failure = error.with_traceback(None)  # that refers to this frame
        if failure is None:
            if again is not None and again.has_waited:
                registry.release_held(route.upstream)
            if response.status < 500:
                return response
            again = again or Again(exchange, registry, route, deadline_at, use_replicas)
            if not await again.after_answer(endpoint, response):
                return response
        else:
            again = again or Again(exchange, registry, route, deadline_at, use_replicas)
            if not await again.after_error(failure):
                try:
                    raise failure
                finally:
                    del failure  # or only the collector would find the two
        failed, fresh = again.failed, again.fresh


def fallback(exchange: Exchange, error: ProxyError) -> Response | None:
    """The route's answer for when nobody can be asked, or None: it has none, or `error` is of another kind."""
    route = exchange.route
    if route is None or route.fallback is None or error.kind not in _NOBODY:
        return None
    answer: Fallback = route.fallback
    fields = [field("Content-Type", answer.content_type), field("Cache-Control", b"no-store")]
    if error.retry_after_s is not None:
        fields.append(field("Retry-After", b"%d" % max(1, ceil(error.retry_after_s))))
    response = Response(answer.status, REASONS.get(answer.status, b""), fields, answer.content)
    response.error = error.kind
    return response


def has_replica(exchange: Exchange, registry: Registry[Any]) -> bool:
    """Whether a replica could answer this request now: it is a read, the route lets replicas have it, and one is up."""
    route, request = exchange.route, exchange.request
    assert route is not None
    if route.read_primary or request.method not in _SAFE or request.upgrade:
        return False
    return registry.select_replica(route.upstream) is not None


def _replica(
    registry: Registry[Any], route: Route, failed: Endpoint[Any] | None, readers: frozenset[Address] | None
) -> Endpoint[Any]:
    """For a request that only a replica may answer. Raises ProxyError when the last one went out a moment ago, or none
    has what the client must see."""
    endpoint = registry.select_replica(route.upstream, failed, readers)
    if endpoint is None:
        raise ProxyError(ErrorKind.NO_ENDPOINT, f"no replica of {route.upstream.name} is up", retry_after_s=1.0)
    return endpoint
