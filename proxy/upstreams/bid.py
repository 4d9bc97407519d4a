"""What an exchange brings when it has to wait for a slot: its class, whose it is, and which endpoints will do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.upstreams.claims import Bid, Reach

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.routing.route import Route

__all__ = ["COST_BYTES", "bid_of"]

COST_BYTES: Final = 1 << 20  # of content for which a request takes one more turn: it keeps its slot for longer
MAX_COST: Final = 8
_SAFE: Final = frozenset({b"GET", b"HEAD"})


def bid_of(exchange: Exchange, route: Route) -> Bid:
    """For a request that finds no connection ready. A second attempt wants the endpoint that was chosen for it: the
    one that has just failed it may well be the first with a free slot."""
    request, client = exchange.request, exchange.client
    readers = exchange.readers
    if exchange.attempts > 1:
        reach = Reach.ONE
    elif exchange.replicas_only:
        reach = Reach.REPLICA_ONLY
    elif readers is not None and not readers:
        reach = Reach.PRIMARY
    elif route.upstream.replicas and not route.read_primary and request.method in _SAFE and not request.upgrade:
        reach = Reach.REPLICA
    else:
        reach = Reach.PRIMARY
    among = readers if reach in (Reach.REPLICA, Reach.REPLICA_ONLY) else None
    # the widest circle that is known: a tenant's users are one share, and so are a user's machines
    share = (client.tenant, None if client.tenant else client.user or client.key_address)
    body = request.body
    if body is None:
        return Bid(reach, route.priority, share, among=among)
    cost = min(1 + (body.length or 0) // COST_BYTES, MAX_COST)
    return Bid(reach, route.priority, share, body.received_bytes, cost, among)
