"""After a write: from where on its client must see it, and who is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.core.clock import wall
from proxy.http.message import Response, field
from proxy.replicas.cookie import Mark, sign
from proxy.replicas.node import Sight
from proxy.replicas.recalling import cookie_name, is_known, scope_of
from proxy.replicas.session import Session
from proxy.replicas.sessions_store import StoreAway, Stored

if TYPE_CHECKING:
    from asyncio import Future

    from proxy.exchange import Exchange
    from proxy.replicas.consistency import Consistency
    from proxy.replicas.replicas import Replicas

CAPTURE_S: Final = 0.05  # a response waits for its position at most this long


def begin_write(exchange: Exchange, replicas: Replicas) -> Future[Stored] | None:
    """A request that may write is about to go upstream: the other Weirs are told while it is on its way, for after its
    response would be too late. Gives what `announced` waits for, if there is a shared store that can be told."""
    route = exchange.route
    assert route is not None
    consistency: Consistency = route.consistency
    if replicas.store is None or consistency.primary is None or not is_known(exchange):
        return None
    return replicas.store.begin(scope_of(consistency, exchange))


async def announced(begun: Future[Stored]) -> None:
    """Wait until the store knows of the write, or until it is too slow. Mostly that is so long before."""
    try:
        await begun
    except StoreAway:
        pass  # nobody believes it anything now


def note_write(exchange: Exchange, status: int, replicas: Replicas, *, begun: bool) -> Sight | None:
    """The response to a write has come; with status 0 there is none, and it may have been executed all the same.

    From now on its client's reads go to the primary, until the position is known. Gives the sight that will know it.
    """
    route = exchange.route
    assert route is not None
    consistency: Consistency = route.consistency
    scope = scope_of(consistency, exchange)
    monitor = None if consistency.primary is None else replicas.monitors.get(consistency.primary)
    counts = replicas.counts.get(consistency.upstream)
    sessions = replicas.sessions.get(consistency.source)
    if counts is None or sessions is None or (consistency.primary is not None and monitor is None):
        if begun and replicas.store is not None:
            replicas.store.close(scope)
        return None  # dropped by a reload
    now = replicas.clock()
    known = is_known(exchange)
    if monitor is None:
        # a 5xx has written nothing, most likely, and a pin costs seconds, where a position costs next to nothing
        if 0 < status < 500:
            counts.writes += 1
            if known:
                sessions.open(scope, now).pin(now, now + consistency.pin_s)
        return None
    counts.writes += 1
    session = sessions.open(scope, now) if known else Session()
    owner = scope if known and replicas.store is not None else None
    sight = session.sees(monitor.primary, is_write=True, owner=owner, closes=begun)
    monitor.capture()
    return sight


async def finish_write(exchange: Exchange, response: Response, sight: Sight | None, replicas: Replicas) -> None:
    """Wait for the position, where the configuration says `inline`, and for clients without identity: they carry it
    away in a cookie, which is added to the response. Waits CAPTURE_S at most."""
    route = exchange.route
    assert route is not None
    consistency: Consistency = route.consistency
    known = is_known(exchange)
    if consistency.primary is None:
        if not known and response.status < 500:
            _set_cookie(exchange, response, consistency, replicas, Mark(None, 0, wall() + consistency.pin_s))
        return
    if sight is None or (known and not consistency.is_inline) or not (known or consistency.sets_cookie):
        return
    monitor = replicas.monitors.get(consistency.primary)
    now = replicas.clock()
    until = now + CAPTURE_S
    while monitor is not None and not sight.lsn and monitor.primary.knows(now) and now < until:
        await monitor.news(until - now)
        now = replicas.clock()
    counts = replicas.counts.get(consistency.upstream)
    if counts is not None:
        counts.captured += 1 if sight.lsn else 0
        counts.uncaptured += 0 if sight.lsn else 1
    if not known:
        # without a position: for as long as a session is remembered only the primary will do
        unknown = Mark(None, 0, wall() + consistency.ttl_s)
        mark = Mark(sight.history, sight.lsn) if sight.lsn else unknown
        _set_cookie(exchange, response, consistency, replicas, mark)


def _set_cookie(
    exchange: Exchange, response: Response, consistency: Consistency, replicas: Replicas, mark: Mark
) -> None:
    secret = replicas.secret
    if not consistency.sets_cookie or secret is None:
        return
    value = sign(mark, secret, consistency.audience, wall() + consistency.ttl_s + 1.0)
    name = cookie_name(exchange, consistency)
    tail = b"; Secure" if name.startswith(b"__Host-") else b""
    line = b"%b=%b; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax%b" % (name, value, int(consistency.ttl_s) + 1, tail)
    response.fields = [*response.fields, field("Set-Cookie", line)]
