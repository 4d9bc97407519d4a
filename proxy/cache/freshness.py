"""How long a response may be used without asking (RFC 9111 §4.2). Seconds are floats; ages start at the receipt."""

from __future__ import annotations

from typing import Final

from proxy.http.dates import parse_date
from proxy.http.directives import Directives, delta_seconds, split_list

Index = dict[bytes, bytes]
"""Lower-case field name -> value, repeated lines joined with ", "."""

HEURISTIC_CAP_S: Final = 24 * 3600.0  # RFC 9111 §4.2.2 suggests 10 % of the age; a day is enough for a guess
HEURISTIC_STATUSES: Final = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})  # RFC 9110 §15.1
TTL_STATUSES: Final = frozenset({200, 203, 204, 300, 301, 302, 308})  # what a route's `ttl` is meant for: no errors
_HEURISTIC_SHARE: Final = 0.1


def date_of(index: Index, received_wall: float) -> int:
    """Rule 6: the Date of a response in seconds since 1970, or the time of receipt when it is missing or invalid."""
    value = index.get(b"date")
    seconds = None if value is None else parse_date(value, received_wall)
    return int(received_wall) if seconds is None else seconds  # RFC 9110 §6.6.1


def initial_age(index: Index, date_s: int, received_wall: float, delay_s: float) -> float:
    """Rule 8: the age of a response when it was received; `delay_s`: from the request to its head (§4.2.3)."""
    apparent_s = max(0.0, received_wall - date_s)
    return max(apparent_s, _age_value(index) + delay_s)


def explicit_lifetime(
    index: Index, directives: Directives, date_s: int, received_wall: float, *, is_targeted: bool = False
) -> float | None:
    """Rule 6: what the origin says for a shared cache, or None when it says nothing (§4.2.1).

    What cannot be read counts as 0: something was said, and it was not "fresh". With `is_targeted` the directives are
    those of a targeted field, beside which Expires says nothing (RFC 9213 §2.2).
    """
    for name in (b"s-maxage", b"max-age"):  # §5.2.2.10: s-maxage wins in a shared cache; §5.3: both win over Expires
        if name in directives:
            return float(delta_seconds(directives[name]) or 0)  # rule 3: invalid is 0, not "fall back" (§4.2.1)
    expires = None if is_targeted else index.get(b"expires")
    if expires is None:
        return None
    expires_s = parse_date(expires, received_wall)  # §5.3: "0", other nonsense and two lines mean expired
    return 0.0 if expires_s is None else max(0.0, float(expires_s - date_s))


def heuristic_lifetime(
    status: int,
    index: Index,
    directives: Directives,
    date_s: int,
    received_wall: float,
    cap_s: float = HEURISTIC_CAP_S,
) -> float | None:
    """Rule 9: a guess from Last-Modified, or None where none is allowed (§4.2.2). Only without an explicit lifetime."""
    if not may_guess(status, directives):
        return None
    modified = index.get(b"last-modified")
    modified_s = None if modified is None else parse_date(modified, received_wall)
    if modified_s is None or modified_s >= date_s:
        return None
    return min(_HEURISTIC_SHARE * (date_s - modified_s), cap_s)


def may_guess(status: int, directives: Directives) -> bool:
    """Responses with this status may be stored although nobody said so (RFC 9110 §15.1, RFC 9111 §5.2.2.9)."""
    return status in HEURISTIC_STATUSES or b"public" in directives


def _age_value(index: Index) -> int:
    value = index.get(b"age")
    if value is None:
        return 0
    members = split_list(value)  # rule 5, §5.1: the first counts, and only if it is delta-seconds
    return (delta_seconds(members[0]) or 0) if members else 0
