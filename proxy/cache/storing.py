"""Which responses may be stored at all (RFC 9111 §3)."""

from __future__ import annotations

from typing import Final

from proxy.cache.freshness import Index
from proxy.cache.policy import CachePolicy
from proxy.http.directives import Directives, field_names

# final statuses whose caching rules are the general ones, so that storing them exactly as they came does no harm
_UNDERSTOOD: Final = frozenset(
    {200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 307, 308}
    | {*range(400, 418), 421, 422, 423, 424, 425, 426, 428, 429, 431, 451}
    | {500, 501, 502, 503, 504, 505, 506, 507, 508, 511}
)


def refusal(
    policy: CachePolicy, request_index: Index, status: int, index: Index, directives: Directives
) -> bytes | None:
    """Why a response to a GET must not be stored, in one word for Cache-Status; None when nothing speaks against it.

    Lifetimes are not looked at: whether storing it is of any use is said by `entry.draft`.
    """
    if status == 206 or status == 304 or status < 200:
        return (
            b"partial" if status == 206 else b"not-final"
        )  # rules 10, 20, 33: ranges are cut from whole responses only
    if b"must-understand" in directives:  # rule 12, §5.2.2.3: understood, so its no-store is not for us
        if status not in _UNDERSTOOD:
            return b"must-understand"
    elif b"no-store" in directives:
        return b"no-store"  # rule 11, §5.2.2.5
    if b"private" in directives:  # §5.2.2.7; with field names too: a part may be kept, nothing is simpler
        return b"private"
    if b"vary" in index and b"*" in field_names(index[b"vary"]):
        return b"vary-any"  # rule 11, §4.1
    if b"authorization" in request_index and not policy.shares_authorized and not is_shared(directives):
        return b"authorization"  # rule 13, §3.5
    if b"set-cookie" in index and policy.set_cookie == "bypass":
        return b"set-cookie"  # rule 14, §7.3 leaves it to the origin; a cookie of one client is not for the next
    if index.get(b"content-type", b"").lower().startswith(b"text/event-stream"):
        return b"event-stream"  # it never ends, and who comes later wants the events from then on
    return None


def is_shared(directives: Directives) -> bool:
    """The response may go to requests with Authorization, whoever sent them (§3.5)."""
    return b"public" in directives or b"must-revalidate" in directives or b"s-maxage" in directives
