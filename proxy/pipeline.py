"""READ THIS FIRST: one exchange, stage by stage.

accept > route > identify > admit > look up > select > forward > store > respond > record. The order of work is the
order of these lines. An answer that a policy intends (denied, hit, preflight) is a Response that a stage returns early;
only "cannot go on" is an exception. Nothing below starts a task: an exchange that never waits is one plain call.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.cache.invalidation import SAFE
from proxy.cache.stage import disowns, finish, invalidate, look_up, look_up_now, on_error, store
from proxy.clients.stage import identify
from proxy.consistent import fallback, fetch
from proxy.core.errors import ErrorKind, ProxyError
from proxy.http.message import Response
from proxy.limits.settlement import settle, take_costs
from proxy.limits.stage import UNDECIDED, admit
from proxy.observe.stage import record
from proxy.over_limit import try_instead
from proxy.routing.stage import decorate, match_route
from proxy.wire.stage import explain, respond

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.services import Services


async def serve(exchange: Exchange, services: Services) -> None:
    """Carry one exchange from request to recorded response, and leave nothing of it behind, whatever happens."""
    try:
        try:
            response = await answer(exchange, services)
        except ProxyError as error:
            exchange.error = error.kind
            services.observe.failed(exchange, error)
            if error.kind is ErrorKind.CLIENT_DISCONNECTED:
                raise
            response = decorate(exchange, fallback(exchange, error) or explain(error, exchange.id))
        except Exception as bug:
            response = decorate(exchange, explain(services.observe.crashed(exchange, bug), exchange.id))
        if (content := respond(exchange, response)) is not None:
            await content
    except ProxyError as error:  # the content broke: the head is out, so the connection was cut
        exchange.error = error.kind
    except asyncio.CancelledError:
        exchange.error = ErrorKind.CLIENT_DISCONNECTED
    finally:
        if exchange.flight is not None or exchange.cache_status:
            finish(exchange, services.cache)
        if exchange.settles is not None:
            settle(exchange, services.limiter)
        if (body := exchange.request.body) is not None:
            exchange.bytes_received = body.received_bytes
        exchange.downstream.end(record(exchange, services.observe))


async def answer(exchange: Exchange, services: Services) -> Response:
    """The response that the client gets. Raises ProxyError when there can be none."""
    if (refusal := match_route(exchange)) is not None:
        return refusal
    challenge = identify(exchange)  # limits come before it, or guessing passwords and keys would be free
    route, limiter = exchange.route, services.limiter
    assert route is not None
    if route.limits or not limiter.controls.is_empty:
        refused = admit(exchange, limiter)
        refusal = refused if refused is None or isinstance(refused, Response) else await refused
        if refusal is UNDECIDED:
            refusal = await try_instead(exchange, services)
        if refusal is not None:
            return decorate(exchange, refusal)
    if challenge is not None:
        return decorate(exchange, challenge)
    if route.cache is None:
        response = await ask(exchange, services)
        if exchange.request.method not in SAFE:
            invalidate(exchange, response, services.cache)
        return decorate(exchange, response)
    cache = services.cache
    if (stored := look_up_now(exchange, cache) or await look_up(exchange, cache)) is not None:
        return decorate(exchange, stored)
    try:
        response = await ask(exchange, services)
        if response.status == 304 and disowns(exchange, response):
            response = await ask(exchange, services)
    except ProxyError as error:
        if (stale := on_error(exchange, error, cache)) is None:
            raise
        return decorate(exchange, stale)
    return decorate(exchange, store(exchange, response, cache))


async def ask(exchange: Exchange, services: Services) -> Response:
    """The upstream's response, without what is for Weir alone. Also for a refresh behind everybody's back."""
    response = await fetch(exchange, services)
    take_costs(exchange, response)
    return response
