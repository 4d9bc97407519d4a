"""Lists and Cache-Control directives (RFC 9110 §5.6.1, RFC 9111 §1.2.2, §5.2), so read that doubt is never "fresh".

"Rule N" here and in `cache/` is the rule that tests/conformance/test_cache_rules.py tests under this number.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

__all__ = ["MAX_DELTA_S", "Directives", "delta_seconds", "field_names", "parse_directives", "split_list"]

Directives = Mapping[bytes, bytes | None]
"""Lower-case name -> value without its quotes, or None for a directive without a value. Not to be changed."""

MAX_DELTA_S: Final = 2**31  # RFC 9111 §1.2.2: what is larger counts as this
_NONE: Final[Directives] = {}
_REMEMBERED_BYTES: Final = 256  # longer values are parsed anew, so that the memory of them stays small
_BLANKS: Final = b" \t"


def split_list(value: bytes) -> list[bytes]:
    """The members of a list, without the whitespace around them; empty ones are skipped (rule 1, §5.6.1).

    A comma inside a quoted string separates nothing. A quote that is never closed quotes the rest.
    """
    return _split(value)[0]


def field_names(value: bytes) -> tuple[bytes, ...]:
    """The members of a list of field names, such as Vary: lower case, each once, in the order of their first line."""
    return tuple(dict.fromkeys(split_list(value.lower())))


def parse_directives(value: bytes | None) -> Directives:
    """The directives of a Cache-Control field, all its lines joined with ", ".

    Names are case-insensitive; a value means the same as token and as quoted string (rule 2, RFC 9111 §5.2). Of a
    repeated directive the first counts (§4.2.1). Whitespace around "=" is malformed: the directive is there, with a
    value that is no number. A quote that is never closed hides what follows, so the whole field then counts as
    `no-store` too.
    """
    if value is None:
        return _NONE
    if len(value) > _REMEMBERED_BYTES:
        return _parse(value)
    return _parse_remembered(value)


def delta_seconds(value: bytes | None) -> int | None:
    """Seconds from ASCII digits, at most MAX_DELTA_S; None for all else (rule 3, RFC 9111 §1.2.2)."""
    if value is None or not value.isdigit():
        return None
    digits = value.lstrip(b"0")
    return min(int(digits or b"0"), MAX_DELTA_S) if len(digits) <= 10 else MAX_DELTA_S


def _parse(value: bytes) -> Directives:
    directives: dict[bytes, bytes | None] = {}
    members, is_closed = _split(value)
    for member in members:
        name, equals, argument = member.partition(b"=")
        if not equals:
            directives.setdefault(name.lower(), None)
        elif name[-1:] in (b" ", b"\t") or argument[:1] in (b" ", b"\t"):
            directives.setdefault(name.rstrip(_BLANKS).lower(), b"")
        else:
            directives.setdefault(name.lower(), _unquote(argument))
    if not is_closed:
        directives.setdefault(b"no-store", None)
    return directives


_parse_remembered = lru_cache(maxsize=256)(_parse)


def _split(value: bytes) -> tuple[list[bytes], bool]:
    """(members, every quote was closed)"""
    if b'"' not in value:
        return [member for part in value.split(b",") if (member := part.strip(_BLANKS))], True
    members = []
    start = at = 0
    end = len(value)
    is_closed = True
    while at < end:
        octet = value[at]
        if octet == 0x22:  # the opening quote
            at = _closing_quote(value, at)
            is_closed = at < end
        elif octet == 0x2C:
            members.append(value[start:at])
            start = at + 1
        at += 1
    members.append(value[start:])
    return [member for part in members if (member := part.strip(_BLANKS))], is_closed


def _closing_quote(value: bytes, opening: int) -> int:
    """Where the quoted string that opens here is closed, or the length of `value`."""
    at = opening + 1
    while at < len(value):
        if value[at] == 0x5C:  # RFC 9110 §5.6.4: a backslash quotes the next octet
            at += 1
        elif value[at] == 0x22:
            return at
        at += 1
    return len(value)


def _unquote(argument: bytes) -> bytes:
    if len(argument) < 2 or argument[:1] != b'"' or argument[-1:] != b'"':
        return argument
    inner = argument[1:-1]
    if b"\\" not in inner:
        return inner
    out = bytearray()
    octets = iter(inner)
    for octet in octets:
        out.append(next(octets, octet) if octet == 0x5C else octet)
    return bytes(out)
