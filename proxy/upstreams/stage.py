"""select and forward: choose an endpoint, lease a connection, send the request, read the response head.

The lease lives as long as the response: the connection itself gives it back when the last byte is in, or closes.
"""

from __future__ import annotations

import asyncio
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from proxy.core.clock import monotonic
from proxy.core.errors import ErrorKind, ProxyError
from proxy.http.forwarding import forwarding_lines, upstream_fields
from proxy.http.message import Response, field
from proxy.http.problems import REASONS
from proxy.upstreams.bid import bid_of
from proxy.upstreams.race import Race
from proxy.upstreams.retry import IDEMPOTENT, READS, delay_s, is_safe_again, retry_after_s
from proxy.wire.limits import HIGH_WATER_BYTES

if TYPE_CHECKING:
    from proxy.core.tasks import Signal
    from proxy.exchange import Exchange
    from proxy.http.message import Request
    from proxy.routing.route import Route
    from proxy.upstreams.address import Address
    from proxy.upstreams.lease import Lease
    from proxy.upstreams.registry import Endpoint, Registry
    from proxy.upstreams.retry import RetryRules
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
_DEATHS: Final = frozenset({ErrorKind.REUSED_CONNECTION_CLOSED, ErrorKind.CONNECTION_RESET})
_A_MOMENT_S: Final = 0.025
_FAIR_SHARE: Final = 0.5  # of the route's time: an endpoint that had less of it is not to blame for a timeout


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
    retries = 0
    deaths = 0  # connections that ended under this request
    has_waited = False
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
        try:
            if route.upstream.hedge is None or exchange.attempts > 1 or not _may_hedge(exchange, route):
                endpoint, response = await _attempt(exchange, route, endpoint, deadline_at, fresh=fresh)
            else:
                endpoint, response = await _hedged(exchange, registry, route, endpoint, deadline_at, use_replicas)
        except ProxyError as error:
            kind = error.kind
            if not is_safe_again(kind, request.method, body is None or body.may_replay, exchange.bytes_sent_up):
                raise
            endpoint = exchange.endpoint
            if kind in _DEATHS:
                deaths += 1
                rules: RetryRules = route.upstream.retry
                is_alone = not registry.has_other(route.upstream, use_replicas, endpoint)
                was_slow = is_alone and exchange.upstream_s > rules.again_within_s
                if kind is ErrorKind.REUSED_CONNECTION_CLOSED and deaths == 1 and not was_slow:
                    # No failure of the endpoint, so no retry, and none of the budget: a connection can only be reused
                    # after an exchange that went well, so there are never more of these than of those.
                    fresh, failed = True, None
                    continue
                if deaths > 2:
                    raise  # connections die under this request: it may be what kills them
                if (deaths == 2 and is_alone) or (was_slow and rules.allow(kind, retries)):
                    if not await _refuses(endpoint, deadline_at):
                        raise
                    kind = ErrorKind.CONNECT_REFUSED
            fresh, failed = False, endpoint
            if kind is ErrorKind.CONNECT_REFUSED and await _is_back(exchange, registry, use_replicas, deadline_at):
                has_waited, failed = True, None
                continue
            if not route.upstream.retry.allow(kind, retries) or not registry.spend_retry(route.upstream, monotonic()):
                raise
            wait_s = 0.0
            if exchange.bytes_sent_up or not registry.has_other(route.upstream, use_replicas, endpoint):
                wait_s = delay_s(route.upstream.retry, retries, registry.rng())
            if monotonic() + wait_s >= deadline_at:
                raise
        else:
            if has_waited:
                registry.release_held(route.upstream)
            if response.status < 500:
                return response
            again_in_s = _again_in_s(exchange, registry, endpoint, response, use_replicas, retries, deadline_at)
            if again_in_s is None:
                return response
            wait_s, failed, fresh = again_in_s, endpoint, False
            content: Any = response.content
            if content is not None and type(content) is not bytes:
                content.cancel()
        retries += 1
        if wait_s > 0.0:
            await asyncio.sleep(wait_s)


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


def _again_in_s(
    exchange: Exchange,
    registry: Registry[Any],
    endpoint: Endpoint[Any],
    response: Response,
    use_replicas: bool,
    retries: int,
    deadline_at: float,
) -> float | None:
    """After how many seconds to ask another endpoint than the one that gave this response; None: it is the answer.

    A Retry-After is heard: it is waited for, or the client is told.
    """
    assert exchange.route is not None
    request, upstream = exchange.request, exchange.route.upstream
    rules: RetryRules = upstream.retry
    if (
        response.status not in rules.on_statuses
        or retries >= rules.attempts
        or request.method not in READS
        or request.upgrade
        or exchange.replicas_only
        or not (request.body is None or request.body.may_replay)
        or not registry.has_other(upstream, use_replicas, endpoint)
    ):
        return None
    asked_s = retry_after_s(response.get(b"retry-after"))
    if asked_s is None or asked_s > rules.retry_after_s:
        return None
    wait_s = max(asked_s, delay_s(rules, retries, registry.rng()))
    now = monotonic()
    return wait_s if now + wait_s < deadline_at and registry.spend_retry(upstream, now) else None


async def _refuses(endpoint: Endpoint[Any], deadline_at: float) -> bool:
    """Whether the endpoint, which just ended a fresh connection, takes no others: then it is being restarted.

    A process that is killed may lose its connections before the socket that it listens on.
    """
    await asyncio.sleep(_A_MOMENT_S)
    try:
        lease = await endpoint.pool.lease(deadline_at, monotonic(), fresh=True)
    except ProxyError as error:
        endpoint.failed(error.kind, monotonic())
        return error.kind is ErrorKind.CONNECT_REFUSED
    lease.release(False)  # it has proved nothing: whoever found it idle would take it for one that works
    return False


async def _is_back(exchange: Exchange, registry: Registry[Any], use_replicas: bool, deadline_at: float) -> bool:
    """Wait while every endpoint refuses connections. False: not for this request, or not in time.

    Not where a stored response stands in, or where a policy sent the request to replicas only.
    """
    assert exchange.route is not None
    if exchange.has_stand_in or exchange.replicas_only:
        return False
    body = exchange.request.body
    upstream = exchange.route.upstream
    held = registry.wait_back(upstream, use_replicas, 0 if body is None else body.held_bytes, deadline_at)
    if held is None:
        return False
    began_at = monotonic()
    try:
        return await held.signal
    finally:
        exchange.queue_s += monotonic() - began_at
        registry.stop_waiting(upstream, held)


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


def _may_hedge(exchange: Exchange, route: Route) -> bool:
    request = exchange.request
    return (
        route.may_hedge
        and request.method in _SAFE
        and request.body is None
        and not request.upgrade
        and not exchange.replicas_only
        and exchange.readers is None  # the second one would have to be one of them
    )


async def _hedged(
    exchange: Exchange,
    registry: Registry[Any],
    route: Route,
    endpoint: Endpoint[Any],
    deadline_at: float,
    use_replicas: bool,
) -> tuple[Endpoint[Any], Response]:
    """As `_attempt`, with a second endpoint that is asked as well when the first takes unusually long.

    `exchange.endpoint` is afterwards the one that answered. The attempt that was not needed is cancelled.
    """
    hedging = registry.hedging(route.upstream)
    assert hedging is not None
    began_at = monotonic()
    hedging.requests += 1
    race: Race[tuple[Endpoint[Any], Response]] = Race()
    timer = None
    hedged_at: list[Endpoint[Any]] = []  # the second one, once it is asked
    race.enter(_attempt(exchange, route, endpoint, deadline_at, fresh=False))
    if hedging.delay_s is not None and not race.outcome.done():
        hedge = partial(_hedge, exchange, registry, route, endpoint, deadline_at, use_replicas, race, hedged_at)
        timer = asyncio.get_running_loop().call_later(hedging.delay_s, hedge)
    try:
        answered_by, response = await race.outcome
    finally:
        if timer is not None:
            timer.cancel()
        race.leave()
    exchange.endpoint = answered_by
    hedging.latencies.note(monotonic() - began_at)
    if answered_by in hedged_at:
        hedging.won += 1
    return answered_by, response


def _hedge(
    exchange: Exchange,
    registry: Registry[Any],
    route: Route,
    endpoint: Endpoint[Any],
    deadline_at: float,
    use_replicas: bool,
    race: Race[tuple[Endpoint[Any], Response]],
    hedged_at: list[Endpoint[Any]],
) -> None:
    """The first takes long: ask another that has room, if the allowance and the budget of retries have any left."""
    upstream, now = route.upstream, monotonic()
    hedging = registry.hedging(upstream)
    if hedging is None or race.outcome.done() or not registry.has_other(upstream, use_replicas, endpoint):
        return
    other = registry.select(upstream, use_replicas, endpoint)
    if (
        other is endpoint
        or not other.pool.has_room
        or not hedging.spend(now)
        or not registry.spend_retry(upstream, now)
    ):
        return
    hedging.sent += 1
    exchange.attempts += 1
    hedged_at.append(other)
    race.enter(_attempt(exchange, route, other, deadline_at, fresh=False))


async def _attempt(
    exchange: Exchange, route: Route, endpoint: Endpoint[Any], deadline_at: float, *, fresh: bool
) -> tuple[Endpoint[Any], Response]:
    """The response, and who gave it: whoever waits gets the first slot of any endpoint that would do."""
    now = monotonic()
    pool = endpoint.pool
    if exchange.request.method not in IDEMPOTENT and pool.is_risky(now):
        fresh = True  # what is lost on its way must not be sent again
    lease = None if fresh else pool.take_now(now)
    if lease is None:
        asked_at = now
        try:
            lease = await pool.lease(deadline_at, now, fresh=fresh, bid=bid_of(exchange, route))
        except ProxyError as error:
            now = monotonic()
            exchange.queue_s += now - asked_at
            if error.at is not None:
                endpoint = exchange.endpoint = error.at
            endpoint.failed(error.kind, now)
            raise
        exchange.queue_s += lease.queue_s
        endpoint = exchange.endpoint = lease.endpoint  # it waited for any that would do
        if lease.queue_s and route.cache is None and (who := exchange.downstream) is not None and who.has_left():
            lease.release(True)  # it is unused; what is fetched for the cache is for others too
            raise ProxyError(ErrorKind.CLIENT_DISCONNECTED, "left while waiting for a slot")
        now = monotonic()
    connection: Any = lease.connection
    try:
        answer = _send(exchange, route, endpoint, lease, deadline_at)
    except BaseException:
        lease.release(False)  # nothing was sent, and nobody else would give it back
        raise
    try:
        response: Response = await answer
    except ProxyError as error:
        failed_at = monotonic()
        exchange.upstream_s = failed_at - now
        exchange.bytes_sent_up = connection.bytes_sent
        if error.kind is ErrorKind.CONNECTION_RESET and lease.reused:
            # the backend's idle timeout and our request crossed: nobody's fault, and no sign of ill health
            raise ProxyError(ErrorKind.REUSED_CONNECTION_CLOSED, error.detail) from error
        if error.kind is not ErrorKind.RESPONSE_TIMEOUT or deadline_at - now >= _FAIR_SHARE * route.timeout_s:
            endpoint.failed(error.kind, failed_at)
        raise
    except BaseException:
        connection.close()
        raise
    answered_at = monotonic()
    exchange.upstream_s = answered_at - now
    if response.status < 500:
        endpoint.succeeded(answered_at, exchange.upstream_s)
        if endpoint.adaptive is not None and _is_timed(exchange.request):
            endpoint.adaptive.took(exchange.upstream_s, answered_at)
    else:
        endpoint.answered(response.status, answered_at, exchange.upstream_s)
    if response.get(b"content-type") == b"text/event-stream":
        connection.never_stalls()  # events may be far apart
    return endpoint, response


def _is_timed(request: Request) -> bool:
    """How long its answer took says something of the backend: no content came from the client meanwhile."""
    return request.body is None or request.body.may_replay


def _send(
    exchange: Exchange, route: Route, endpoint: Endpoint[Any], lease: Lease[Any], deadline_at: float
) -> Signal[Response]:
    request = exchange.request
    body = request.body
    head = _head(exchange, route, endpoint)
    rest = None
    if body is not None:
        if body.may_replay:
            head += body.whole()
        else:
            rest = body
    connection = lease.connection
    downstream = exchange.downstream
    signal: Signal[Response] = connection.send(
        head,
        rest,
        expects_none=request.method == b"HEAD",
        upgrade=bool(request.upgrade) and route.upgrade,
        deadline_at=deadline_at,
        stall_s=route.timeout_s,
        release=lease.release,
        informational=downstream.informational if downstream is not None else None,
    )
    return signal


def _head(exchange: Exchange, route: Route, endpoint: Endpoint[Any]) -> bytes:
    """The request head as it goes upstream, blank line included."""
    request = exchange.request
    target = request.target if route.rewrite is None else route.rewrite.apply(request.target, exchange.params)
    upstream = route.upstream
    authority = request.authority if upstream.passes_host and request.authority else endpoint.address.authority
    lines = upstream_fields(
        request,
        peer_is_trusted=exchange.peer_is_trusted,
        private=exchange.snapshot.private_fields,
        conditions=exchange.conditions,
        rules=route.request_rules,
    )
    parts = [b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (request.method, target, authority), *lines]
    parts.append(
        forwarding_lines(
            request,
            peer_is_trusted=exchange.peer_is_trusted,
            peer_address=exchange.peer.address_bytes,
            identifier=exchange.id,
        )
    )
    parts.append(_framing(request, upgrade=bool(request.upgrade) and route.upgrade))
    return b"".join(parts)


def _framing(request: Request, *, upgrade: bool) -> bytes:
    if upgrade:
        return b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    body = request.body
    if body is not None:
        if body.may_replay:
            return b"Content-Length: %d\r\n\r\n" % body.received_bytes
        if body.length is not None:
            return b"Content-Length: %d\r\n\r\n" % body.length
        return b"Transfer-Encoding: chunked\r\n\r\n"
    if request.content_length == 0:
        return b"Content-Length: 0\r\n\r\n"
    return b"\r\n"
