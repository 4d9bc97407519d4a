"""A second opinion on HTTP/1.1: a reader that accepts what the grammar allows and not one byte more.

It shares nothing with the parser inside Weir. The backend reads with `UPSTREAM` rules what Weir forwards; the clients
read with `take_response` what Weir answers; and the mutations ask `CLIENT` rules what a strict server would have made
of the same bytes. Patterns are the ABNF of RFC 9110 and RFC 9112, written down as it stands there.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from enum import Enum

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110 §5.6.2
_TOKEN = re.compile(TOKEN)
_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])")
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD_LINE = re.compile(
    rb"(" + TOKEN + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)
_LENGTH = re.compile(rb"[0-9]{1,19}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})")
# RFC 9112 §7.1.1, but an extension may say anything: nobody forwards it, and without controls it cannot end its line
_CHUNK_LINE = re.compile(rb"(0*[0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*)?")
_REG_NAME = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")  # RFC 3986 §3.2.2
_PORT = re.compile(rb"(?:[0-9]{0,5})")
_WHOLE_HEAD = b"\r\n\r\n"
MOST_HEAD_BYTES = 256 * 1024


class Violation(Exception):
    """Bytes that are not a message, or that two readers could take in two ways."""


class Rules(Enum):
    """CLIENT: what anybody may send. UPSTREAM: what a proxy may send on, which is less."""

    CLIENT = "client"
    UPSTREAM = "upstream"


@dataclass(slots=True)
class Message:
    """A request or a response, read to its end."""

    start: tuple[bytes, ...]  # method, target, minor version; or status, reason
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    framing: str = "none"  # length, chunked, eof

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name]

    def get(self, name: bytes) -> bytes | None:
        values = self.all(name)
        return values[0] if values else None

    @property
    def status(self) -> int:
        return int(self.start[0])

    @property
    def method(self) -> bytes:
        return self.start[0]

    @property
    def target(self) -> bytes:
        return self.start[1]

    @property
    def closes(self) -> bool:
        options = [option.strip(b" \t").lower() for value in self.all(b"connection") for option in value.split(b",")]
        if len(self.start) == 3 and self.start[2] == b"0":
            return b"keep-alive" not in options or b"close" in options
        return b"close" in options


def take_request(data: bytes | bytearray, rules: Rules) -> tuple[Message, int] | None:
    """The first request in `data` and how many bytes it has; None when it is not whole yet. Raises Violation."""
    split = _split_head(data)
    if split is None:
        return None
    lines, at = split
    found = _REQUEST_LINE.fullmatch(lines[0])
    if found is None:
        raise Violation(f"request line {lines[0][:80]!r}")
    message = Message((found[1], found[2], found[3]), _fields(lines[1:]))
    _check_request(message)
    if rules is Rules.UPSTREAM:
        _check_forwarded(message)
    length, is_chunked = _framing(message, is_request=True)
    if is_chunked:
        return _take_chunked(message, data, at, plain=rules is Rules.UPSTREAM)
    return _take_length(message, data, at, length)


def take_response(data: bytes | bytearray, method: bytes, is_over: bool) -> tuple[Message, int] | None:
    """The first response in `data` (maybe a 1xx one) to a request with `method`, or None. `is_over`: no more comes."""
    split = _split_head(data)
    if split is None:
        return None
    lines, at = split
    found = _STATUS_LINE.fullmatch(lines[0])
    if found is None:
        raise Violation(f"status line {lines[0][:80]!r}")
    message = Message((found[1], found[2]), _fields(lines[1:]))
    length, is_chunked = _framing(message, is_request=False)
    if message.status < 200 or message.status == 204:
        if message.get(b"content-length") is not None or is_chunked:
            raise Violation("framing on a message that has no content")
        return message, at
    if method == b"HEAD" or message.status == 304:
        return message, at
    if is_chunked:
        return _take_chunked(message, data, at, plain=True)
    if length is None:
        if not is_over:
            return None
        message.framing, message.body = "eof", bytes(data[at:])
        return message, len(data)
    return _take_length(message, data, at, length)


def host_is_valid(authority: bytes) -> bool:
    """uri-host [ ":" port ] (RFC 9110 §7.2), not empty."""
    if authority[:1] == b"[":
        address, bracket, rest = authority[1:].partition(b"]")
        if not bracket or (rest and rest[:1] != b":"):
            return False
        try:
            ipaddress.IPv6Address(address.decode("ascii"))
        except ValueError:
            return False
        return b"%" not in address and _port_is_valid(rest[1:])
    host, _, port = authority.partition(b":")
    return _REG_NAME.fullmatch(host) is not None and _port_is_valid(port)


def _port_is_valid(port: bytes) -> bool:
    return _PORT.fullmatch(port) is not None and (not port or int(port) <= 65535)


def _split_head(data: bytes | bytearray) -> tuple[list[bytes], int] | None:
    end = data.find(_WHOLE_HEAD)
    if end < 0:
        if len(data) > MOST_HEAD_BYTES:
            raise Violation("a head without an end")
        _check_line_ends(bytes(data), is_part=True)
        return None
    head = bytes(data[:end])
    _check_line_ends(head, is_part=False)
    return head.split(b"\r\n"), end + 4


def _check_line_ends(head: bytes, *, is_part: bool) -> None:
    bare = head.replace(b"\r\n", b"")
    if is_part and bare.endswith(b"\r"):
        bare = bare[:-1]
    if b"\r" in bare or b"\n" in bare:
        raise Violation("a bare CR or LF in a head")


def _fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    fields = []
    for line in lines:
        found = _FIELD_LINE.fullmatch(line)
        if found is None:
            raise Violation(f"field line {line[:80]!r}")
        fields.append((found[1], found[2]))
    return fields


def _framing(message: Message, *, is_request: bool) -> tuple[int | None, bool]:
    """RFC 9112 §6.3 without the repairs it allows: one framing, said once."""
    lengths, codings = message.all(b"content-length"), message.all(b"transfer-encoding")
    if codings:
        if lengths:
            raise Violation("Content-Length beside Transfer-Encoding")
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise Violation(f"Transfer-Encoding {codings!r}")
        if is_request and message.start[2] == b"0":
            raise Violation("Transfer-Encoding in HTTP/1.0")
        return None, True
    if len(lengths) > 1:
        raise Violation("several Content-Length fields")
    if lengths:
        if _LENGTH.fullmatch(lengths[0]) is None:
            raise Violation(f"Content-Length {lengths[0]!r}")
        return int(lengths[0]), False
    return (0 if is_request else None), False


def _check_request(message: Message) -> None:
    method, target, minor = message.start
    hosts = message.all(b"host")
    if len(hosts) > 1 or (not hosts and minor == b"1"):
        raise Violation(f"{len(hosts)} Host fields")
    if hosts and not host_is_valid(hosts[0]) and not (minor == b"0" and not hosts[0]):
        raise Violation(f"Host {hosts[0][:80]!r}")
    if b"#" in target:
        raise Violation("a fragment")
    if len(method) > 32:
        raise Violation("a method without measure")


_OF_THE_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer upgrade "
    b"http2-settings expect".split()
)
_SAID_ONCE = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id", b"via")
_NEVER_BELIEVED = frozenset(
    b"forwarded x-real-ip x-client-ip true-client-ip cf-connecting-ip x-original-url x-rewrite-url".split()
)


def _check_forwarded(message: Message) -> None:
    """What a proxy of ours may send on, of a client that nobody trusts."""
    method, target, minor = message.start
    if minor != b"1" or target[:1] != b"/":
        raise Violation(f"forwarded as {message.start!r}")
    is_upgrade = message.get(b"upgrade") is not None
    for name, _ in message.fields:
        lower = name.lower()
        if b"_" in lower or lower in _NEVER_BELIEVED:
            raise Violation(f"forwarded {name!r}")
        if lower in _OF_THE_HOP and not (is_upgrade and lower in (b"connection", b"upgrade")):
            raise Violation(f"forwarded {name!r}")
        if lower.startswith(b"x-forwarded") and lower not in _SAID_ONCE:
            raise Violation(f"forwarded {name!r}")
    if is_upgrade and (
        message.all(b"upgrade") != [b"websocket"]
        or message.all(b"connection") != [b"Upgrade"]
        or method != b"GET"
        or message.get(b"sec-websocket-version") != b"13"
        or message.get(b"content-length") is not None
        or message.get(b"transfer-encoding") is not None
    ):
        raise Violation("forwarded an upgrade that is no WebSocket handshake")
    for lower in _SAID_ONCE:
        if len(message.all(lower)) != 1:
            raise Violation(f"{lower.decode()} {len(message.all(lower))} times")


def _take_length(message: Message, data: bytes | bytearray, at: int, length: int | None) -> tuple[Message, int] | None:
    if length is not None and message.get(b"content-length") is not None:
        message.framing = "length"
    end = at + (length or 0)
    if len(data) < end:
        return None
    message.body = bytes(data[at:end])
    return message, end


def _take_chunked(message: Message, data: bytes | bytearray, at: int, *, plain: bool) -> tuple[Message, int] | None:
    message.framing = "chunked"
    pieces = []
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            line = bytes(data[at:])
            if b"\n" in line or b"\r" in line[:-1]:
                raise Violation("a bare CR or LF in a chunk head")
            if len(line) > 16 * 1024:
                raise Violation("a chunk head without an end")
            return None
        line = bytes(data[at:end])
        found = (_CHUNK_SIZE if plain else _CHUNK_LINE).fullmatch(line)
        if found is None:
            raise Violation(f"chunk head {line[:80]!r}")
        size, at = int(found[1], 16), end + 2
        if size == 0:
            break
        if len(data) < at + size + 2:
            if len(data) > at + size and data[at + size] != 13:
                raise Violation("no CRLF after a chunk")
            return None
        if data[at + size : at + size + 2] != b"\r\n":
            raise Violation("no CRLF after a chunk")
        pieces.append(bytes(data[at : at + size]))
        at += size + 2
    message.body = b"".join(pieces)
    if data[at : at + 2] == b"\r\n":
        return message, at + 2
    if plain and len(data) >= at + 2:
        raise Violation("a trailer section")
    end = data.find(_WHOLE_HEAD, at)
    block = bytes(data[at:] if end < 0 else data[at:end])
    _check_line_ends(block, is_part=end < 0)
    if end < 0:
        return None
    message.trailers = _fields(block.split(b"\r\n"))
    return message, end + 4
