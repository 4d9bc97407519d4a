"""fetch, where an upstream's reads must be consistent: the replicas' rules around the upstreams' fetch.

Beside the line and not in it: a route without replicas pays one attribute test.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from proxy.core.clock import monotonic
from proxy.core.errors import ErrorKind, ProxyError, Side
from proxy.observe.events import Event
from proxy.replicas.stage import READS, SAFE, choose_readers, last_resort, note_read
from proxy.replicas.writing import announced, begin_write, finish_write, note_write
from proxy.upstreams.stage import fallback
from proxy.upstreams.stage import fetch as fetch_from_any

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.http.message import Response
    from proxy.replicas.replicas import Counts
    from proxy.services import Services

__all__ = ["fallback", "fetch"]


def fetch(exchange: Exchange, services: Services) -> Coroutine[Any, Any, Response]:
    """The backend's final response, as upstreams.stage.fetch has it, from one who has what the client must see."""
    route = exchange.route
    assert route is not None
    if route.consistency is None:
        return fetch_from_any(exchange, services.registry)
    method = exchange.request.method
    if method in READS and not exchange.request.upgrade:
        return _read(exchange, services)
    return fetch_from_any(exchange, services.registry) if method in SAFE else _write(exchange, services)


async def _read(exchange: Exchange, services: Services) -> Response:
    replicas, route = services.replicas, exchange.route
    assert route is not None
    is_for_replicas = await choose_readers(exchange, replicas)
    if exchange.readers is None or exchange.readers or not is_for_replicas:
        response = await fetch_from_any(exchange, services.registry)
    else:
        response = await _instead_of_a_replica(exchange, services, replicas.counts_of(route.consistency.upstream))
    if response.status >= 500 and exchange.readers != frozenset() and _is_replica(exchange):
        response = await _replay(exchange, response, services)
    note_read(exchange, replicas)
    return response


async def _instead_of_a_replica(exchange: Exchange, services: Services, counts: Counts) -> Response:
    """A read that only the primary can answer now. They may not take all of it."""
    route = exchange.route
    assert route is not None
    most = route.consistency.primary_slots
    if most and counts.falling_back >= most:
        counts.reads["refused"] += 1
        raise ProxyError(ErrorKind.REPLICA_LAG, f"{counts.falling_back} reads at the primary", retry_after_s=1.0)
    counts.falling_back += 1
    try:
        response = await fetch_from_any(exchange, services.registry)
    except ProxyError as error:
        if error.kind.side is not Side.UPSTREAM or not _may_turn_back(exchange, services):
            raise
    else:
        if response.status < 500 or not _may_turn_back(exchange, services):
            return response
        _cancel(response)
    finally:
        counts.falling_back -= 1
    counts.reads["last_resort"] += 1
    return await fetch_from_any(exchange, services.registry)


def _may_turn_back(exchange: Exchange, services: Services) -> bool:
    """Neither the primary's endpoints nor its database answer, but there is a replica that may."""
    route, body, now = exchange.route, exchange.request.body, monotonic()
    assert route is not None
    if (body is not None and not body.may_replay) or now - exchange.received_at >= route.timeout_s:
        return False
    return last_resort(exchange, services.replicas) and services.registry.spend_retry(route.upstream, now)


async def _replay(exchange: Exchange, failed: Response, services: Services) -> Response:
    """What failed on a replica, once more on the primary: it may be a GET that writes, or a query that the replica's
    recovery ended. The first answer stands when there is no retry to be had, or the primary does no better."""
    route, request, replicas = exchange.route, exchange.request, services.replicas
    assert route is not None
    body = request.body
    now = monotonic()
    if (body is not None and not body.may_replay) or now - exchange.received_at >= route.timeout_s:
        return failed
    if exchange.replicas_only or not services.registry.spend_retry(route.upstream, now):
        return failed
    replicas.counts_of(route.consistency.upstream).reads["replayed"] += 1
    endpoint, readers, as_of = exchange.endpoint, exchange.readers, exchange.as_of
    exchange.readers = frozenset()
    try:
        response = await fetch_from_any(exchange, services.registry)
    except ProxyError:
        exchange.endpoint, exchange.readers, exchange.as_of = endpoint, readers, as_of
        return failed
    except BaseException:
        _cancel(failed)
        raise
    _cancel(failed)
    if response.status >= 500:  # it is not the replica's fault
        return response
    if replicas.lessons.failed_on_replica(route.name, failed.status, monotonic()):
        services.observe.events.say(
            Event.ROUTE_PINNED,
            "Reads of this route fail on replicas and not on the primary; for an hour they go to the primary. "
            "`read: primary` makes it last.",
            route=route.name,
            status=failed.status,
        )
    return response


async def _write(exchange: Exchange, services: Services) -> Response:
    replicas = services.replicas
    begun = begin_write(exchange, replicas)
    try:
        response = await fetch_from_any(exchange, services.registry)
    except BaseException:
        note_write(exchange, 0, replicas, begun=begun is not None)
        if begun is not None:
            begun.cancel()  # nobody waits for it
        raise
    sight = note_write(exchange, response.status, replicas, begun=begun is not None)
    try:
        if begun is not None:
            await announced(begun)
        await finish_write(exchange, response, sight, replicas)
    except BaseException:
        _cancel(response)
        raise
    return response


def _is_replica(exchange: Exchange) -> bool:
    route = exchange.route
    assert route is not None
    return exchange.endpoint is not None and exchange.endpoint.address in route.upstream.replicas


def _cancel(response: Response) -> None:
    content = response.content
    if content is not None and not isinstance(content, bytes):
        content.cancel()
