"""Targeted fields: what the origin says to this kind of cache alone (RFC 9213)."""

from __future__ import annotations

from typing import Final

from proxy.cache.freshness import Index
from proxy.http.directives import MAX_DELTA_S, Directives, parse_directives
from proxy.http.structured import Bare, Date, Text, Token, parse_dictionary

TARGETS: Final = ("Weir-Cache-Control", "CDN-Cache-Control")
_DELTAS: Final = frozenset({b"max-age", b"s-maxage", b"stale-if-error", b"stale-while-revalidate"})


def directives_for(index: Index, targets: tuple[bytes, ...]) -> tuple[Directives, bool]:
    """What rules this response here, and whether a targeted field said it.

    The first of `targets` (lower case) that is there, parses and is not empty decides alone (§2.2): Cache-Control and
    Expires then say nothing to us. One that does not parse is as if it were not there.
    """
    for name in targets:
        value = index.get(name)
        if value is not None and (members := parse_dictionary(value)):
            return _as_directives(members), True
    return parse_directives(index.get(b"cache-control")), False


def _as_directives(members: dict[bytes, Bare]) -> Directives:
    """The same mapping that Cache-Control gives. A member of the wrong type is ignored (§2.1)."""
    directives: dict[bytes, bytes | None] = {}
    for name, value in members.items():
        if name in _DELTAS:
            if type(value) is int:  # not a Boolean, not a Decimal, not a Date
                # a number that is no delta-seconds means 0 further on: said, and not "fresh" (RFC 9111 §4.2.1)
                directives[name] = b"%d" % min(value, MAX_DELTA_S)
        elif value is True:
            directives[name] = None
        elif isinstance(value, Text | Token):  # no-cache="a", private="b": as in Cache-Control
            directives[name] = value.encode("utf-8")
        elif value is not False and not isinstance(value, Date):
            directives[name] = b""
    return directives
