"""What a client must see: from its session here, from the shared store, or from its cookie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from proxy.core.clock import wall
from proxy.replicas.cookie import LENGTH, read
from proxy.replicas.session import NOTHING, Need, Scope, Session, both
from proxy.replicas.sessions_store import StoreAway

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.replicas.consistency import Consistency
    from proxy.replicas.replicas import Replicas

MAX_COOKIES: Final = 4  # of one name, whose signatures are looked at
FOREVER: Final = float("inf")
STORE_AWAY: Final = Need(None, 0, pinned_until=FOREVER)  # nobody knows what the client must see


def concerns(exchange: Exchange, replicas: Replicas) -> bool:
    """Whether the client may have to see something in particular, so that not every stored response will do.

    For the cache, before its fastest answer. Never waits.
    """
    route = exchange.route
    assert route is not None
    consistency = route.consistency
    now = replicas.clock()
    sessions = replicas.sessions.get(consistency.source)
    if sessions is None or now < sessions.disturbed_until:
        return True
    if not is_known(exchange):
        return consistency.sets_cookie and consistency.cookie in exchange.request.index.get(b"cookie", b"")
    if replicas.store is not None:
        return True
    return sessions.find(scope_of(consistency, exchange), now) is not None


async def recall(exchange: Exchange, replicas: Replicas) -> Need:
    """What the client must see; also in `exchange.need`. Waits for the shared store, where there is one and the client
    has an identity."""
    if exchange.need is not None:
        known: Need = exchange.need
        return known
    route = exchange.route
    assert route is not None
    consistency: Consistency = route.consistency
    now = replicas.clock()
    sessions = replicas.sessions.get(consistency.source)
    if sessions is None:  # dropped by a reload while this exchange was under way
        need = STORE_AWAY
    elif not is_known(exchange):
        need = both(_of_cookie(exchange, consistency, replicas, now), sessions.floor(now))
    else:
        scope = scope_of(consistency, exchange)
        if replicas.store is not None:
            need = await _of_store(scope, consistency, replicas)
        else:
            session = sessions.find(scope, now)
            need = NOTHING if session is None else session.need(monotonic=consistency.is_monotonic)
        need = both(need, sessions.floor(now))
    if replicas.store is None and now < replicas.began_at + consistency.ttl_s:
        # what this process stored was read under the floor of all; not so what it finds in a cache that others filled
        need = need._replace(is_after_start=True)
    exchange.need = need
    return need


def is_known(exchange: Exchange) -> bool:
    client = exchange.client
    return client.user is not None or client.tenant is not None


def scope_of(consistency: Consistency, exchange: Exchange) -> Scope:
    client = exchange.client
    return consistency.source, client.tenant or "", client.user or "", "" if client.user is None else "user"


def cookie_name(exchange: Exchange, consistency: Consistency) -> bytes:
    """Browsers take a `__Host-` cookie only over https, and then from no other host than this one."""
    request = exchange.request
    scheme = request.index.get(b"x-forwarded-proto") if exchange.peer_is_trusted else None
    is_https = request.scheme == "https" if scheme is None else scheme == b"https"
    return b"__Host-" + consistency.cookie if is_https else consistency.cookie


async def _of_store(scope: Scope, consistency: Consistency, replicas: Replicas) -> Need:
    """What is known here and in the store. Where the store does not answer, nobody knows what the client must see."""
    store = replicas.store
    assert store is not None
    now = replicas.clock()
    session = replicas.sessions[consistency.source].find(scope, now)
    if consistency.primary is None:
        # a pin is not shared: it is a guess anyhow
        return NOTHING if session is None else session.need(monotonic=consistency.is_monotonic)
    try:
        stored = await store.look(scope)
    except StoreAway:
        return STORE_AWAY
    shared = Session()
    shared.merge(stored.history, stored.wrote, stored.saw)
    if stored.is_writing:
        shared.pinned_until = FOREVER  # its end will say from where on a replica will do
    need = shared.need(monotonic=consistency.is_monotonic)
    return need if session is None else both(session.need(monotonic=consistency.is_monotonic), need)


def _of_cookie(exchange: Exchange, consistency: Consistency, replicas: Replicas, now: float) -> Need:
    """What a client without identity brings. A cookie that is not ours says nothing."""
    line = exchange.request.index.get(b"cookie")
    if line is None or not consistency.sets_cookie:
        return NOTHING
    name = cookie_name(exchange, consistency)
    if name not in line:
        return NOTHING
    secret = replicas.secret
    if secret is None:
        return STORE_AWAY
    need = NOTHING
    now_wall = wall()
    longest_s = max(consistency.pin_s, consistency.ttl_s) + 1.0
    found_values = [text for key, text in _pairs(line) if key == name and len(text) == LENGTH]
    for text in found_values[:MAX_COOKIES]:
        mark = read(text, secret, consistency.audience, now_wall, longest_s)
        if mark is None:
            continue
        if mark.history is not None:
            found = Need(mark.history, mark.lsn, mark.lsn)
        else:
            until = now + mark.until_wall - now_wall
            wrote_at = until - consistency.pin_s if consistency.primary is None else 0.0
            found = Need(None, 0, pinned_until=until, wrote_at=wrote_at)
        need = both(need, found)
    return need


def _pairs(line: bytes) -> Iterator[tuple[bytes, bytes]]:
    for pair in line.split(b";"):
        key, _, text = pair.strip(b" \t").partition(b"=")
        yield key, text
