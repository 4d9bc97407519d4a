"""What a request over its limit may have in place of the 429: the steps of `on_limit`, in order.

Beside the line and not in it: only requests that come this way pay for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.cache.stage import look_up_stale
from proxy.limits.ladder import Step
from proxy.limits.settlement import give_back
from proxy.limits.stage import admit_to_replica, divert, refuse, wait_for_turn
from proxy.replicas.stage import may_read_replica
from proxy.upstreams.stage import has_replica

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.http.message import Response
    from proxy.services import Services


async def try_instead(exchange: Exchange, services: Services) -> Response | None:
    """A stored response, the refusal at the end of the steps, or None: the request goes on after all. May wait."""
    limiter, route = services.limiter, exchange.route
    assert route is not None
    for step in exchange.ladder:
        if step is Step.STALE:
            if route.cache is not None and (stored := look_up_stale(exchange, services.cache)) is not None:
                assert exchange.decision is not None
                if not exchange.decision.denied:
                    give_back(exchange, limiter)
                divert(exchange)
                return stored
        elif step is Step.REPLICA:
            if not has_replica(exchange, services.registry):
                continue
            if route.consistency is not None and not await may_read_replica(exchange, services.replicas):
                continue
            if await admit_to_replica(exchange, limiter):
                return None
        elif await wait_for_turn(exchange, limiter):
            return None
    return refuse(exchange, limiter)
