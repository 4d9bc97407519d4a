"""look up, the long way: what is stored, what is on its way, and who fetches what is neither."""

from __future__ import annotations

from random import random
from typing import TYPE_CHECKING, Final

from proxy.cache.answers import answer
from proxy.cache.bringing import bring_for_all, lead, send_off, stand_in
from proxy.cache.disk.stream import FileStream
from proxy.cache.early import refreshes_early
from proxy.cache.errand import Errand
from proxy.cache.flights import Failure, Word
from proxy.cache.key import NOBODY
from proxy.cache.landing import Landing
from proxy.cache.refresh import asks_others, fetch_whole, start_refresh
from proxy.cache.request_key import key_of
from proxy.cache.reuse import VALIDATORS, Use, asked, bypasses, decide, select, stands_in, wants_origin
from proxy.cache.shared.inquiry import Found
from proxy.cache.status import (
    METHOD,
    REQUEST,
    STALE,
    URI_MISS,
    VARY_MISS,
    bypass,
    collapsed,
    from_shared,
)
from proxy.core.clock import monotonic, wall
from proxy.core.errors import ErrorKind, ProxyError
from proxy.http.message import Response

if TYPE_CHECKING:
    from proxy.cache.cache import Cache
    from proxy.cache.entry import Entry
    from proxy.cache.policy import CachePolicy
    from proxy.exchange import Exchange

_STALE_DETAIL: Final = b"; detail=stale-while-revalidate"
CACHED: Final = frozenset({b"GET", b"HEAD"})  # rule 16: nothing else is answered from what is stored, or stored
_MAX_WAITS: Final = 3  # for other requests' fetches; then it goes alone


async def look_up(exchange: Exchange, cache: Cache) -> Response | None:
    """The answer from what is stored or on its way, or None: the request has to go upstream by itself.

    What others may wait for is fetched here, and goes on when the client leaves. Waits for it, and while another
    request fetches the same. Raises ProxyError when the client wants nothing but a stored response and there is none,
    and when the origin failed the request, or just failed the one that this one waited for.
    """
    errand = _errand(exchange, cache)
    if errand is None:
        cache.stats.bypass += 1
        return None
    route = exchange.route
    if route is not None and route.consistency is not None and cache.recall is not None:
        await cache.recall(exchange)
        if not asks_others(exchange):
            errand.shared = None
    exchange.flight = errand
    if (response := await _wait(exchange, errand)) is not None:
        return response
    if errand.shared is not None and errand.flight is not None and await _ask_shared(errand):
        if (response := _from_store(exchange, errand)) is not None:
            exchange.flight = None
            errand.complete()
            return response
    send_off(exchange, errand)
    return None if errand.flight is None or cache.refresh is None else await bring_for_all(exchange, errand)


def _errand(exchange: Exchange, cache: Cache) -> Errand | None:
    """What a request wants of the cache; None when it is none of the cache's business, and Cache-Status says why."""
    request = exchange.request
    route = exchange.route
    assert route is not None
    if request.method not in CACHED:
        exchange.cache_status = METHOD
        return None
    policy: CachePolicy = route.cache
    index = request.index
    directives = asked(index, honours=policy.honours_request_directives)
    word = bypasses(index, directives, has_content=request.body is not None, upgrades=bool(request.upgrade))
    key = key_of(exchange, cache, policy) if word is None else None
    if key is None:
        exchange.cache_status = bypass(word or NOBODY)
        return None
    if policy.precomputed:
        policy = policy.precomputed.get(key, policy)
    return Errand(cache, key, policy, index, directives, route.name)


async def _wait(exchange: Exchange, errand: Errand) -> Response | None:
    """The answer from what is stored, or from what somebody else fetches meanwhile.

    None: the request has to be sent. It leads then (`errand.flight`), or nobody waits for it.
    """
    flights, index = errand.cache.flights, errand.request_index
    for waits in range(_MAX_WAITS + 1):
        if (response := _from_store(exchange, errand)) is not None:
            if type(response.content) is FileStream and not await _can_be_read(exchange, errand, response.content):
                continue
            exchange.flight = None
            errand.complete()  # leadership may have come with the wait
            return response
        if _goes_alone(exchange, errand):
            if errand.shared is not None:
                await _ask_shared_alone(errand)
                continue
            errand.release()
            return None
        if errand.flight is not None or waits == _MAX_WAITS:
            return None
        flight = flights.find(errand.key, index)
        if flight is not None and exchange.need is not None and not exchange.need.is_met_by(None, monotonic()):
            return None  # what is on its way may have been read before this client wrote
        if flight is None and b"range" in index and errand.entry is None:
            flight = fetch_whole(exchange, errand)  # what it brings is of use to others, and a part is not
            if flight is None:
                return None
        if flight is None:
            lead(errand)
            return None
        errand.has_waited = True
        outcome = flight.landing or await flight.wait(index)
        errand.is_from_shared = flight.is_from_shared
        if outcome is Word.LEAD:
            errand.flight = flight
        elif outcome is Word.ALONE:
            return None
        elif isinstance(outcome, Landing):
            return _joined(exchange, errand, outcome)
        elif isinstance(outcome, Failure):
            return _after_failure(exchange, errand, outcome)
    return None


def _from_store(exchange: Exchange, errand: Errand) -> Response | None:
    """The answer from what is stored now. Remembers on the errand why there is none."""
    cache = errand.cache
    index = errand.request_index
    shelf = cache.store.shelves.get(errand.key)
    entry = errand.entry = select(shelf, index) if shelf is not None else None
    now = monotonic()
    if entry is not None:
        age = now - entry.born_at
        errand.use = use = decide(entry, errand.directives, age)
        if exchange.need is not None and not exchange.need.is_met_by(entry.as_of, now):
            errand.use = use = Use.UNWANTED  # it is older than what this client wrote
        if use is Use.FRESH:
            cache.stats.hits += 1
        elif use is Use.REFRESH or use is Use.STALE:
            cache.stats.stale += 1
        if use is Use.REFRESH or (use is Use.FRESH and age >= entry.calm_s and _is_early(entry, errand.policy, age)):
            start_refresh(exchange, errand, entry, now)
        if use is not Use.VALIDATE and use is not Use.UNWANTED:
            age_s = int(age)
            entry.uses += 1
            exchange.cache_status = entry.hit_text(age_s)
            if use is not Use.FRESH and b"ttl=-" not in exchange.cache_status:
                exchange.cache_status += _STALE_DETAIL  # in whole seconds it may say `ttl=0`, fresh or not
            if errand.is_from_shared:
                if use is Use.FRESH:
                    exchange.cache_status = from_shared(exchange.cache_status)
            elif errand.has_waited:
                cache.stats.collapsed += 1
                exchange.cache_status = collapsed(errand.forwarded)
            return answer(entry, exchange.request.method, index, age_s, wall())
        errand.forwarded = STALE if use is Use.VALIDATE else REQUEST
        exchange.has_stand_in = stands_in(entry, errand.directives, age, has_response=False)
    else:
        errand.forwarded = URI_MISS if shelf is None else VARY_MISS
    if b"only-if-cached" in errand.directives and errand.shared is None:  # RFC 9111 §5.2.1.7
        cache.stats.bypass += 1
        exchange.flight = None
        errand.complete()
        raise ProxyError(ErrorKind.NOT_STORED)
    return None


async def _can_be_read(exchange: Exchange, errand: Errand, content: FileStream) -> bool:
    """Wait for the first of it, while the origin can still be asked instead. A HEAD reads nothing."""
    is_there = exchange.request.method == b"HEAD"
    try:
        is_there = is_there or await content.prepare()
    finally:
        if not is_there:  # counted as what it seemed to be; it will count as what it becomes
            stats = errand.cache.stats
            if errand.use is Use.FRESH:
                stats.hits -= 1
            else:
                stats.stale -= 1
    if not is_there and errand.entry is not None:
        errand.cache.store.remove(errand.entry)
        errand.entry = None
    return is_there


def _is_early(entry: Entry, policy: CachePolicy, age_s: float) -> bool:
    return refreshes_early(age_s, entry.fresh_s, entry.fetch_s, policy.eagerness, random())


def _goes_alone(exchange: Exchange, errand: Errand) -> bool:
    """Nobody could use what this request brings, or it could not use what others bring."""
    entry = errand.entry
    index = errand.request_index
    if exchange.request.method == b"HEAD" or b"authorization" in index or wants_origin(errand.directives):
        return True
    if b"only-if-cached" in errand.directives:
        return True  # what other Weirs have stored is looked at, and nothing else
    if entry is not None:
        # what the client wants validated, or the origin wants validated each time, is good for one request
        return errand.use is Use.UNWANTED or entry.fresh_s + entry.revalidate_s <= 0.0
    if errand.cache.is_uncacheable(errand.key, monotonic()) or errand.cache.flights.is_barren(errand.policy):
        return True
    # RFC 9110 §13: nothing is stored, so the origin evaluates; but the result of a full fetch would do as well
    return not VALIDATORS.isdisjoint(index) and errand.cache.flights.find(errand.key, index) is None


async def _ask_shared(errand: Errand) -> bool:
    """Whoever leads looks at what the other Weirs have, before it fetches. True: something came into memory."""
    shared, errand.shared = errand.shared, None
    assert shared is not None
    found = await shared.ask(errand, leads=True)
    if found is Found.USABLE:
        errand.is_from_shared = True
        if errand.flight is not None:
            errand.flight.is_from_shared = True
        errand.complete()  # before it is used: who uses it stale starts a fetch
    elif found is Found.ALONE:
        errand.refuse(b"shared", monotonic())  # nobody here need wait for it either
    return found is Found.USABLE or found is Found.STALE


async def _ask_shared_alone(errand: Errand) -> None:
    """The same for who fetches for itself alone, if what is stored could be an answer to it."""
    shared, errand.shared = errand.shared, None
    assert shared is not None
    if errand.use is Use.UNWANTED or wants_origin(errand.directives):
        return
    if not errand.cache.is_uncacheable(errand.key, monotonic()):
        errand.is_from_shared = await shared.ask(errand, leads=False) is Found.USABLE


def _joined(exchange: Exchange, errand: Errand, landing: Landing) -> Response | None:
    """What the request gets of content that is on its way; None when it has to ask for itself."""
    age = monotonic() - landing.entry.born_at
    use = decide(landing.entry, errand.directives, age)
    if use is not Use.FRESH and use is not Use.REFRESH:
        return None
    response = landing.answer(errand.request_index, int(age), wall())
    if response is None:
        return None
    exchange.flight = None
    stats = errand.cache.stats
    stats.collapsed += 1
    if use is Use.FRESH:
        stats.hits += 1
    else:
        stats.stale += 1
    exchange.cache_status = collapsed(errand.forwarded)
    return response


def _after_failure(exchange: Exchange, errand: Errand, failure: Failure) -> Response | None:
    """The origin failed the request that this one waited for: a stale response, the same error, or None to go alone."""
    error = failure.error
    response = stand_in(exchange, errand, failure)
    if response is None and not isinstance(error, ProxyError):
        return None
    exchange.flight = None
    errand.cache.stats.collapsed += 1
    if response is not None or not isinstance(error, ProxyError):
        return response
    errand.cache.stats.misses += 1
    exchange.cache_status = collapsed(errand.forwarded)
    # an exception of its own: a raised one collects the frames of everybody who raises it
    raise ProxyError(error.kind, error.detail, retry_after_s=error.retry_after_s)
