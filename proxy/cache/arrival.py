"""What becomes of an upstream's answer to an errand: stored, merged with what is stored, or put aside for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.cache.answers import answer, not_modified
from proxy.cache.conditions import is_not_modified
from proxy.cache.content import is_gone
from proxy.cache.disk.stream import FileStream
from proxy.cache.entry import Entry, Receipt, draft
from proxy.cache.flights import Failure
from proxy.cache.reuse import CONDITIONS, Use, stands_in
from proxy.cache.status import answered, not_stored, stood_in, stored
from proxy.cache.validation import agrees, belongs, merged
from proxy.core.clock import monotonic, wall
from proxy.http.dates import format_date, parse_date
from proxy.http.fields import render
from proxy.http.message import Field, Response

if TYPE_CHECKING:
    from proxy.cache.errand import Errand
    from proxy.exchange import Exchange

_ERRORS: Final = frozenset({500, 502, 503, 504})  # RFC 5861 §4
_NOT_NOW: Final = frozenset({408, 425, 429})  # of this request or this moment: no word about the resource


def receive(exchange: Exchange, errand: Errand, response: Response) -> Response:
    """The response for the client, and `exchange.cache_status`. Ends the errand, at once or with the content.

    `errand.use` is STALE afterwards when the client gets what was stored although the origin failed.
    """
    now, now_wall = monotonic(), wall()
    if exchange.request.method == b"HEAD":
        return _receive_head(exchange, errand, response, now, now_wall)
    entry = errand.entry
    if entry is not None:
        if response.status == 304 and exchange.conditions:
            return _receive_304(exchange, errand, entry, response, now, now_wall)
        if response.status >= 500:
            age_s = now - entry.born_at
            may_stand_in = response.status in _ERRORS and not is_gone(entry.body)
            if may_stand_in and stands_in(entry, errand.directives, age_s, has_response=True):
                return _stand_in(exchange, errand, entry, response, age_s, now_wall)
            # rules 15 and 29, RFC 9111 §4.3.3: passed on, and what is stored stays
            errand.refuse(b"error", now)
            exchange.cache_status = not_stored(errand.forwarded, b"error")
            return response
    return _receive_new(exchange, errand, response, now, now_wall)


def _receive_new(exchange: Exchange, errand: Errand, response: Response, now: float, now_wall: float) -> Response:
    drafted = _draft(exchange, errand, response, now, now_wall)
    if isinstance(drafted, Entry):
        exchange.cache_status = stored(errand.forwarded)
        errand.bring(drafted, response, now)
        response.fields = errand.policy.outgoing(response.fields, int(now - drafted.born_at))
    else:
        if errand.use is Use.VALIDATE and errand.entry is not None and response.status not in _NOT_NOW:
            errand.cache.store.remove(errand.entry)  # RFC 9111 §4.3.3: the origin has spoken, and it is not that
        # an error passes, and then a crowd should wait for one of its own again
        errand.refuse(b"error" if response.status >= 500 else drafted, now)
        exchange.cache_status = not_stored(errand.forwarded, drafted)
    return _for_own_condition(exchange, response, now_wall)


def _draft(exchange: Exchange, errand: Errand, response: Response, now: float, now_wall: float) -> Entry | bytes:
    """The entry to be stored, or why not."""
    status = response.status
    if exchange.conditions is None and status != 200 and not CONDITIONS.isdisjoint(errand.request_index):
        return b"precondition"  # it answers this client's conditions or range: 412 or 416 for one is none for the next
    if (_length(response) or 0) > errand.max_entry_bytes:
        return b"too-large"
    receipt = Receipt(errand.request_index, now, now_wall, exchange.upstream_s)
    drafted = draft(errand.key, errand.policy, receipt, status, response.reason, response.fields)
    if isinstance(drafted, Entry):
        drafted.as_of = exchange.as_of
    return drafted


def _for_own_condition(exchange: Exchange, response: Response, now_wall: float) -> Response:
    """Our conditions went in place of the client's: a 200 may still be what the client has (RFC 9111 §4.3.3)."""
    if exchange.conditions is None or response.status != 200:
        return response
    modified = response.get(b"last-modified") or response.get(b"date")
    modified_s = None if modified is None else parse_date(modified, now_wall)
    if not is_not_modified(exchange.request.index, response.get(b"etag"), modified_s, now_wall):
        return response
    _cancel(response)
    return not_modified(response.fields)


def _receive_304(
    exchange: Exchange, errand: Errand, entry: Entry, response: Response, now: float, now_wall: float
) -> Response:
    body = entry.body
    if isinstance(body, bytes) or not body.hold():
        return _merge_304(exchange, errand, entry, response, now, now_wall)
    try:  # what becomes of the entry, this client still gets it
        final = _merge_304(exchange, errand, entry, response, now, now_wall)
        if isinstance(final.content, FileStream):
            final.content.secure()
        return final
    finally:
        body.release()


def _merge_304(
    exchange: Exchange, errand: Errand, entry: Entry, response: Response, now: float, now_wall: float
) -> Response:
    """The stored response still holds: update it, and answer the client's own condition from it (§4.3.3, §4.3.4)."""
    exchange.cache_status = answered(errand.forwarded, 304)
    request = exchange.request
    if not belongs(entry, response.get(b"etag")):
        # the origin confirmed, but names another representation: use this one once more, and ask unconditionally next
        errand.cache.store.remove(entry)
        errand.complete()
        return answer(entry, request.method, request.index, int(now - entry.born_at), now_wall)
    fresher = _updated(errand, entry, response, Receipt(errand.request_index, now, now_wall, exchange.upstream_s))
    if isinstance(fresher, Entry):
        fresher.as_of = exchange.as_of
        errand.keep(fresher)
        errand.complete()
    else:  # the update forbids to keep it
        errand.cache.store.remove(entry)
        errand.refuse(fresher, now)
        exchange.cache_status = not_stored(exchange.cache_status, fresher)
        fresher = _for_once(entry, response, now, now_wall)
        fresher.shown = errand.policy.shown(fresher.fields)
    final = answer(fresher, request.method, request.index, int(now - fresher.born_at), now_wall)
    if errand.policy.set_cookie != "store":
        _add_cookies(final, [line for line in response.fields if line[0] == b"set-cookie"])
    return final


def _updated(errand: Errand, entry: Entry, response: Response, receipt: Receipt) -> Entry | bytes:
    """`entry` with the fields and the freshness of a message that has no content, or why it may not be kept."""
    policy = errand.policy
    fields = merged(entry.fields, _dated(response, receipt.received_wall), keeps_cookies=policy.set_cookie == "store")
    drafted = draft(entry.key, policy, receipt, entry.status, entry.reason, fields)
    return drafted if isinstance(drafted, bytes) else drafted.filled(entry.body)


def _for_once(entry: Entry, response: Response, now: float, now_wall: float) -> Entry:
    """The updated response for the one client whose request brought the update."""
    fields = merged(entry.fields, _dated(response, now_wall), keeps_cookies=False)
    once = Entry(entry.key, entry.status, entry.reason, fields).filled(entry.body)
    once.born_at = now
    once.etag, once.last_modified, once.last_modified_s = entry.etag, entry.last_modified, entry.last_modified_s
    once.date_s = int(now_wall)
    return once


def _receive_head(exchange: Exchange, errand: Errand, response: Response, now: float, now_wall: float) -> Response:
    """A HEAD tells whether the stored GET response still holds (RFC 9111 §4.3.5)."""
    errand.release()
    exchange.cache_status = errand.forwarded
    entry = errand.entry
    if entry is None or entry.status != 200 or response.status != 200:
        return response
    if not agrees(entry, response):
        entry.fresh_s = min(entry.fresh_s, now - entry.born_at)  # stale from now on
        entry.revalidate_s = 0.0
        return response
    fresher = _updated(errand, entry, response, Receipt(errand.request_index, now, now_wall, exchange.upstream_s))
    if isinstance(fresher, Entry):
        fresher.as_of = exchange.as_of
        errand.keep(fresher)
    return response


def _stand_in(
    exchange: Exchange, errand: Errand, entry: Entry, response: Response, age_s: float, now_wall: float
) -> Response:
    """The stale response in place of an error that nobody needs to see (RFC 5861 §4)."""
    _cancel(response)
    errand.use = Use.STALE
    errand.fail(Failure(None, response.status))
    exchange.cache_status = stood_in(errand.forwarded, response.status)
    return answer(entry, exchange.request.method, exchange.request.index, int(age_s), now_wall)


def _dated(response: Response, received_wall: float) -> list[Field]:
    """The fields of an update; without a Date it is dated by its receipt (RFC 9110 §6.6.1)."""
    if any(lower == b"date" for lower, _, _ in response.fields):
        return response.fields
    return [*response.fields, (b"date", b"Date", format_date(int(received_wall)))]


def _add_cookies(response: Response, cookies: list[Field]) -> None:
    """What the origin set for this client goes to this client, though it is not stored."""
    if not cookies:
        return
    if response.block is not None:
        response.block += render(cookies)
    else:
        response.fields = [*response.fields, *cookies]


def _length(response: Response) -> int | None:
    content = response.content
    if isinstance(content, bytes):
        return len(content)
    return None if content is None else content.length


def _cancel(response: Response) -> None:
    content = response.content
    if content is not None and not isinstance(content, bytes):
        content.cancel()
