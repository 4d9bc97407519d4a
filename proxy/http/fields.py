"""Which fields may cross the proxy, in both directions (RFC 9110 §7.6.1; W5, W6)."""

from __future__ import annotations

from typing import Final

from proxy.http.message import Field

# rule 18, RFC 9111 §3.1: neither passed on nor stored; all other fields are, as they came
CONNECTION_SPECIFIC: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
OF_THE_HOP: Final = CONNECTION_SPECIFIC | {
    b"content-length"
}  # never passed on: framing is made anew on every connection
# RFC 9110 §7.6.1: Connection may name fields of this hop, but never those that carry the message itself. Naming one of
# these is how a client removes what the proxy or another proxy says about it.
NEVER_CONNECTION_NAMED: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"cache-control"})
_NO_NAMES: Final[frozenset[bytes]] = frozenset()


def connection_named(value: bytes | None) -> frozenset[bytes]:
    """The lower-case names that a Connection field lists, less those that it must not remove."""
    if value is None:
        return _NO_NAMES
    lower = value.lower()
    if lower in (b"keep-alive", b"close"):
        return _NO_NAMES
    names = {name.strip(b" \t") for name in lower.split(b",")}
    return frozenset(names - NEVER_CONNECTION_NAMED - {b"", b"close", b"keep-alive"})


def render(fields: list[Field]) -> bytes:
    """Field lines as bytes, each ending in CRLF."""
    return b"".join([b"%b: %b\r\n" % (name, value) for _, name, value in fields])
