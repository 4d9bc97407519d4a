"""look up and store: what the pipeline calls.

`exchange.flight` holds an Errand from the moment a request has to go upstream until `store`, `on_error` or `finish`
takes it: as long as it is there, others may be waiting for what it brings.
"""

from __future__ import annotations

from random import random
from typing import TYPE_CHECKING, Final

from proxy.cache.answers import answer, whole
from proxy.cache.arrival import receive
from proxy.cache.content import is_gone
from proxy.cache.courier import carry
from proxy.cache.disk.stream import FileStream
from proxy.cache.early import refreshes_early
from proxy.cache.errand import Errand
from proxy.cache.flights import Failure, Word
from proxy.cache.invalidation import SAFE, ended_keys, ends_entries
from proxy.cache.key import NOBODY, cache_key, origin_of, with_parts
from proxy.cache.landing import Landing
from proxy.cache.refresh import asks_others, fetch_whole, start_refresh
from proxy.cache.reuse import SPECIAL, Use, asked, bypasses, decide, select, stands_in, wants_origin
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
    over_limit,
    stood_in,
)
from proxy.cache.tags import group_names
from proxy.cache.validation import belongs, conditions_for
from proxy.core.clock import monotonic, wall
from proxy.core.errors import ErrorKind, ProxyError, Side
from proxy.http.message import Response, index_fields

if TYPE_CHECKING:
    from proxy.cache.cache import Cache
    from proxy.cache.entry import Entry
    from proxy.cache.policy import CachePolicy
    from proxy.exchange import Exchange

_STALE_DETAIL: Final = b"; detail=stale-while-revalidate"
_CACHED: Final = frozenset({b"GET", b"HEAD"})  # rule 16: nothing else is answered from what is stored, or stored
_VALIDATORS: Final = frozenset({b"if-none-match", b"if-modified-since"})
_MAX_WAITS: Final = 3  # for other requests' fetches; then it goes alone


def look_up_now(exchange: Exchange, cache: Cache) -> Response | None:
    """The answer to a plain GET from a fresh response, or None: then `look_up` says what is to be done. Never waits."""
    request = exchange.request
    index = request.index
    if request.method != b"GET" or not SPECIAL.isdisjoint(index) or request.body is not None or request.upgrade:
        return None
    route = exchange.route
    assert route is not None
    if exchange.peer_is_trusted or route.cache.keying is not None:
        own_key = _key(exchange, cache, route.cache)
        if own_key is None:
            return None
        key = own_key
    else:
        key = origin_of(request.scheme, request.authority) + request.target
    shelf = cache.store.shelves.get(key)
    if shelf is None or (route.consistency is not None and _is_concerned(exchange, cache)):
        return None
    entry = shelf[0]
    if entry.vary or len(shelf) > 1:
        selected = select(shelf, index)
        if selected is None:
            return None
        entry = selected
    age = monotonic() - entry.born_at
    if age >= entry.calm_s:  # rule 7, RFC 9111 §4.2: fresh is strictly younger
        return None
    entry.uses += 1
    cache.stats.hits += 1
    age_s = int(age)
    exchange.cache_status = entry.hit_text(age_s)
    return whole(entry, age_s)


async def look_up(exchange: Exchange, cache: Cache) -> Response | None:
    """The answer from what is stored or on its way, or None: the request has to go upstream by itself.

    What others may wait for is fetched here, and goes on when the client leaves. Waits for it, and while another
    request fetches the same. Raises ProxyError when the client wants nothing but a stored response and there is none,
    and when the origin failed the request, or just failed the one that this one waited for.
    """
    request = exchange.request
    route = exchange.route
    assert route is not None
    if request.method not in _CACHED:
        exchange.cache_status = METHOD
        cache.stats.bypass += 1
        return None
    policy: CachePolicy = route.cache
    index = request.index
    directives = asked(index, honours=policy.honours_request_directives)
    word = bypasses(index, directives, has_content=request.body is not None, upgrades=bool(request.upgrade))
    if word is not None:
        exchange.cache_status = bypass(word)
        cache.stats.bypass += 1
        return None
    key = _key(exchange, cache, policy)
    if key is None:
        exchange.cache_status = bypass(NOBODY)
        cache.stats.bypass += 1
        return None
    if policy.precomputed:
        policy = policy.precomputed.get(key, policy)
    errand = Errand(cache, key, policy, index, directives, route.name)
    if route.consistency is not None and cache.recall is not None:
        await cache.recall(exchange)
        if not asks_others(exchange):
            errand.shared = None
    exchange.flight = errand
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
            break
        if errand.flight is not None or waits == _MAX_WAITS:
            break
        flight = cache.flights.find(errand.key, index)
        if flight is not None and exchange.need is not None and not exchange.need.is_met_by(None, monotonic()):
            break  # what is on its way may have been read before this client wrote
        if flight is None and b"range" in index and errand.entry is None:
            flight = fetch_whole(exchange, errand)  # what it brings is of use to others, and a part is not
            if flight is None:
                break
        if flight is None:
            _lead(errand)
            break
        errand.has_waited = True
        outcome = flight.landing or await flight.wait(index)
        errand.is_from_shared = flight.is_from_shared
        if outcome is Word.ALONE:
            break
        if isinstance(outcome, Landing):
            if (response := _joined(exchange, errand, outcome)) is not None:
                return response
            break
        if outcome is Word.LEAD:
            errand.flight = flight
        elif isinstance(outcome, Failure):
            if (response := _after_failure(exchange, errand, outcome)) is not None:
                return response
            break
    if errand.shared is not None and errand.flight is not None and await _ask_shared(errand):
        if (response := _from_store(exchange, errand)) is not None:
            exchange.flight = None
            errand.complete()
            return response
    _send_off(exchange, errand)
    return None if errand.flight is None or cache.refresh is None else await _fetch(exchange, errand)


def look_up_stale(exchange: Exchange, cache: Cache) -> Response | None:
    """Whatever is stored for a GET or HEAD, fresh or stale, for a request that may not go upstream; or None.

    As after an error (RFC 9111 §4.2.4): not what the client, or the response itself, wants validated first, and no
    older than such a response may be. Never waits, never fetches.
    """
    request = exchange.request
    route = exchange.route
    assert route is not None
    if request.method not in _CACHED:
        return None
    policy: CachePolicy = route.cache
    index = request.index
    directives = asked(index, honours=policy.honours_request_directives)
    if bypasses(index, directives, has_content=request.body is not None, upgrades=bool(request.upgrade)) is not None:
        return None
    if route.consistency is not None and _is_concerned(exchange, cache):
        return None
    key = _key(exchange, cache, policy)
    shelf = None if key is None else cache.store.shelves.get(key)
    entry = select(shelf, index) if shelf is not None else None
    if entry is None:
        return None
    age = monotonic() - entry.born_at
    if not stands_in(entry, directives, age, has_response=False):
        return None
    entry.uses += 1
    age_s = int(age)
    if age < entry.fresh_s:
        cache.stats.hits += 1
    else:
        cache.stats.stale += 1
    exchange.cache_status = over_limit(entry.hit_text(age_s))
    return answer(entry, request.method, index, age_s, wall())


def disowns(exchange: Exchange, response: Response) -> bool:
    """Rule 27: a 304 to our conditions that cannot belong to what we asked about. Then it is to be asked for again.

    What is stored goes, for it is not what the origin has, and so do the conditions (RFC 9111 §4.3.3, §4.3.4).
    """
    errand = exchange.flight
    return errand is not None and _disowned(exchange, errand, response)


def _disowned(exchange: Exchange, errand: Errand, response: Response) -> bool:
    if errand.entry is None or not exchange.conditions:
        return False
    if belongs(errand.entry, response.get(b"etag")) and not is_gone(errand.entry.body):
        return False
    errand.cache.store.remove(errand.entry)
    errand.entry = None
    exchange.conditions = ()  # neither ours nor the client's: its own are evaluated when the whole is there
    return True


def store(exchange: Exchange, response: Response, cache: Cache) -> Response:
    """Take the upstream's final response, and give back the one for the client: often the same, with other content.

    Never waits, never fails. For every response on a route that caches.
    """
    errand = exchange.flight
    if errand is None:
        if exchange.request.method not in SAFE:
            invalidate(exchange, response, cache)
        _hide(exchange, response)
        return response
    exchange.flight = None
    final = receive(exchange, errand, response)
    if errand.use is Use.STALE:
        cache.stats.stale += 1
    else:
        cache.stats.misses += 1
    _hide(exchange, final)
    return final


async def on_error(exchange: Exchange, error: ProxyError, cache: Cache) -> Response | None:
    """A stored response in place of one that could not be had (RFC 9111 §4.2.4), or None."""
    errand = exchange.flight
    if errand is None:
        return None
    exchange.flight = None
    if error.kind.side is not Side.UPSTREAM:
        cache.stats.misses += 1
        errand.abandon()  # it is about this client: the next one may have more luck
        return None
    failure = Failure(error)
    errand.fail(failure)
    response = _stand_in(exchange, errand, failure)
    if response is None:
        cache.stats.misses += 1
    return response


def invalidate(exchange: Exchange, response: Response, cache: Cache) -> None:
    """After a response to an unsafe method: forget what it may have changed (RFC 9111 §4.4)."""
    request = exchange.request
    if not ends_entries(request.method, response.status):
        return
    scheme, authority = _origin(exchange)
    policy: CachePolicy | None = None if exchange.route is None else exchange.route.cache
    keying = None if policy is None else policy.keying
    index = index_fields(response.fields)
    for key in ended_keys(scheme, authority, request.target, index, keying):
        cache.invalidate(key)
    if (groups := index.get(b"cache-group-invalidation")) is not None:
        cache.invalidate_groups(origin_of(scheme, authority), group_names(groups))  # RFC 9875 §3


def finish(exchange: Exchange, cache: Cache) -> None:
    """The exchange is over. If no response came, the next one who waits leads. Called once, for what the cache saw."""
    if exchange.cache_status and exchange.route is not None:
        cache.stats.note(exchange.route.name, exchange.cache_status)
    errand, exchange.flight = exchange.flight, None
    if errand is not None:
        cache.stats.misses += 1
        errand.abandon()


def _hide(exchange: Exchange, response: Response) -> None:
    policy: CachePolicy | None = None if exchange.route is None else exchange.route.cache
    if policy is not None and policy.hidden and response.block is None:
        response.fields = policy.shown(response.fields)


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


def _is_concerned(exchange: Exchange, cache: Cache) -> bool:
    return cache.concerns is not None and cache.concerns(exchange)


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
    if errand.cache.is_uncacheable(errand.key, monotonic()):
        return True
    # RFC 9110 §13: nothing is stored, so the origin evaluates; but the result of a full fetch would do as well
    return not _VALIDATORS.isdisjoint(index) and errand.cache.flights.find(errand.key, index) is None


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


async def _fetch(exchange: Exchange, errand: Errand) -> Response:
    """Fetch for all who wait: for the client of this exchange too, as long as it is there."""
    cache = errand.cache
    try:
        response = await carry(exchange, errand, _ask)
    except ProxyError as error:
        if (stale := await on_error(exchange, error, cache)) is None:
            raise
        return stale
    return store(exchange, response, cache)


async def _ask(exchange: Exchange, errand: Errand) -> Response:
    fetch = errand.cache.refresh
    assert fetch is not None
    response = await fetch(exchange)
    if response.status == 304 and _disowned(exchange, errand, response):
        response = await fetch(exchange)
    return response


def _lead(errand: Errand) -> None:
    entry = errand.entry
    if entry is None:
        shelf = errand.cache.store.shelves.get(errand.key)
        names = errand.cache.flights.guess(errand.policy) if shelf is None else shelf[0].vary
    else:
        names = entry.vary
    errand.flight = errand.cache.flights.start(errand.key, names, errand.request_index)


def _send_off(exchange: Exchange, errand: Errand) -> None:
    exchange.cache_status = errand.forwarded
    if errand.entry is not None and exchange.request.method != b"HEAD":
        exchange.as_of = errand.entry.as_of  # what replaces it must not be older
        exchange.conditions = conditions_for(errand.entry)  # RFC 9111 §4.3.1: in place of the client's own
    errand.began = errand.cache.invalidations.now


def _after_failure(exchange: Exchange, errand: Errand, failure: Failure) -> Response | None:
    """The origin failed the request that this one waited for: a stale response, the same error, or None to go alone."""
    error = failure.error
    response = _stand_in(exchange, errand, failure)
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


def _stand_in(exchange: Exchange, errand: Errand, failure: Failure) -> Response | None:
    """The stored response in place of what failed, looked up anew: a write may have ended it meanwhile."""
    index = errand.request_index
    shelf = errand.cache.store.shelves.get(errand.key)
    entry = select(shelf, index) if shelf is not None else None
    if entry is None:
        return None
    age = monotonic() - entry.born_at
    if not stands_in(entry, errand.directives, age, has_response=failure.status is not None):
        return None
    errand.cache.stats.stale += 1
    exchange.cache_status = stood_in(errand.forwarded, failure.status)
    return answer(entry, exchange.request.method, index, int(age), wall())


def _key(exchange: Exchange, cache: Cache, policy: CachePolicy) -> bytes | None:
    """None when the route keeps users or tenants apart, and nobody knows whose request this is."""
    scheme, authority = _origin(exchange)
    keying = policy.keying
    if keying is None:
        return cache_key(scheme, authority, exchange.request.target)
    uri = origin_of(scheme, authority) + keying.target(exchange.request.target)
    if not keying.has_parts:
        return uri
    parts = keying.parts(exchange.request.index, exchange.client)
    return None if parts is None else with_parts(uri, cache.invalidations.generation(uri), parts)


def _origin(exchange: Exchange) -> tuple[str, bytes]:
    """Scheme and authority as the backend is told them (http/forwarding.py): it may answer with links to them."""
    request = exchange.request
    if not exchange.peer_is_trusted:
        return request.scheme, request.authority
    proto = request.index.get(b"x-forwarded-proto")
    scheme = request.scheme if proto is None else proto.decode("latin-1")
    return scheme, request.index.get(b"x-forwarded-host", request.authority)
