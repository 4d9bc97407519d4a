"""A connection to an endpoint: one request out, one response in, then idle or closed (RFC 9112 §9).

The response head resolves a future; content that came with it is there at once, and what follows is pushed into the
sink of whoever streams it. Content of a known length does not go through the parser: it is counted and passed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

import httptools

from proxy.core.clock import monotonic
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.tasks import Signal
from proxy.http.fields import OF_THE_HOP, connection_named
from proxy.http.message import Field, Response, Source
from proxy.wire.limits import HIGH_WATER_BYTES
from proxy.wire.request_sink import RequestSink
from proxy.wire.response_body import ResponseBody
from proxy.wire.timers import NEVER, Timers

if TYPE_CHECKING:
    from proxy.wire.spool import SpoolRoom
    from proxy.wire.tunnel import TunnelEnd

_SLOW_S: Final = (
    0.1  # a client that takes nothing when it is looked at counts as slow; without room, until the next look
)
_MAX_INFORMATIONAL: Final = 8  # a response (W12)
_MAX_FIELDS: Final = 200
_CTL: Final = bytes(octet for octet in range(32) if octet != 9) + b"\x7f"
_HEAD_END: Final = b"\r\n\r\n"
_KNOWN_REASONS: Final = frozenset(
    {b"OK", b"Created", b"Accepted", b"No Content", b"Not Modified", b"Found", b"Not Found"}
)


class UpstreamConnection(asyncio.Protocol):
    """One socket to an endpoint. Used through a lease only (upstreams/pool.py)."""

    __slots__ = (
        "_answer",
        "_body",
        "_early",
        "_error",
        "_expects_none",
        "_fields",
        "_head",
        "_head_bytes",
        "_informational",
        "_is_over",
        "_is_reading",
        "_keep_alive",
        "_max_head_bytes",
        "_moved_bytes",
        "_on_informational",
        "_parser",
        "_pieces",
        "_reason",
        "_release",
        "_remaining",
        "_request",
        "_response",
        "_room",
        "_stall_s",
        "_timers",
        "_tunnel",
        "_until_eof",
        "_upgrade",
        "bytes_sent",
        "deadline_at",
        "has_answered",
        "is_clean",
        "on_closed",
        "opened_at",
        "retires_at",
        "transport",
    )

    def __init__(self, max_head_bytes: int, timers: Timers, room: SpoolRoom | None = None) -> None:
        self._max_head_bytes = max_head_bytes
        self._timers = timers
        self._room = room  # for content that its client takes slowly
        self._parser: Any = httptools.HttpResponseParser(self)  # None once it is over
        self._fields: list[Field] = []
        self._reason = b""
        self._pieces: list[bytes] = []  # content that came in the same read as its head
        self._is_reading = True
        self._is_over = False  # the last byte of the response has been parsed
        self._tunnel: TunnelEnd | None = None
        # of the exchange under way
        self._head: Signal[Response] | None = None
        self._release: Callable[[bool], None] | None = None
        self._on_informational: Callable[[bytes], None] | None = None
        self._request: RequestSink | None = None
        self._answer: Response | None = None  # its head is read; goes to the stage when the read is over
        self._response: Response | None = None  # the same, while its content is not settled
        self._body: ResponseBody | None = None  # content still coming
        self._remaining = 0  # content bytes that go past the parser
        self._stall_s = NEVER
        self._moved_bytes = 0
        self._head_bytes = 0
        self._informational = 0
        self._expects_none = False  # HEAD: the head says a length, and nothing follows
        self._upgrade = False
        self._until_eof = False
        self._keep_alive = False
        self._early = b""  # of a tunnel that is not open yet
        self._error: ProxyError | None = None
        self.bytes_sent = 0  # of the request under way
        self.has_answered = False  # a byte of the response has come
        self.deadline_at = NEVER
        self.is_clean = False
        self.on_closed: Callable[[Any], None] | None = None  # when it dies while nobody uses it
        self.opened_at = 0.0
        self.retires_at = NEVER  # set by the pool
        self.transport: asyncio.Transport

    # -- for the stage --

    def send(
        self,
        head: bytes,
        body: Source | None,
        *,
        expects_none: bool,
        upgrade: bool,
        deadline_at: float,
        stall_s: float,
        release: Callable[[bool], None],
        informational: Callable[[bytes], None] | None,
    ) -> Signal[Response]:
        """Send a request; the signal gives its final response head, with its content: bytes if it was short and whole,
        else a Source.

        `head` is everything that is sent at once; `body` follows. `release(clean)` is called once, when the response
        is over and the connection can be used again (True) or is closed (False). The signal fails with ProxyError:
        RESPONSE_TIMEOUT after `deadline_at`, RESPONSE_MALFORMED, CONNECTION_RESET, or the request body's own error.
        Content that stands still for `stall_s` is given up.
        """
        self.is_clean = False
        self.has_answered = self._until_eof = False
        self._fields = []
        self._error = None
        self._informational = self._head_bytes = 0
        self._expects_none = expects_none
        self._upgrade = upgrade
        self._release = release
        self._on_informational = informational
        self._stall_s = stall_s
        self.deadline_at = deadline_at
        signal: Signal[Response] = Signal()
        self._head = signal
        self._answer = None
        self.bytes_sent = 0
        if self.transport.is_closing():
            self._fail(ProxyError(ErrorKind.CONNECTION_RESET, "closed while idle"))
            return signal
        self.bytes_sent = len(head)
        self.transport.write(head)
        if body is not None:
            self._request = request = RequestSink(self, body)
            body.start(request)
        return signal

    def close(self) -> None:
        """Close now, whatever is under way. The lease is released as unclean."""
        self.is_clean = False
        if self._release is not None:  # else the response is whole, and may still be on its way to the stage
            self._head = None
            self._abort_content(ProxyError(ErrorKind.RESPONSE_TRUNCATED, "closed by us"))
        self.transport.abort()
        self._give_back(False)

    def pause_reading(self) -> None:
        if self._is_reading and not self.transport.is_closing():
            self._is_reading = False
            self.transport.pause_reading()

    def never_stalls(self) -> None:
        """The content under way may stand still for as long as it likes."""
        self._stall_s = self.deadline_at = NEVER

    def hold(self) -> None:
        """The client takes nothing for now: read nothing, and look soon whether it stays like that."""
        self.pause_reading()
        if self._room is not None:
            self.deadline_at = min(self.deadline_at, monotonic() + _SLOW_S)

    def resume_reading(self) -> None:
        if not self._is_reading and not self.transport.is_closing():
            self._is_reading = True
            self.transport.resume_reading()

    def enter_tunnel(self, end: TunnelEnd) -> bytes:
        """Hand all further bytes to `end`. The lease ends with the tunnel."""
        self._tunnel = end
        self.deadline_at = NEVER
        early, self._early = self._early, b""
        self.resume_reading()
        return early

    # -- asyncio.Protocol --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.opened_at = monotonic()
        self.is_clean = True
        self._timers.add(self)

    def data_received(self, data: bytes) -> None:
        if self._remaining:
            self._pass_content(data)
        elif self._tunnel is not None:
            self._tunnel.feed(data)
        elif self._release is None:
            self._distrust()  # W1: bytes on an idle connection belong to nobody
        else:
            if not self.has_answered:
                self.has_answered = True
                if data[:7] != b"HTTP/1."[: len(data)]:
                    self._fail(ProxyError(ErrorKind.RESPONSE_MALFORMED, "not HTTP/1"))
                    return
            self._head_bytes += len(data)
            self._parse(data)
            if self._is_over:
                self._finish(data)
                return
            if self._response is not None:
                self._give_source(self._response)
            answer = self._answer
            if answer is not None:
                self._deliver(answer)
            elif len(self._fields) > _MAX_FIELDS or (self._head is not None and self._is_head_too_large()):
                self._fail(ProxyError(ErrorKind.RESPONSE_MALFORMED, "head too large"))

    def eof_received(self) -> bool:
        if self._tunnel is not None:
            self._tunnel.ended()
        elif self._until_eof and self._error is None:
            self._complete()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._timers.remove(self)
        self.is_clean = False
        if self._tunnel is not None:
            self._tunnel.ended()
        if self._release is not None:
            # W19: once a byte of an answer has come, nothing is tried again
            kind = ErrorKind.RESPONSE_TRUNCATED if self.has_answered else ErrorKind.CONNECTION_RESET
            self._fail(ProxyError(kind, str(exc or "closed by the endpoint")))
        elif self.on_closed is not None:
            self.on_closed(self)
        self._parser = self._error = None  # they refer to us: only the collector would find the lot

    def pause_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.pause_writing()
        elif self._request is not None:
            self._request.body.pause()

    def resume_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.resume_writing()
        elif self._request is not None:
            self._request.body.resume()

    # -- llhttp --

    def on_status(self, reason: bytes) -> None:
        self._reason = self._reason + reason if self._reason else reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), name, value))  # trailer fields too; they are dropped (RFC 9110 §6.5.1)

    def on_headers_complete(self) -> None:
        if self._head is None or self._answer is not None or self._is_over:
            self._stop("a second response")
        fields, self._fields = self._fields, []
        reason, self._reason = self._reason, b""
        status = self._parser.get_status_code()
        if reason not in _KNOWN_REASONS and len(reason.translate(None, _CTL)) != len(reason):
            self._stop("control character in the reason")
        if len(fields) > _MAX_FIELDS:
            self._stop(f"{len(fields)} fields")
        if self._head_bytes > self._max_head_bytes and len(reason) + _size(fields) > self._max_head_bytes:
            self._stop("head too large")
        if status < 200:
            self._interim(status, reason, fields)
            return
        if status > 599:
            self._stop(f"status {status}")
        kept, length, is_chunked, connection = self._sort(fields)
        self._keep_alive = self._parser.should_keep_alive()
        response = Response(status, reason, kept)
        self.deadline_at = NEVER
        self._answer = response
        if self._expects_none:
            response.content_length = length
            # llhttp does not know that this was HEAD; it waits for content. Its work is done, another goes on
            self._parser = httptools.HttpResponseParser(self)
            self._keep_alive = connection is None or b"close" not in connection.lower()
            self._is_over = True
        elif status == 304 or status == 204:
            response.content_length = length if status == 304 else None
            self._expects_none = True
        else:
            self._until_eof = length is None and not is_chunked
            response.content_length = length
            self._response = response

    def on_body(self, data: bytes) -> None:
        if self._expects_none or self._is_over:
            self._stop("content where there can be none")
        elif self._body is not None:
            self._body.feed(data)
        else:
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        answer = self._answer
        if answer is None and self._head is not None:
            return  # a 1xx response
        if answer is None or answer.status != 101:
            self._is_over = True

    # -- timers.Timed --

    def expired(self, now: float) -> None:
        """The response head did not come in time, or its content stands still."""
        self.deadline_at = NEVER
        if self._request is not None and not self._request.is_done:
            self.deadline_at = now + self._stall_s  # content is still going up; the client's own timers watch it
        elif self._head is not None:
            self._fail(ProxyError(ErrorKind.RESPONSE_TIMEOUT, "no response head in time"))
        elif self._body is not None:
            if self._body.may_spool and self._room is not None:
                self.deadline_at = now + _SLOW_S
                if (spool := self._room.open()) is not None:
                    self._moved_bytes = -1
                    self.deadline_at = now + self._stall_s
                    self._body.spool(spool)
            elif self._is_reading and self._body.received_bytes == self._moved_bytes:
                self._fail(ProxyError(ErrorKind.RESPONSE_TRUNCATED, "content stood still"))
            else:
                self._moved_bytes = self._body.received_bytes
                self.deadline_at = now + self._stall_s

    # -- for the request's content --

    def request_failed(self, error: BaseException) -> None:
        """The request's content will never be whole: the endpoint must not take what it got for whole."""
        self._fail(error if isinstance(error, ProxyError) else ProxyError(ErrorKind.INTERNAL, repr(error)))

    # -- private --

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._early = data[upgrade.args[0] :]
            self.pause_reading()
        except httptools.HttpParserError as error:
            if self._is_over:
                self._keep_alive = False  # the response is whole, and more came behind it
            else:
                self._fail(self._error or ProxyError(ErrorKind.RESPONSE_MALFORMED, str(error)))

    def _sort(self, fields: list[Field]) -> tuple[list[Field], int | None, bool, bytes | None]:
        """(fields that go on, Content-Length, chunked, Connection). RFC 9110 §7.6.1, RFC 9112 §6.3.

        Transfer codings other than chunked are refused.
        """
        kept: list[Field] = []
        length: int | None = None
        is_chunked = False
        connection: bytes | None = None
        for line in fields:
            lower, _, value = line
            if lower not in OF_THE_HOP:
                if value and value[-1] in b" \t":
                    line = lower, line[1], value.rstrip(b" \t")
                kept.append(line)
            elif lower == b"content-length":
                length = int(value)
            elif lower == b"connection":
                connection = value if connection is None else connection + b", " + value
            elif lower == b"transfer-encoding":
                if is_chunked or value.strip(b" \t").lower() != b"chunked":
                    self._stop("Transfer-Encoding other than chunked")
                is_chunked = True
        if connection is not None and (named := connection_named(connection)):
            kept = [line for line in kept if line[0] not in named]
        return kept, length, is_chunked, connection

    def _interim(self, status: int, reason: bytes, fields: list[Field]) -> None:
        """RFC 9110 §15.2. 100 answers an expectation that never left us; 101 must have been asked for (W12)."""
        if status < 100:
            self._stop(f"status {status}")
        self._informational += 1
        if status == 101:
            if not self._upgrade:
                self._stop("101 without an upgrade")
            response = Response(101, reason, self._sort(fields)[0])
            response.tunnel = self
            self.deadline_at = NEVER
            self._answer = response
        elif self._informational > _MAX_INFORMATIONAL:
            self._stop("too many 1xx responses")
        elif status != 100 and self._on_informational is not None:
            lines = b"".join([b"%b: %b\r\n" % (name, value) for _, name, value in self._sort(fields)[0]])
            self._on_informational(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, lines))

    def _is_head_too_large(self) -> bool:
        return self._head_bytes > self._max_head_bytes and self._tunnel is None and not self._early

    def _give_source(self, response: Response) -> None:
        """The head's read is over and there is more to come: from here on content is pushed through a ResponseBody.

        Content of a known length is counted by us from here: no parser between the socket and the client.
        """
        self._response = None
        pieces, self._pieces = self._pieces, []
        length = response.content_length
        self._body = response.content = ResponseBody(self, length, pieces)
        if length is not None:
            self._remaining = length - self._body.received_bytes
            self._parser = httptools.HttpResponseParser(self)
        if self._stall_s != NEVER:
            self._moved_bytes = -1
            self.deadline_at = monotonic() + self._stall_s

    def _pass_content(self, data: bytes) -> None:
        size = len(data)
        remaining = self._remaining
        body = self._body
        if size < remaining:
            self._remaining = remaining - size
            if body is not None:
                body.feed(data)
            return
        self._remaining = 0
        if body is not None:
            body.feed(data if size == remaining else data[:remaining])
        if size > remaining:
            self._keep_alive = False
        self._complete()

    def _finish(self, data: bytes) -> None:
        """The response ended in this read. Only now, with the parser at rest, may the connection serve anybody else:
        it can happen within `_complete`."""
        self._is_over = False
        response = self._response
        length = 0 if response is None else response.content_length
        if length is None or data.find(_HEAD_END) + 4 + length != len(data):
            self._keep_alive = self._keep_alive and self._ends_with(data, length)
        answer, self._answer = self._answer, None
        head, self._head = self._head, None
        self._complete()
        if answer is not None and head is not None:
            head.set_result(answer)

    def _ends_with(self, data: bytes, length: int | None) -> bool:
        """Whether a read that is not one plain response has nothing behind its end. llhttp keeps the beginning of a
        second response to itself, and it would become the beginning of the next one (W1)."""
        if length is None or self._body is not None:
            return data[-4:] == _HEAD_END  # chunked content ends as heads do; a whole head would have been an error
        if self._head_bytes != len(data):
            return False  # a head in several reads: not worth the bookkeeping
        at = 0
        for _ in range(self._informational + 1):
            at = data.find(_HEAD_END, at) + 4
        return at + length == len(data)

    def _complete(self) -> None:
        """The response is over. Its content is handed over before the connection may serve anybody else."""
        body, self._body = self._body, None
        response, self._response = self._response, None
        if response is not None:
            pieces, self._pieces = self._pieces, []
            response.content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        request_is_whole = self._request is None or self._request.is_done
        self._give_back(
            self._keep_alive and request_is_whole and not self._until_eof and not self.transport.is_closing()
        )
        if body is not None:
            body.complete()

    def _give_back(self, clean: bool) -> None:
        release, self._release = self._release, None
        if release is None:
            return
        request, self._request = self._request, None
        if request is not None and not request.is_done:
            request.body.cancel()
        self._on_informational = None
        self.deadline_at = NEVER
        if clean:
            if not self._is_reading:
                self.resume_reading()
            self.is_clean = True
        elif not self.transport.is_closing():
            self.transport.abort()
        release(clean)

    def _distrust(self) -> None:
        """Bytes that no request asked for: the connection is of no use any more."""
        self.is_clean = False
        self.transport.abort()

    def _stop(self, detail: str) -> None:
        self._error = ProxyError(ErrorKind.RESPONSE_MALFORMED, detail)
        raise self._error

    def _deliver(self, answer: Response) -> None:
        """Hand the head to the stage, which runs at once. Nothing of this exchange is touched after it."""
        self._answer = None
        head, self._head = self._head, None
        if head is not None:
            head.set_result(answer)

    def _fail(self, error: ProxyError) -> None:
        """The exchange under way is over without a whole response; the connection is closed."""
        self._error = error
        head, self._head = self._head, None
        if self._answer is None and head is not None:
            self._give_back(False)
            head.set_exception(error)
            return
        self._abort_content(ProxyError(ErrorKind.RESPONSE_TRUNCATED, error.detail))
        self._give_back(False)
        if self._answer is not None and head is not None:  # the head is whole, its content broke in the same read
            self._head = head
            self._deliver(self._answer)

    def _abort_content(self, error: ProxyError) -> None:
        self._remaining = 0
        response, self._response = self._response, None
        if response is not None:
            # the stage must not take what there is for the whole
            body = ResponseBody(self, response.content_length, self._pieces)
            response.content = body
            body.fail(error)
        self._pieces = []
        content, self._body = self._body, None
        if content is not None:
            content.fail(error)


def _size(fields: list[Field]) -> int:
    """Of a head, when it is not the only thing that came in its reads."""
    return sum([len(name) + len(value) + 4 for _, name, value in fields])
