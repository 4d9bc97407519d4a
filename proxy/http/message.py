"""A request, a response, and the two ends of a body.

Fields keep their order, their case and their duplicates (RFC 9110 §5.3); bytes stay bytes. Next to each name as it
was received stands its lower-case form, made once, so that no later rule lowers it again.
"""

from __future__ import annotations

from typing import Any, Protocol

Field = tuple[bytes, bytes, bytes]
"""(name in lower case, name as received, value without surrounding whitespace)"""


class Sink(Protocol):
    """Takes a body in pieces. Every method returns at once; back-pressure goes through `Source.pause`."""

    def feed(self, data: bytes) -> None:
        """Take the next piece, never empty."""

    def finish(self) -> None:
        """The body is complete. Nothing is fed after it."""

    def abort(self, error: BaseException) -> None:
        """The body will never be complete. What was fed must not be passed off as a whole one."""


class Source(Protocol):
    """Gives a body in pieces to one sink.

    `length` is the number of bytes if it was declared, else None. A source that is never started must be cancelled.
    """

    length: int | None

    def start(self, sink: Sink) -> None:
        """Deliver what is there and all that comes. Called once. May call the sink before it returns."""

    def pause(self) -> None:
        """Deliver nothing more for now, as soon as possible: pieces under way may still arrive."""

    def resume(self) -> None: ...

    def cancel(self) -> None:
        """Nobody wants the rest. Whatever holds a connection gives it back or closes it. Safe to call twice."""


class Request:
    """A request as it was received, plus what was read out of it once (http/heads.py).

    `index` maps a lower-case field name to its value; the values of repeated fields are joined with ", "
    (RFC 9110 §5.3), for reading only: what is forwarded comes from `fields`.
    """

    authority: bytes = b""  # Host as received
    host: str = ""  # canonical: lower case, no port, no final dot
    path: str = ""  # canonical path: what every rule sees (http/targets.py)
    query: bytes = b""  # without "?", byte for byte
    content_length: int | None = None
    keep_alive: bool = True
    expects_continue: bool = False
    upgrade: bytes = b""  # b"websocket" when an acceptable upgrade was asked for
    body: Any = None  # wire.request_body.RequestBody (a Source), or None when the request has no content
    # for the next one with the same bytes on its connection
    matched: Any = None  # routing.table.Match
    matched_by: Any = None  # routing.table.RouteTable that found it
    reading: Any = None  # cache.stage.Reading: what look up made of it

    def __init__(
        self,
        method: bytes,
        target: bytes,
        minor_version: int,
        fields: list[Field],
        index: dict[bytes, bytes],
        scheme: str = "http",
        body: Any = None,
    ) -> None:
        self.method = method
        self.target = target  # origin-form bytes, exactly as received (absolute-form is reduced to it)
        self.minor_version = minor_version  # 0 or 1: HTTP/1.0 or HTTP/1.1
        self.fields = fields
        self.index = index
        self.scheme = scheme
        if body is not None:
            self.body = body

    def get(self, name: bytes) -> bytes | None:
        """The value of a field by its lower-case name, repeated lines joined with ", ", or None."""
        return self.index.get(name)


class Response:
    """A response on its way to the client.

    `content` is bytes (complete), a Source (streamed) or None (no content by its nature: HEAD, 204, 304, 101).
    For None, `content_length` may still say what a GET would have had (RFC 9110 §8.6). Framing fields
    (Content-Length, Transfer-Encoding, Connection) are never in `fields`: the connection writes its own.
    `error` is set on responses that Weir made because something failed; `note` holds what a stage wants to remember.
    """

    block: bytes | None = None  # status line and field lines already rendered; `fields` is then ignored
    has_date: bool = False  # `block` has a Date field
    error: Any = None  # core.errors.ErrorKind
    note: Any = None
    tunnel: Any = None  # the other side of an upgraded connection (status 101)

    def __init__(
        self,
        status: int,
        reason: bytes,
        fields: list[Field],
        content: bytes | Source | None = None,
        content_length: int | None = None,
    ) -> None:
        self.status = status
        self.reason = reason
        self.fields = fields
        self.content = content
        self.content_length = content_length

    def get(self, name: bytes) -> bytes | None:
        """The value of a field by its lower-case name, repeated lines joined with ", " (RFC 9110 §5.3), or None."""
        values = [value for lower, _, value in self.fields if lower == name]
        if not values:
            return None
        return values[0] if len(values) == 1 else b", ".join(values)


def index_fields(fields: list[Field]) -> dict[bytes, bytes]:
    """Lower-case name -> value, repeated lines joined with ", "."""
    index: dict[bytes, bytes] = {}
    for lower, _, value in fields:
        if lower in index:
            index[lower] = index[lower] + b", " + value
        else:
            index[lower] = value
    return index


def field(name: str, value: bytes | str) -> Field:
    """A field from its name as it shall be written: `field("X-Name", b"value")`."""
    raw = name.encode("ascii")
    return raw.lower(), raw, value if isinstance(value, bytes) else value.encode("latin-1")
