"""Which of several stored responses a request selects (RFC 9111 §4.1)."""

from __future__ import annotations

from typing import Final

from proxy.cache.freshness import Index
from proxy.http.directives import delta_seconds, field_names

Selection = tuple[bytes | None, ...]
"""Values of the selecting fields in one form for all that mean the same; None for a field that was absent."""

_NO_NAMES: Final[tuple[bytes, ...]] = ()


def selecting_names(vary: bytes | None, extra: tuple[bytes, ...] = _NO_NAMES) -> tuple[bytes, ...]:
    """The lower-case names in Vary, then those that the route adds."""
    if vary is None:
        return extra
    names = field_names(vary)
    return names + tuple(name for name in extra if name not in names) if extra else names


def selection(names: tuple[bytes, ...], index: Index) -> Selection:
    """What the selecting fields of a request say. Requests match if this is equal (rule 21): absent matches absent."""
    return tuple([None if (value := index.get(name)) is None else _plain(name, value) for name in names])


def _plain(name: bytes, value: bytes) -> bytes:
    """§4.1 allows what keeps the meaning: whitespace around separators, and the order and case of languages."""
    if name == b"accept-language":
        return _plain_languages(value)
    if b'"' in value:
        return value  # whitespace in a quoted string means something
    if b"," not in value and b";" not in value:
        return value.strip(b" \t")
    return b",".join([_plain_member(member) for member in value.split(b",")])


def _plain_member(member: bytes) -> bytes:
    if b";" not in member:
        return member.strip(b" \t")
    return b";".join([part.strip(b" \t") for part in member.split(b";")])


def _plain_languages(value: bytes) -> bytes:
    """Ranges sorted by weight and then by name: among equal weights the order means nothing (RFC 9110 §12.5.4)."""
    ranges = []
    for member in value.lower().split(b","):
        name, _, parameter = member.partition(b";")
        name, parameter = name.strip(b" \t"), parameter.strip(b" \t")
        weight = _thousandths(parameter)
        if weight is None or b" " in name or b"\t" in name:
            return value  # malformed: compared as it stands
        if name:
            ranges.append((-weight, name))
    return b",".join([b"%b;%d" % (name, -negative) for negative, name in sorted(ranges)])


def _thousandths(parameter: bytes) -> int | None:
    """1000 for `q=1` and for no parameter, 800 for `q=0.8`; None for what is no weight (RFC 9110 §12.4.2)."""
    if not parameter:
        return 1000
    whole, _, fraction = parameter.removeprefix(b"q=").partition(b".")
    if not parameter.startswith(b"q=") or whole not in (b"0", b"1") or len(fraction) > 3:
        return None
    parts = delta_seconds(fraction.ljust(3, b"0"))
    return None if parts is None else min(1000, int(whole) * 1000 + parts)
