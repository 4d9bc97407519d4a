"""What is said of the cache's part in a response: our member of Cache-Status, without our name (RFC 9211)."""

from __future__ import annotations

from typing import Final

URI_MISS: Final = b"fwd=uri-miss"  # §2.2
VARY_MISS: Final = b"fwd=vary-miss"
STALE: Final = b"fwd=stale"
REQUEST: Final = b"fwd=request"  # the request's own directives or conditions forbade what is stored
METHOD: Final = b"fwd=method"


def hit(ttl_s: int) -> bytes:
    """Answered without asking; `ttl_s` is the freshness that is left, below zero when stale (§2.1, §2.4)."""
    return b"hit; ttl=%d" % ttl_s


def bypass(word: bytes) -> bytes:
    """Not for the cache, and why."""
    return b"fwd=bypass; detail=%b" % word


def stored(forwarded: bytes) -> bytes:
    return forwarded + b"; stored"  # §2.5


def not_stored(forwarded: bytes, word: bytes) -> bytes:
    return b"%b; detail=%b" % (forwarded, word)  # §2.8


def collapsed(forwarded: bytes) -> bytes:
    return forwarded + b"; collapsed"  # §2.6


def answered(forwarded: bytes, status: int) -> bytes:
    """Asked, and the answer was not the response that goes out (§2.3)."""
    return b"%b; fwd-status=%d" % (forwarded, status)


def from_shared(hit: bytes) -> bytes:
    """It was not in memory here, but another Weir had stored it for all (§2.8)."""
    return hit + b"; detail=shared"


def over_limit(hit: bytes) -> bytes:
    """Answered from what is stored because a limit kept the request from being forwarded (§2.8)."""
    return hit + b"; detail=over-limit"


def stood_in(forwarded: bytes, status: int | None) -> bytes:
    """Asked in vain: the stale response goes out instead. `status` is that of the error, None without a response."""
    text = forwarded if status is None else answered(forwarded, status)
    return text + b"; detail=stale-if-error"
