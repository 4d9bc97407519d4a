"""Whether a request goes to the cache at all, and what a stored response can do for it (RFC 9111 §4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, unique
from typing import Final

from proxy.cache.entry import Entry
from proxy.cache.freshness import Index
from proxy.cache.selecting import selection
from proxy.http.directives import Directives, delta_seconds, parse_directives

VALIDATORS: Final = frozenset({b"if-none-match", b"if-modified-since"})
"""A request with one of these may be answered with a 304 instead of the response."""

BEYOND: Final = frozenset(
    {b"authorization", b"cache-control", b"if-match", b"if-range", b"if-unmodified-since", b"pragma", b"range"}
)
SPECIAL: Final = VALIDATORS | BEYOND
"""A request with none of these fields may be answered with any fresh response that it selects."""

CONDITIONS: Final = frozenset(
    {b"if-match", b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since", b"range"}
)
_NOTHING: Final[Directives] = {}


@unique
class Use(Enum):
    """What a stored response can do for a request."""

    FRESH = "fresh"
    STALE = "stale"  # the client said that it takes it
    REFRESH = "refresh"  # use it now, and fetch it anew in the background
    VALIDATE = "validate"  # ask first
    UNWANTED = "unwanted"  # the client wants the origin to be asked


def asked(index: Index, *, honours: bool) -> Directives:
    """The request's cache directives, where the route honours them."""
    if not honours:
        return _NOTHING
    value = index.get(b"cache-control")
    if value is not None:
        return parse_directives(value)
    pragma = index.get(b"pragma")  # rule 24, RFC 9111 §5.4: only without Cache-Control
    if pragma is not None and b"no-cache" in parse_directives(pragma):
        return {b"no-cache": None}
    return _NOTHING


def bypasses(index: Index, directives: Directives, *, has_content: bool, upgrades: bool) -> bytes | None:
    """Why a GET or HEAD is none of the cache's business, in one word; or None."""
    if upgrades:
        return b"upgrade"
    if has_content:
        return b"content"  # RFC 9110 §9.3.1: means nothing, but a backend may read it, and the key does not hold it
    if b"no-store" in directives:
        return b"no-store"  # rule 11, RFC 9111 §5.2.1.5
    if b"if-match" in index or b"if-unmodified-since" in index:
        return b"precondition"  # rule 26, RFC 9110 §13.1.1: for the origin to evaluate
    return None


def select(entries: Sequence[Entry], index: Index) -> Entry | None:
    """The stored response that a request selects: of several, the one with the newest Date (RFC 9111 §4.1).

    A request with Authorization selects only what may be shared with it (§3.5, read strictly: a page made for nobody
    in particular is no answer to somebody).
    """
    is_authorized = b"authorization" in index
    found: Entry | None = None
    for entry in entries:
        if entry.vary and selection(entry.vary, index) != entry.selection:
            continue
        if is_authorized and not entry.is_shared:
            continue
        if found is None or entry.date_s > found.date_s:
            found = entry
    return found


def decide(entry: Entry, directives: Directives, age_s: float) -> Use:
    """What `entry`, selected and `age_s` old, can do for a request with these directives."""
    fresh_s = entry.fresh_s
    if directives and not _is_wanted(directives, fresh_s, age_s):
        if entry.is_immutable and fresh_s > age_s and _is_reload(directives):
            return Use.FRESH  # rule 32, RFC 8246 §2
        return Use.UNWANTED
    if fresh_s > age_s:  # rule 7, §4.2: strictly, so that a lifetime of 0 is never fresh
        return Use.FRESH
    if age_s < fresh_s + entry.revalidate_s:
        return Use.REFRESH  # rule 30, RFC 5861 §3
    if entry.max_stale_s > 0.0 and b"max-stale" in directives and age_s - fresh_s <= _max_stale(directives, entry):
        return Use.STALE  # rule 24, §5.2.1.2
    return Use.VALIDATE


def stands_in(entry: Entry, directives: Directives, age_s: float, *, has_response: bool) -> bool:
    """The stale entry may be used because the origin failed: with an error response, or without any (§4.2.4)."""
    if b"no-cache" in directives:
        return False  # §5.2.1.4: never without validation
    return age_s < entry.fresh_s + (entry.error_s if has_response else entry.unreachable_s)


def wants_origin(directives: Directives) -> bool:
    """Not even what another request is just fetching would do."""
    return b"no-cache" in directives or delta_seconds(directives.get(b"max-age")) == 0


def _is_wanted(directives: Directives, fresh_s: float, age_s: float) -> bool:
    if b"no-cache" in directives:
        return False  # rule 24, §5.2.1.4
    max_age = delta_seconds(directives.get(b"max-age"))
    if max_age is not None and age_s > max_age:
        return False  # §5.2.1.1
    min_fresh = delta_seconds(directives.get(b"min-fresh"))
    return min_fresh is None or fresh_s - age_s >= min_fresh  # §5.2.1.3


def _is_reload(directives: Directives) -> bool:
    """What a browser's reload says, and nothing more."""
    return delta_seconds(directives.get(b"max-age")) == 0 and len(directives) == 1


def _max_stale(directives: Mapping[bytes, bytes | None], entry: Entry) -> float:
    value = directives[b"max-stale"]
    if value is None:
        return entry.max_stale_s
    return min(float(delta_seconds(value) or 0), entry.max_stale_s)
