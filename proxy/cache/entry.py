"""Entry: one stored response, and everything about it that no request has to work out again."""

from __future__ import annotations

from typing import Any, Final

from proxy.cache.conditions import fields_of_304
from proxy.cache.content import Content, in_memory
from proxy.cache.downstream import DownstreamControl
from proxy.cache.early import lead_s
from proxy.cache.freshness import (
    Index,
    date_of,
    explicit_lifetime,
    heuristic_lifetime,
    initial_age,
    may_guess,
)
from proxy.cache.policy import STALE_ON_ERROR_S, CachePolicy
from proxy.cache.selecting import Selection, selecting_names, selection
from proxy.cache.status import hit
from proxy.cache.storing import is_shared, refusal
from proxy.cache.targeted import directives_for
from proxy.http.dates import format_date, parse_date
from proxy.http.directives import Directives, delta_seconds
from proxy.http.fields import render
from proxy.http.message import Field, index_fields

# Measured with tracemalloc (tests/cache/test_memory_store.py holds the sum against it): the entry itself, its places in
# the store's tables and the ghost it leaves; a field is a tuple and three byte strings.
_ENTRY_BYTES: Final = 1440
_FIELD_BYTES: Final = 180
_NEVER_STORED: Final = frozenset({b"age", b"x-request-id"})  # ours are written for every response
_STRIPPED: Final = _NEVER_STORED | {b"set-cookie"}


class Entry:
    """Immutable but for its counters: a refreshed response is a new Entry with the same content.

    Ages count from `born_at`: the monotonic instant at which the response's age was zero.
    """

    __slots__ = (
        "_aged_304_s",
        "_aged_s",
        "_block",
        "_block_304",
        "_early_s",
        "_fresh_s",
        "_head",
        "_head_304",
        "_status_text",
        "as_of",
        "body",
        "born_at",
        "calm_s",
        "control",
        "date_s",
        "error_s",
        "etag",
        "fetch_s",
        "fields",
        "is_immutable",
        "is_shared",
        "key",
        "last_modified",
        "last_modified_s",
        "max_stale_s",
        "queue",
        "reason",
        "retry_at",
        "revalidate_s",
        "selection",
        "shown",
        "size_bytes",
        "status",
        "unreachable_s",
        "uses",
        "vary",
    )

    def __init__(self, key: bytes, status: int, reason: bytes, fields: list[Field]) -> None:
        self.key = key
        self.status = status
        self.reason = reason
        self.fields = fields  # as the origin said them; shared with responses: never changed in place
        self.shown = fields  # those of them that clients get
        self.control: DownstreamControl | None = None  # the Cache-Control that they get, where it is not the origin's
        self.body: Content = b""
        self.as_of: Any = None  # how new it is at least, for clients who wrote: (history, position), or unknown
        self.vary: tuple[bytes, ...] = ()  # lower-case names of the selecting fields
        self.selection: Selection = ()
        self.date_s = 0  # wall
        self.born_at = 0.0
        self._fresh_s = 0.0
        self._early_s = 0.0
        # read by the hot path: while younger than this it is fresh, in memory, and not to be refreshed early
        self.calm_s = 0.0
        self.fetch_s = 0.0  # how long the origin took
        # how much longer it may be used stale, and for whom (RFC 9111 §4.2.4); 0: not at all
        self.revalidate_s = 0.0  # at once, while it is fetched anew
        self.error_s = 0.0  # instead of an error response
        self.unreachable_s = 0.0  # when there is no response
        self.max_stale_s = 0.0  # when the request asks for it
        self.etag: bytes | None = None
        self.last_modified: bytes | None = None
        self.last_modified_s: int | None = None  # wall; None when it is no date
        self.is_shared = False  # may answer requests with Authorization
        self.is_immutable = False  # a reload may be answered with it (RFC 8246)
        self.uses = 0  # since the store last looked at it
        self.queue = 0  # the store's: which of its queues holds it
        self.retry_at = 0.0  # monotonic: no background refresh before
        self.size_bytes = 0
        self._head: bytes | None = None
        self._head_304: bytes | None = None
        self._aged_s = -1
        self._aged_304_s = -1
        self._block = b""
        self._block_304 = b""
        self._status_text = b""

    @property
    def fresh_s(self) -> float:
        """Fresh while younger than this; 0 when every use must be validated."""
        return self._fresh_s

    @fresh_s.setter
    def fresh_s(self, seconds: float) -> None:
        self._fresh_s = seconds
        self._set_calm()

    def refresh_early(self, eagerness: float, fetch_s: float) -> None:
        """From shortly before it goes stale, let `early.refreshes_early` say whether it is fetched anew."""
        self.fetch_s = fetch_s
        self._early_s = lead_s(fetch_s, eagerness)
        self._set_calm()

    def filled(self, body: Content) -> Entry:
        """Give the entry its content, once, before it is stored."""
        self.body = body
        self._set_calm()
        self.measure()
        return self

    def measure(self) -> None:
        """Set `size_bytes`: all the memory that keeping this entry takes, its rendered head included."""
        # names are there twice (as received, and lower), and all of it once more in the head and in the aged head
        head = sum([3 * len(name) + 3 * len(value) + _FIELD_BYTES for _, name, value in self.fields])
        if self.shown is not self.fields:
            head += 8 * len(self.shown) + 64
        selecting = sum([len(value) + 60 for value in self.selection if value is not None])
        self.size_bytes = _ENTRY_BYTES + len(self.key) + in_memory(self.body) + head + selecting

    def block(self, age_s: int) -> bytes:
        """The rendered head with its Age; the same object for all requests of one second (RFC 9111 §5.1)."""
        if age_s != self._aged_s:
            if self._head is None:
                self._head = b"HTTP/1.1 %d %b\r\n" % (self.status, self.reason) + render(self.shown)
            self._block = b"%bAge: %d\r\n" % (self._head, age_s)  # rule 23
            if self.control is not None:
                self._block += self.control.line(age_s)
            self._status_text = hit(int(self.fresh_s) - age_s)
            self._aged_s = age_s
        return self._block

    def block_304(self, age_s: int) -> bytes:
        """The same for a 304."""
        if age_s != self._aged_304_s:
            if self._head_304 is None:
                self._head_304 = b"HTTP/1.1 304 Not Modified\r\n" + render(fields_of_304(self.shown))
            self._block_304 = b"%bAge: %d\r\n" % (self._head_304, age_s)
            if self.control is not None:
                self._block_304 += self.control.line(age_s)
            self._aged_304_s = age_s
        return self._block_304

    def fields_at(self, age_s: int) -> list[Field]:
        """The fields that clients get, without Age, as a new list."""
        return [*self.shown] if self.control is None else self.control.replaced(self.shown, age_s)

    def hit_text(self, age_s: int) -> bytes:
        """What Cache-Status says of a hit at this age."""
        if age_s != self._aged_s:
            self.block(age_s)
        return self._status_text

    def _set_calm(self) -> None:
        self.calm_s = self._fresh_s - self._early_s if isinstance(self.body, bytes) else 0.0


class Receipt:
    """When and for whom a response came."""

    __slots__ = ("delay_s", "received_at", "received_wall", "request_index")

    def __init__(self, request_index: Index, received_at: float, received_wall: float, delay_s: float) -> None:
        self.request_index = request_index
        self.received_at = received_at  # monotonic: its head was complete
        self.received_wall = received_wall
        self.delay_s = delay_s  # from the request to the head


def draft(
    key: bytes, policy: CachePolicy, receipt: Receipt, status: int, reason: bytes, fields: list[Field]
) -> Entry | bytes:
    """The entry for a response to a GET, still without content; or, in one word, why it must not or need not be stored.

    `fields` has neither framing nor fields of the hop.
    """
    if policy.otherwise is not None and not policy.is_fetched_ahead(status):
        policy = policy.otherwise
    if policy.tag_line is not None and policy.tag_line not in fields:
        fields = [*fields, policy.tag_line]
    index = index_fields(fields)
    directives, is_targeted = directives_for(index, policy.targets)
    if (word := refusal(policy, receipt.request_index, status, index, directives)) is not None:
        return word
    date_s = date_of(index, receipt.received_wall)
    said_s = explicit_lifetime(index, directives, date_s, receipt.received_wall, is_targeted=is_targeted)
    age_s = initial_age(index, date_s, receipt.received_wall, receipt.delay_s)
    own_s = policy.lifetime(status, said_s)
    if own_s is not None:
        said_s = age_s + own_s  # it counts from the receipt, however old the response was then
    if b"set-cookie" in index and policy.set_cookie == "store" and said_s is None:
        return b"set-cookie"  # rule 14: only where somebody said how long
    lifetime_s = said_s
    if lifetime_s is None:
        lifetime_s = heuristic_lifetime(
            status, index, directives, date_s, receipt.received_wall, policy.heuristic_cap_s
        )
    entry = Entry(key, status, reason, _kept_fields(fields, policy, date_s, receipt.received_wall))
    _set_lifetimes(entry, policy, directives, lifetime_s or 0.0, has_ttl=own_s is not None)
    if lifetime_s is None and not may_guess(status, directives):
        return b"status"  # rule 10, §3: neither said to be cacheable nor known to be
    left_s = entry.fresh_s + max(entry.revalidate_s, entry.error_s) - age_s
    if left_s <= 0.0 and b"etag" not in index and b"last-modified" not in index:
        return b"no-lifetime"  # rule 9: it could never be used, except for want of anything better
    entry.vary = selecting_names(index.get(b"vary"), policy.vary)
    entry.selection = selection(entry.vary, receipt.request_index)
    entry.date_s = date_s
    entry.born_at = receipt.received_at - age_s
    entry.etag = index.get(b"etag")
    entry.last_modified = index.get(b"last-modified")
    if entry.last_modified is not None:
        entry.last_modified_s = parse_date(entry.last_modified, receipt.received_wall)
    entry.is_shared = policy.shares_authorized or is_shared(directives)
    entry.is_immutable = policy.honours_immutable and b"immutable" in directives
    if policy.eagerness and entry.fresh_s > 0.0:
        entry.refresh_early(policy.eagerness, receipt.delay_s)
    show(entry, policy)
    return entry


def show(entry: Entry, policy: CachePolicy) -> None:
    """Set what clients get to see of `entry` on the route of `policy`."""
    if policy.hidden or policy.downstream is not None:
        entry.shown = policy.shown(entry.fields)
        if (control := policy.downstream) is not None:
            entry.control = control
            entry.shown = control.removed(entry.shown)


def _set_lifetimes(
    entry: Entry, policy: CachePolicy, directives: Directives, lifetime_s: float, *, has_ttl: bool
) -> None:
    if b"no-cache" in directives:  # rule 22, RFC 9111 §5.2.2.4, also with field names
        return
    entry.fresh_s = lifetime_s
    if b"must-revalidate" in directives or b"proxy-revalidate" in directives:  # rule 28, §5.2.2.2, §5.2.2.8
        return
    if b"s-maxage" in directives and policy.is_strict_on_s_maxage and not has_ttl:
        # rule 28, §5.2.2.10: means proxy-revalidate too; only the operator's own word goes beyond it
        entry.revalidate_s = policy.stale_while_revalidate_s or 0.0
        entry.error_s = entry.unreachable_s = policy.stale_if_error_s or 0.0
        if policy.stale_on_error_s is not None:
            entry.unreachable_s = policy.stale_on_error_s
        return
    entry.max_stale_s = STALE_ON_ERROR_S
    entry.revalidate_s = _either(policy.stale_while_revalidate_s, directives.get(b"stale-while-revalidate"))
    entry.error_s = _either(policy.stale_if_error_s, directives.get(b"stale-if-error"))  # RFC 5861 §3, §4
    entry.unreachable_s = entry.error_s
    if policy.stale_on_error_s is not None:
        entry.unreachable_s = policy.stale_on_error_s
    elif policy.stale_if_error_s is None:
        entry.unreachable_s = max(entry.error_s, STALE_ON_ERROR_S)  # rule 29, RFC 9111 §4.2.4: when disconnected


def _either(configured_s: float | None, said: bytes | None) -> float:
    return float(delta_seconds(said) or 0) if configured_s is None else configured_s


def _kept_fields(fields: list[Field], policy: CachePolicy, date_s: int, received_wall: float) -> list[Field]:
    """The fields to be stored: with a Date (rules 6 and 37), without Age, and without cookies if they are stripped."""
    dropped = _STRIPPED if policy.set_cookie == "strip" else _NEVER_STORED
    dates = [value for lower, _, value in fields if lower == b"date"]
    if len(dates) == 1 and parse_date(dates[0], received_wall) is not None:
        return [line for line in fields if line[0] not in dropped]
    kept = [line for line in fields if line[0] not in dropped and line[0] != b"date"]
    kept.append((b"date", b"Date", format_date(date_s)))
    return kept
