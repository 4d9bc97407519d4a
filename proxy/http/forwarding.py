"""Who asked, and through whom: the head that goes upstream.

What a client claims about its own origin (X-Forwarded-*, Forwarded, X-Real-IP) is dropped unless the peer is a
trusted proxy; what we say is written last, so that nothing can remove it (RFC 9110 §7.6, RFC 7239).
"""

from __future__ import annotations

from typing import Final

from proxy.http.fields import CONNECTION_SPECIFIC, connection_named
from proxy.http.message import Field, Request

_FORGEABLE: Final = frozenset(
    {
        b"forwarded",
        b"x-real-ip",
        b"x-client-ip",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-forwarded",
    }
)
# Expect is answered by us (W11); Content-Length and Host are written by us; the rest belongs to this hop
_ALWAYS_DROPPED: Final = CONNECTION_SPECIFIC | {b"content-length", b"host", b"expect", b"via", b"x-request-id"}
_CONDITIONS: Final = frozenset(
    {b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range", b"range"}
)
_PLAIN: Final = {True: _ALWAYS_DROPPED, False: _ALWAYS_DROPPED | _FORGEABLE}


def upstream_fields(
    request: Request,
    *,
    peer_is_trusted: bool,
    private: frozenset[bytes],
    conditions: tuple[Field, ...] | None,
    rules: tuple[tuple[str, bytes, bytes], ...] = (),
) -> list[bytes]:
    """The field lines of the client that go upstream, each as b"Name: value\\r\\n", in their order.

    `private` are names that identify users and are believed from trusted peers only; `conditions` replaces the
    client's own conditional and range fields when it is not None; `rules` are the route's request field rules.
    """
    dropped = _PLAIN[peer_is_trusted]
    connection = request.index.get(b"connection")
    if connection is not None and (named := connection_named(connection)):
        dropped = dropped | named
    if private and not peer_is_trusted:
        dropped = dropped | private
    if conditions is not None:
        dropped = dropped | _CONDITIONS
    if rules:
        dropped = dropped | {lower for _, lower, _ in rules}
    lines = [
        b"%b: %b\r\n" % (name, value)
        for lower, name, value in request.fields
        if lower not in dropped and lower[:11] != b"x-forwarded"  # any suffix: -Prefix has cost others two advisories
    ]
    if conditions:
        lines += [b"%b: %b\r\n" % (name, value) for _, name, value in conditions]
    if rules:
        lines += [line + b"\r\n" for action, _, line in rules if action == "set"]
    return lines


def forwarding_lines(request: Request, *, peer_is_trusted: bool, peer_address: bytes, identifier: bytes) -> bytes:
    """What we say of the client: X-Forwarded-For, -Proto, -Host, X-Request-ID and Via, as one block of field lines."""
    index = request.index
    forwarded_for, proto, host = peer_address, request.scheme.encode("ascii"), request.authority
    if peer_is_trusted:
        if (chain := index.get(b"x-forwarded-for")) is not None:
            forwarded_for = b"%b, %b" % (chain, peer_address)
        proto = index.get(b"x-forwarded-proto", proto)
        host = index.get(b"x-forwarded-host", host)
    via = b"1.%d weir" % request.minor_version  # rule 37, RFC 9110 §7.6.3: the version of the message as received
    if (earlier := index.get(b"via")) is not None:
        via = b"%b, %b" % (earlier, via)
    return (
        b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\nX-Request-ID: %b\r\nVia: %b\r\n"
        % (forwarded_for, proto, host, identifier, via)
    )
