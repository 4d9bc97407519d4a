"""An attempt with a second one beside it: whoever answers first has answered. When to ask is in `hedging.py`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from proxy.core.clock import monotonic
from proxy.upstreams.attempt import attempt
from proxy.upstreams.race import Race

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.http.message import Response
    from proxy.routing.route import Route
    from proxy.upstreams.endpoint import Endpoint
    from proxy.upstreams.registry import Registry

_SAFE: Final = frozenset({b"GET", b"HEAD"})


def may_hedge(exchange: Exchange, route: Route) -> bool:
    request = exchange.request
    return (
        route.may_hedge
        and request.method in _SAFE
        and request.body is None
        and not request.upgrade
        and not exchange.replicas_only
        and exchange.readers is None  # the second one would have to be one of them
    )


async def hedged(
    exchange: Exchange,
    registry: Registry[Any],
    route: Route,
    endpoint: Endpoint[Any],
    deadline_at: float,
    use_replicas: bool,
) -> tuple[Endpoint[Any], Response]:
    """As `attempt`, with a second endpoint that is asked as well when the first takes unusually long.

    `exchange.endpoint` is afterwards the one that answered. The attempt that was not needed is cancelled.
    """
    hedging = registry.hedging(route.upstream)
    assert hedging is not None
    began_at = monotonic()
    hedging.requests += 1
    race: Race[tuple[Endpoint[Any], Response]] = Race()
    timer = None
    hedged_at: list[Endpoint[Any]] = []  # the second one, once it is asked
    race.enter(attempt(exchange, route, endpoint, deadline_at, fresh=False))
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
    race.enter(attempt(exchange, route, other, deadline_at, fresh=False))
