"""Request targets and hosts: one canonical path and one canonical host for every decision.

What is forwarded is the target as it came, byte for byte; what routes, limits and cache rules look at is the canonical
path. Where another reading of the same bytes is possible (an encoded slash, a backslash, a path parameter), routing
refuses a request on whose route the two would disagree (routing/readings.py).
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Final

_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")  # RFC 3986 §2.3
_HEX: Final = frozenset(b"0123456789ABCDEFabcdef")
_LOWER_HEX: Final = frozenset("0123456789abcdef")
_ODD: Final = (b"%", b"//", b"/.", b"\\", b";")
_HOST: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=%")  # RFC 3986 §3.2.2 reg-name, lower case
_IPV6: Final = frozenset("0123456789abcdef:.")


class BadTarget(ValueError):
    """The target or the host cannot be read in one way only."""


def split_target(target: bytes) -> tuple[bytes, bytes, bytes]:
    """(authority, path, query) of a request target in origin-form or absolute-form (RFC 9112 §3.2).

    The authority is empty for origin-form, the query has no "?". Raises BadTarget for everything else.
    """
    if target[:1] == b"/":
        authority, rest = b"", target
    else:
        scheme, colon, rest = target.partition(b"://")
        if not colon or scheme.lower() not in (b"http", b"https"):
            raise BadTarget("the target is neither origin-form nor absolute-form")
        cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        authority, rest = rest[:cut], rest[cut:]
        if not authority:
            raise BadTarget("the absolute target has no authority")
    if b"#" in rest:
        raise BadTarget("the target has a fragment")
    path, _, query = rest.partition(b"?")
    return authority, path or b"/", query


def canonical_path(path: bytes) -> str:
    """The path every rule sees: unreserved octets decoded, hex in upper case, empty segments merged.

    Idempotent. RFC 3986 §6.2.2. Raises BadTarget for dot segments (also encoded ones), for a bad or NUL escape and
    for bytes outside ASCII: nobody who means well sends them, and each has hidden a path from a rule somewhere.
    """
    for odd in _ODD:
        if odd in path:
            break
    else:
        if not path.isascii():
            raise BadTarget("the path is not ASCII")
        return path.decode("ascii")
    text = _decode_unreserved(path) if b"%" in path else path
    if not text.isascii():
        raise BadTarget("the path is not ASCII")
    while b"//" in text:
        text = text.replace(b"//", b"/")
    if b"/." in text and any(segment in (b".", b"..") for segment in text.split(b"/")):
        raise BadTarget("the path has dot segments")
    return text.decode("ascii")


def _decode_unreserved(path: bytes) -> bytes:
    head, *escapes = path.split(b"%")
    out = [head]
    for part in escapes:
        if len(part) < 2 or part[0] not in _HEX or part[1] not in _HEX:
            raise BadTarget("the path has a bad percent-escape")
        octet = int(part[:2], 16)
        if octet == 0:
            raise BadTarget("the path has an encoded NUL")
        out.append((bytes((octet,)) if octet in _UNRESERVED else b"%%%02X" % octet) + part[2:])
    return b"".join(out)


def canonical_host(authority: bytes) -> str:
    """The host of an authority: lower case, no port, no final dot. Raises BadTarget (RFC 9112 §3.2, W9)."""
    try:
        text = authority.decode("ascii").lower()
    except UnicodeDecodeError as error:
        raise BadTarget("the host is not ASCII") from error
    if text[:1] == "[":
        host, bracket, port = text[1:].partition("]")
        if not bracket or not _IPV6.issuperset(host) or not _is_ipv6(host) or (port and port[0] != ":"):
            raise BadTarget("the host is malformed")
        host, port = f"[{host}]", port[1:]
    else:
        host, _, port = text.partition(":")
        if not host or len(host) > 255 or not _HOST.issuperset(host) or ("%" in host and not _is_escaped(host)):
            raise BadTarget("the host is malformed")
        if host[-1] == ".":
            host = host[:-1]
            if not host or host[-1] == ".":
                raise BadTarget("the host is malformed")
    if port and (not port.isdigit() or not port.isascii() or len(port) > 5 or int(port) > 65535):
        raise BadTarget("the port is malformed")
    return host


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_escaped(host: str) -> bool:
    """Whether every % begins an escape."""
    return all([len(part) >= 2 and part[0] in _LOWER_HEX and part[1] in _LOWER_HEX for part in host.split("%")[1:]])
