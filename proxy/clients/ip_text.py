"""One text for one address, whoever wrote it.

IPv4 inside IPv6 is IPv4 again, by its bits and not by its notation: otherwise all IPv4 clients of a dual-stack listener
(::ffff:0:0/96, RFC 4291 §2.5.5.2) or behind a NAT64 (64:ff9b::/96, RFC 6052 §2.1) would share one /64 and one limit.
"""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Final

_MAPPED: Final = bytes(10) + b"\xff\xff"
_NAT64: Final = bytes.fromhex("0064ff9b") + bytes(8)
_LONGEST: Final = 64  # bytes of an address with its zone; longer text is no address


def canonical_address(text: str) -> str | None:
    """The one form of an IP address: RFC 5952 text, no zone, IPv4 unwrapped. None when it is no address.

    Half a microsecond, a whole one for IPv6.
    """
    packed = packed_address(text)
    if packed is None:
        return None
    return text if len(packed) == 4 and ":" not in text else unpacked_address(packed)


def packed_address(text: str) -> bytes | None:
    """Its 4 or 16 bytes, IPv4 unwrapped, or None."""
    if len(text) > _LONGEST:
        return None
    try:
        if ":" not in text:
            packed = inet_pton(AF_INET, text)
            # Some systems read 010.0.0.1 as 8.0.0.1 and others as 10.0.0.1: an address that is not plain is none.
            return packed if inet_ntop(AF_INET, packed) == text else None
        packed = inet_pton(AF_INET6, text.partition("%")[0])
    except (OSError, ValueError):  # ValueError: a NUL, or not ASCII
        return None
    return packed[12:] if packed[:12] in (_MAPPED, _NAT64) else packed


def unpacked_address(packed: bytes) -> str:
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)


def limit_key(address: str) -> bytes:
    """What limits count for a canonical address: IPv4 as it is, of IPv6 the /64, which is what one customer has."""
    packed = packed_address(address)
    if packed is None or len(packed) == 4:
        return address.encode("ascii")
    return inet_ntop(AF_INET6, packed[:8] + bytes(8)).encode("ascii") + b"/64"


def read_hop(text: str) -> str | None:
    """The canonical address in one hop of a forwarding field: brackets and port may be there. None: not an address."""
    text = text.strip(" \t")
    if text[:1] == "[":
        host, bracket, port = text[1:].partition("]")
        if not bracket or ":" not in host or (port and not _is_port(port)):
            return None
        return canonical_address(host)
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return canonical_address(host) if _is_port(":" + port) else None
    return canonical_address(text)


def _is_port(text: str) -> bool:
    return text[0] == ":" and text[1:].isascii() and text[1:].isdigit() and len(text) <= 6
