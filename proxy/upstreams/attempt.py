"""One attempt: lease a connection, send the request, read the response head.

The lease lives as long as the response: the connection itself gives it back when the last byte is in, or closes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxy.core.clock import monotonic
from proxy.core.errors import ErrorKind, ProxyError
from proxy.http.forwarding import forwarding_lines, upstream_fields
from proxy.upstreams.bid import bid_of
from proxy.upstreams.retry import IDEMPOTENT

if TYPE_CHECKING:
    from proxy.core.tasks import Signal
    from proxy.exchange import Exchange
    from proxy.http.message import Request, Response
    from proxy.routing.route import Route
    from proxy.upstreams.endpoint import Endpoint
    from proxy.upstreams.lease import Lease

_FAIR_SHARE: Final = 0.5  # of the route's time: an endpoint that had less of it is not to blame for a timeout


async def attempt(
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
