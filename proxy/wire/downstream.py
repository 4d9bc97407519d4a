"""A client's connection: requests in, responses out, one exchange at a time (RFC 9112).

Requests that are pipelined wait in order. The parser's callbacks only collect; an exchange starts after the parser
has returned. Whatever goes wrong before there is an exchange is answered here, and the connection closed.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

import httptools

from proxy.core.clock import monotonic
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.tasks import Run, start_now
from proxy.http.heads import check_method, index_head, read_request
from proxy.http.message import Field, Request, Source
from proxy.wire import half_close
from proxy.wire.kernel import unsent_bytes
from proxy.wire.limits import CHECK_S, DRAIN_BYTES, DRAIN_S, HIGH_WATER_BYTES, MAX_PIPELINED
from proxy.wire.pace import ContentPace, WritePace
from proxy.wire.request_body import RequestBody
from proxy.wire.request_line import HEAD_END, find_line
from proxy.wire.timers import NEVER

if TYPE_CHECKING:
    from proxy.wire.host import Host
    from proxy.wire.limits import WireLimits
    from proxy.wire.tunnel import TunnelEnd

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_RESET: Final = struct.pack("ii", 1, 0)
_HTTP_1: Final = b" HTTP/1."
_NEVER_TRAILERS: Final = frozenset(
    {b"connection", b"proxy-connection", b"content-length", b"transfer-encoding", b"upgrade"}
)


class DownstreamConnection(asyncio.Protocol):
    """One accepted socket."""

    __slots__ = (
        "_body",
        "_content_pace",
        "_current",
        "_early",
        "_eof",
        "_error",
        "_fields",
        "_head_bytes",
        "_host",
        "_is_closing",
        "_is_reading",
        "_is_upgrading",
        "_known",
        "_left",
        "_parser",
        "_queue",
        "_read",
        "_read_at",
        "_run",
        "_target",
        "_trailer_bytes",
        "_writable",
        "_write_pace",
        "_writes",
        "closes",
        "deadline_at",
        "is_secure",
        "loop",
        "peer",
        "peer_is_trusted",
        "stream",
        "transport",
        "tunnel",
    )

    def __init__(self, host: Host) -> None:
        self._host = host
        self._parser: Any = httptools.HttpRequestParser(self)  # None once it is over
        self._fields: list[Field] = []
        self._target = b""
        self._head_bytes = 0  # of the head being received; also of trailers
        self._read = b""  # all reads since the one in which the head being received began
        self._read_at = 0  # behind the request line last found in it; -1: content comes before the next one
        self._left: int | None = None  # content bytes that this read began with, where their number is known
        self._trailer_bytes = 0
        self._queue: deque[Request] = deque()
        self._current: Request | None = None
        self._body: RequestBody | None = None  # being received; its request may still be queued
        self._run: Run | None = None
        # (read, its limits, request): the last read that was one whole request without content. Clients that ask for
        # the same thing again and again send the same bytes, and those need no parsing twice
        self._known: tuple[bytes, WireLimits, Request] | None = None
        self._error: ProxyError | None = None  # to be answered after the exchanges before it
        self._is_closing = False
        self._is_reading = True
        self._eof = False
        self._is_upgrading = False  # an upgrade was asked for: what follows is not HTTP
        self._early = b""  # of a tunnel that is not open yet
        self._writable = True
        self._writes = 0  # of the current response
        self._content_pace = ContentPace()
        self._write_pace = WritePace()
        self.deadline_at = NEVER
        self.closes = False  # the response under way is the last one
        self.is_secure = False
        self.peer: Any = None
        self.peer_is_trusted = False
        self.stream: Source | None = None  # the response body being sent
        self.tunnel: TunnelEnd | None = None
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport

    # -- asyncio.Protocol --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        host = self._host
        self.is_secure = transport.get_extra_info("ssl_object") is not None
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        host.accepted += 1
        host.connections.add(self)
        host.timers.add(self)
        host.welcome(self)
        # the first head is due like any other: a client that only connects holds a file descriptor too
        self.deadline_at = monotonic() + host.limits.head_timeout_s

    def data_received(self, data: bytes) -> None:
        known = self._known
        if known is not None:
            if known[0] == data and self._current is None and known[1] is self._host.limits and not self._is_closing:
                self._start(known[2])
                return
            self._known = None
        if self.tunnel is not None:
            self.tunnel.feed(data)
            return
        if self._is_closing or self._error is not None:
            return
        if self._is_upgrading:
            self._early += data
            return
        is_alone = False  # this read begins with a request, and nothing waits before it
        if self._body is None:
            if self._head_bytes:
                self._read += data
            else:
                is_alone = not self._queue
                self.deadline_at = monotonic() + self._host.limits.head_timeout_s
                self._read = data
            self._read_at = 0
            self._head_bytes += len(data)
        else:
            body = self._body
            self._read = data
            self._read_at = -1
            self._left = None if body.length is None else body.length - body.received_bytes
        self._parse(data)
        if not self._head_bytes:
            if self._target:  # a head began behind another message
                self._head_bytes = len(data)
            else:
                self._read = b""
        if self._body is None and self._head_bytes > self._host.limits.max_head_bytes:
            self._refuse_head()
        if self._current is None:
            if is_alone and self._is_plain(data):
                self._known = data, self._host.limits, self._queue[0]
            self._next()

    def eof_received(self) -> bool:
        if self.tunnel is not None:
            self.tunnel.ended()
            return False
        self._eof = True
        if self._body is not None:
            self._body.fail(ProxyError(ErrorKind.CLIENT_DISCONNECTED, "left in mid-content"))
        current = self._current
        if current is None:
            return bool(self._queue) and not self.is_secure  # the next one is about to start
        if self.is_secure or (self._body is not None and current.body is self._body):
            return False
        if self.stream is not None:
            half_close.watch_stream(self.loop, lambda: self._writes, self.transport.abort)
        elif current.minor_version == 1 and not self._writes:
            half_close.watch(self.transport, self.transport.abort)
        return True  # W24: the answer is still due

    def connection_lost(self, exc: Exception | None) -> None:
        host = self._host
        host.connections.discard(self)
        host.timers.remove(self)
        self._is_closing = True
        self.deadline_at = NEVER
        if self.tunnel is not None:
            self.tunnel.ended()
        if self._body is not None:
            self._body.fail(ProxyError(ErrorKind.CLIENT_DISCONNECTED, "left in mid-content"))
        self._queue.clear()
        if self._run is not None:
            self._run.cancel()
        self._parser = self._body = self._error = None  # they refer to us: only the collector would find the lot

    def pause_writing(self) -> None:
        if self.tunnel is not None:
            self.tunnel.pause_writing()
            return
        self._writable = False
        now = monotonic()
        self._write_pace.restart(now, self._outstanding())
        self.deadline_at = now + CHECK_S
        if self.stream is not None:
            self.stream.pause()

    def resume_writing(self) -> None:
        if self.tunnel is not None:
            self.tunnel.resume_writing()
            return
        self._writable = True
        self.deadline_at = NEVER if self._body is None else monotonic() + CHECK_S
        if self.stream is not None:
            self.stream.resume()

    # -- llhttp --

    def on_url(self, url: bytes) -> None:
        self._target = self._target + url if self._target else url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._body is not None:  # a trailer field: dropped (W7), but counted
            if name.lower() in _NEVER_TRAILERS:  # llhttp obeys some of them
                self._stop(ErrorKind.REQUEST_MALFORMED, "a trailer that would change the message")
            self._trailer_bytes += len(name) + len(value) + 4
            if self._trailer_bytes > self._host.limits.max_head_bytes:
                self._stop(ErrorKind.FIELDS_TOO_LARGE, "trailers too large")
            return
        if value and value[-1] in b" \t":
            value = value.rstrip(b" \t")
        self._fields.append((name.lower(), name, value))

    def on_headers_complete(self) -> None:
        limits = self._host.limits
        fields, self._fields = self._fields, []
        target, self._target = self._target, b""
        if len(target) > limits.max_target_bytes:
            self._stop(ErrorKind.TARGET_TOO_LONG, f"{len(target)} bytes")
        if len(fields) > limits.max_fields:
            self._stop(ErrorKind.FIELDS_TOO_LARGE, f"{len(fields)} fields")
        method = self._parser.get_method()
        # llhttp forgives line ends before the line, more spaces in it, and other protocols: so it is looked for
        read = self._read
        at = len(method) + 1
        end = at + len(target)
        if self._read_at or not (read.startswith(target, at) and read.startswith(_HTTP_1, end)):
            end += self._find_line(method, target)
        self._read_at = end
        if len(read) > limits.max_head_bytes and read.find(HEAD_END, end) - end + at > limits.max_head_bytes:
            self._stop(ErrorKind.FIELDS_TOO_LARGE, "head too large")
        try:
            if method != b"GET":
                check_method(method)
            fields, index = index_head(fields, limits.underscore_fields)
            minor_version = read[end + 8] - 48  # the parser would make a string of it
            scheme = "https" if self.is_secure else "http"
            request = read_request(method, target, minor_version, fields, index, scheme)
        except ProxyError as error:
            self._error = error
            raise
        if request.content_length or b"transfer-encoding" in request.index:
            body = RequestBody(self, request.content_length)
            self._body = request.body = body
            self._trailer_bytes = 0
        self._queue.append(request)

    def on_body(self, data: bytes) -> None:
        if self._body is not None:
            self._body.feed(data)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        body = self._body
        if body is not None:
            self._body = None
            body.complete()
        elif len(self._queue) > MAX_PIPELINED:
            self.pause_reading()

    # -- for the exchange --

    @property
    def is_gone(self) -> bool:
        return self._is_closing or self.transport.is_closing()

    def has_left(self) -> bool:
        """Gone, or a moment away from being found so: to be asked before work is begun for a client that waited."""
        return self.is_gone or (self._eof and half_close.has_reset(self.transport))

    def want_content(self) -> None:
        """Somebody will read the request's content: answer an Expect that is still open (W11)."""
        current = self._current
        if current is not None and current.expects_continue:
            current.expects_continue = False
            self._expect_content()
            if not current.body.received_bytes:
                self.transport.write(_CONTINUE)

    def pause_reading(self) -> None:
        if self._is_reading and not self.transport.is_closing():
            self._is_reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._is_reading and not self.transport.is_closing():
            self._is_reading = True
            self.transport.resume_reading()

    def must_close(self) -> bool:
        """Whether the response to the current request has to be the last on this connection.

        True as well when content is still to come that is too much to read away (W13).
        """
        request = self._current
        if request is None or not request.keep_alive or self._host.is_draining:
            return True
        if self._eof and not self._queue:  # W24: what came whole before the end is answered
            return True
        body = request.body
        if body is None or body.is_complete:
            return False
        if request.expects_continue or body.error is not None:
            return True
        length = body.length
        return length is None or length - body.received_bytes > DRAIN_BYTES

    def write(self, data: bytes) -> None:
        """Send bytes of the current response. Never waits; back-pressure goes to `stream`."""
        self._writes += 1
        self.transport.write(data)

    def writelines(self, data: list[bytes]) -> None:
        self._writes += 1
        self.transport.writelines(data)

    async def send(self, source: Source, sink: Any) -> None:
        """Stream `source` into `sink` (which writes here), pausing it while the client takes nothing."""
        self.stream = source
        try:
            source.start(sink)
            if not self._writable:
                source.pause()
            await sink.done
        finally:
            self.stream = None

    def informational(self, head: bytes) -> None:
        """Pass a 1xx response on, if the client may be sent one (RFC 9110 §15.2)."""
        if self._current is not None and self._current.minor_version == 1 and not self._is_closing:
            self.transport.write(head)

    def enter_tunnel(self, end: TunnelEnd) -> bytes:
        """Hand all further bytes to `end`; the connection ends with the tunnel."""
        self.tunnel = end
        self.deadline_at = NEVER
        early, self._early = self._early, b""
        self.resume_reading()
        return early

    def end(self, now: float) -> None:
        """The current exchange is over: its response is written. Go on with the next request, or close."""
        close = self.closes
        request = self._current
        self._current = None
        self._run = None
        self._writes = 0
        if self._is_closing or self.transport.is_closing():
            return
        body = request.body if request is not None else None
        if body is not None and not body.is_complete and not self._eof:
            body.cancel()
            self.deadline_at = now + DRAIN_S
            if close:
                self._linger()
            return  # the end of the content or the deadline goes on
        if close or (self._eof and not self._queue) or self._is_upgrading:
            self._is_closing = True
            self.transport.close()
        elif self._queue or self._error is not None:
            self.resume_reading()
            self.loop.call_soon(self._next)  # never deeper with every pipelined request
        else:
            self._rest(now)

    def abort(self) -> None:
        """Cut the connection, so that nobody takes what was sent for a whole response."""
        self._is_closing = True
        if self._current is not None and self._current.minor_version == 0:
            # to HTTP/1.0 a plain end may be the end of the content (RFC 9112 §6.3): only a reset says that it is not
            self._reset()
        self.transport.abort()

    # -- for the host --

    def expired(self, now: float) -> None:
        """A deadline has passed (timers.py)."""
        if not self._writable:
            self._check_writing(now)
        elif self._body is not None and self._current is not None:
            self._check_content(self._body, now)
        elif self._current is not None:
            self.deadline_at = NEVER
        elif self._head_bytes or self._body is not None:
            self._refuse(ProxyError(ErrorKind.REQUEST_TIMEOUT, "head or content did not arrive in time"))
            self._next()
        else:
            self.close_idle()

    def close_idle(self) -> None:
        """Close if no exchange is under way."""
        if self._current is None and not self._head_bytes and self._body is None and not self._is_closing:
            self._is_closing = True
            if self.transport.get_write_buffer_size():
                self.transport.abort()  # the last answer was never taken
            else:
                self.transport.close()

    def close(self) -> None:
        """aiohttp's runner asks a connection to stop keeping alive; the host's `is_draining` does that."""

    async def shutdown(self, timeout: float | None = None) -> None:
        """The grace period is over: cut (W23)."""
        if self._run is not None:
            self._run.cancel()
        self.transport.abort()

    # -- private --

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._head_bytes = 0
            rest = data[upgrade.args[0] :]
            if self._queue and self._queue[-1].upgrade:
                self._is_upgrading = True
                self._queue[-1].keep_alive = False
                self._early += rest  # W14: what follows belongs to the tunnel, if one opens
                self.pause_reading()
            elif rest:  # an Upgrade that we ignore: HTTP/1.1 goes on
                self._head_bytes = len(rest)
                self._parse(rest)
        except httptools.HttpParserError as error:
            self._refuse(self._error or _explain(error))

    def _is_plain(self, data: bytes) -> bool:
        """This read, which began with a request, is just that: whole, without content, and another may follow.

        Nothing of it is left here or in the parser, and nobody changes a request without content after it was read:
        so the same bytes will mean the same again.
        """
        if len(self._queue) != 1 or self._head_bytes or self._body is not None or self._error is not None:
            return False
        request = self._queue[0]
        return (
            request.body is None and request.keep_alive and b"upgrade" not in request.index and data.endswith(HEAD_END)
        )

    def _find_line(self, method: bytes, target: bytes) -> int:
        """Where in the read the request line begins, when that is not plain (request_line.py)."""
        version = self._parser.get_http_version()
        if version != "1.1" and version != "1.0":
            wrong = ErrorKind.REQUEST_MALFORMED if version == "0.9" else ErrorKind.VERSION_UNSUPPORTED
            self._stop(wrong, f"HTTP/{version}")
        try:
            before = self._queue[-1] if self._queue else self._current
            return find_line(self._read, self._read_at, method, target, before, self._left)
        except ProxyError as error:
            self._error = error
            raise

    def _stop(self, kind: ErrorKind, detail: str) -> None:
        self._error = ProxyError(kind, detail)
        raise self._error

    def _refuse_head(self) -> None:
        if self._error is None:
            self._refuse(ProxyError(ErrorKind.FIELDS_TOO_LARGE, "head too large"))

    def _refuse(self, error: ProxyError) -> None:
        self._error = error
        self._fields = []
        body, self._body = self._body, None
        if body is not None:
            body.fail(error)

    def _next(self) -> None:
        """Start the next queued exchange, if none is under way."""
        if self._current is not None or self._is_closing:
            return
        if not self._queue:
            if self._error is not None:
                self.write(self._host.refuse(self, self._error))
                self._linger()
            else:
                self._rest(monotonic())
            return
        self._start(self._queue.popleft())

    def _start(self, request: Request) -> None:
        self._current = request
        if self._body is None:
            self.deadline_at = NEVER
        else:
            self._expect_content()
        run = start_now(self._host.serve(self, request))
        if run is not None and self._current is request:
            self._run = run

    def _reset(self) -> None:
        """Make the coming close a reset, which also drops what the kernel still holds."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and not self.is_secure and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def _linger(self) -> None:
        """Close so that the answer survives: bytes still coming in would reset it (RFC 9112 §9.6)."""
        if self._is_closing:
            return
        self._is_closing = True
        if self.transport.can_write_eof() and not self.is_secure:
            self.transport.write_eof()
            self.resume_reading()
            self.loop.call_later(DRAIN_S, self.transport.abort)
        else:
            self.transport.close()

    def _rest(self, now: float) -> None:
        """Nothing is under way: the connection is idle, unless a head has begun to arrive."""
        if self._body is not None:
            return
        limits = self._host.limits
        if self._head_bytes:  # it began to arrive during the exchange before; its time may be running already
            self.deadline_at = min(self.deadline_at, now + limits.head_timeout_s)
        else:
            self.deadline_at = now + limits.idle_timeout_s
        if not self._is_reading:
            self.resume_reading()

    def _expect_content(self) -> None:
        now = monotonic()
        self._content_pace.restart(now, self._body.received_bytes if self._body is not None else 0)
        self.deadline_at = now + CHECK_S

    def _check_content(self, body: RequestBody, now: float) -> None:
        limits = self._host.limits
        if not self._is_reading or (self._current is not None and self._current.expects_continue):
            self._expect_content()  # it is we who do not read, or have not asked yet
        elif self._content_pace.is_too_slow(now, body.received_bytes, limits):
            body.fail(ProxyError(ErrorKind.REQUEST_TIMEOUT, "content came too slowly"))
            self.deadline_at = now + DRAIN_S
        else:
            self.deadline_at = now + min(CHECK_S, limits.body_timeout_s)

    def _check_writing(self, now: float) -> None:
        if self._write_pace.is_too_slow(now, self._outstanding(), self._host.limits):
            self._reset()  # else the kernel would go on holding and offering what it has
            self.abort()
        else:
            self.deadline_at = now + CHECK_S

    def _outstanding(self) -> int:
        """Bytes that the client has not taken: ours, and the kernel's where it tells.

        A kernel takes megabytes at once and then nothing for long, so our own buffer alone says little.
        """
        buffered = self.transport.get_write_buffer_size()
        sock = self.transport.get_extra_info("socket")
        return buffered + (unsent_bytes(sock) if sock is not None else 0)


def _explain(error: httptools.HttpParserError) -> ProxyError:
    """What llhttp objected to, as the status that the client gets."""
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return ProxyError(ErrorKind.METHOD_UNKNOWN, "unknown method")
    text = str(error)
    if text == "Invalid HTTP version":
        return ProxyError(ErrorKind.VERSION_UNSUPPORTED, text)
    if text == "Pause on PRI/Upgrade":
        return ProxyError(ErrorKind.VERSION_UNSUPPORTED, "HTTP/2 (a terminator in front of Weir speaks it)")
    return ProxyError(ErrorKind.REQUEST_MALFORMED, text)
