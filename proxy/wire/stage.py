"""respond: a Response becomes bytes on the client's connection (RFC 9112 §6).

Framing is always our own. Field lines of other stages arrive rendered: a stored response brings its block, a decision
its rate-limit lines; they are joined and written once.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from proxy.core.clock import DATE, wall
from proxy.core.errors import ErrorKind, ProxyError, Side
from proxy.core.tasks import Signal
from proxy.http.decimal import decimal
from proxy.http.message import Response, Source
from proxy.http.problems import problem_response
from proxy.wire.tunnel import Tunnel

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.wire.downstream import DownstreamConnection

_NO_CONTENT: Final = frozenset({204, 304, 101})
_LINE_END: Final = b"\r\n"
_CACHE_STATUS: Final = b"Cache-Status: weir; "
_REQUEST_ID: Final = b"X-Request-ID: "
_NEXT_REQUEST_ID: Final = _LINE_END + _REQUEST_ID
_VIA: Final = b"\r\nVia: 1.1 weir\r\n"  # behind the request's identifier
_OF_THE_CLIENT: Final = Side.DOWNSTREAM  # looked up once: an Enum takes its time
# what a response of ours because of an upstream says of it (RFC 9209 §2.3)
_PROXY_STATUS: Final[dict[ErrorKind, bytes]] = {
    ErrorKind.QUEUE_FULL: b"connection_limit_reached",
    ErrorKind.QUEUE_TIMEOUT: b"connection_limit_reached",
    ErrorKind.NO_CHANCE: b"connection_limit_reached",
    ErrorKind.SHED: b"connection_limit_reached",
    ErrorKind.NO_ENDPOINT: b"destination_unavailable",
    ErrorKind.OUT_OF_SOCKETS: b"proxy_internal_error",
    ErrorKind.REPLICA_LAG: b"destination_unavailable",
    ErrorKind.CONNECT_REFUSED: b"connection_refused",
    ErrorKind.CONNECT_TIMEOUT: b"connection_timeout",
    ErrorKind.TLS_FAILED: b"tls_certificate_error",
    ErrorKind.REUSED_CONNECTION_CLOSED: b"connection_terminated",
    ErrorKind.CONNECTION_RESET: b"connection_terminated",
    ErrorKind.RESPONSE_TIMEOUT: b"http_response_timeout",
    ErrorKind.RESPONSE_MALFORMED: b"http_protocol_error",
    ErrorKind.RESPONSE_TRUNCATED: b"http_response_incomplete",
}


def explain(error: ProxyError, identifier: bytes) -> Response:
    """The response for an exchange that cannot go on. It names the reason and nothing of the inside."""
    fields = []
    if error.retry_after_s is not None:
        fields.append((b"retry-after", b"Retry-After", b"%d" % max(1, -int(-error.retry_after_s // 1))))
    if (word := _PROXY_STATUS.get(error.kind)) is not None:
        fields.append((b"proxy-status", b"Proxy-Status", b"weir; error=" + word))
    return problem_response(error.kind, identifier, fields)


def respond(exchange: Exchange, response: Response) -> Coroutine[Any, Any, None] | None:
    """Send `response`. Done when it returns None; else the coroutine it returns carries the content.

    That coroutine raises ProxyError when the content breaks: by then the connection has been cut.
    """
    downstream: DownstreamConnection = exchange.downstream
    request = exchange.request
    status = exchange.status = response.status
    error = response.error
    close = downstream.must_close()
    if error is not None and error.side is _OF_THE_CLIENT:
        close = True
    now_wall = wall()
    decision = exchange.decision
    cache_status = exchange.cache_status
    block = response.block
    if block is None:
        block = _block(response)
    date = b"" if response.has_date else DATE.line_at(now_wall)
    quota: bytes = b"" if decision is None else decision.lines(now_wall)
    if cache_status:
        parts = [block, date, quota, _CACHE_STATUS, cache_status, _NEXT_REQUEST_ID, exchange.id, _VIA]
    else:
        parts = [block, date, quota, _REQUEST_ID, exchange.id, _VIA]
    content: Any = response.content
    if type(content) is bytes and request.method != b"HEAD" and status not in _NO_CONTENT:
        exchange.bytes_sent = size = len(content)
        parts += [b"Content-Length: ", decimal(size), _LINE_END, _connection(request.minor_version, close), content]
        downstream.closes = close
        downstream.write(b"".join(parts))
        return None
    if status in _NO_CONTENT or content is None or request.method == b"HEAD":
        return _without_content(exchange, response, parts, close)
    is_chunked = False
    if content.length is not None:
        parts.append(b"Content-Length: %d\r\n" % content.length)
    elif request.minor_version == 1:
        is_chunked = True
        parts.append(b"Transfer-Encoding: chunked\r\n")
    else:
        close = True  # RFC 9112 §6.3: HTTP/1.0 content of unknown length ends with the connection
    parts.append(_connection(request.minor_version, close))
    downstream.closes = close
    downstream.write(b"".join(parts))
    return _stream(exchange, content, is_chunked)


def _block(response: Response) -> bytes:
    """Status line and field lines of a response that nobody rendered before."""
    parts = [b"HTTP/1.1 %d %b\r\n" % (response.status, response.reason)]
    for lower, name, value in response.fields:
        if lower == b"x-request-id":
            continue  # ours goes out
        if lower == b"date":
            response.has_date = True
        parts.append(b"%b: %b\r\n" % (name, value))
    return b"".join(parts)


def _connection(minor_version: int, close: bool) -> bytes:
    """The Connection field if there is one, and the end of the head."""
    if close:
        return b"Connection: close\r\n\r\n"
    return b"\r\n" if minor_version == 1 else b"Connection: keep-alive\r\n\r\n"


def _without_content(
    exchange: Exchange, response: Response, parts: list[bytes], close: bool
) -> Coroutine[Any, Any, None] | None:
    """HEAD, 204, 304 (RFC 9110 §8.6, §9.3.2), and 101, after which the bytes are not HTTP."""
    downstream: DownstreamConnection = exchange.downstream
    content: Any = response.content
    if response.status == 101:
        parts.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        downstream.closes = True
        downstream.write(b"".join(parts))
        return _tunnel(exchange, response)
    length = response.content_length
    if type(content) is bytes:
        length = len(content)
    elif content is not None:
        length = content.length
        content.cancel()
    if response.status == 204 or (response.status == 304 and response.content is not None):
        length = None
    elif length is None and exchange.request.method != b"HEAD" and response.status != 304:
        length = 0
    if length is not None:
        parts.append(b"Content-Length: %d\r\n" % length)
    parts.append(_connection(exchange.request.minor_version, close))
    downstream.closes = close
    downstream.write(b"".join(parts))
    return None


async def _stream(exchange: Exchange, content: Source, is_chunked: bool) -> None:
    sink = _ContentSink(exchange, is_chunked)
    try:
        await exchange.downstream.send(content, sink)
    except BaseException:
        exchange.downstream.abort()  # never a clean end for a broken message (W18)
        content.cancel()
        raise
    finally:
        exchange.bytes_sent = sink.sent_bytes


async def _tunnel(exchange: Exchange, response: Response) -> None:
    tunnel = Tunnel(exchange.downstream, response.tunnel)
    try:
        await tunnel.closed()
    finally:
        exchange.bytes_sent = tunnel.up.received_bytes
        exchange.bytes_received = tunnel.down.received_bytes
        response.tunnel.close()


class _ContentSink:
    """Frames content on its way to the client."""

    __slots__ = ("_downstream", "_is_chunked", "done", "sent_bytes")

    def __init__(self, exchange: Exchange, is_chunked: bool) -> None:
        self._downstream = exchange.downstream
        self._is_chunked = is_chunked
        self.sent_bytes = 0
        self.done: Signal[None] = Signal()

    def feed(self, data: bytes) -> None:
        self.sent_bytes += len(data)
        if self._is_chunked:
            self._downstream.writelines([b"%x\r\n" % len(data), data, b"\r\n"])
        else:
            self._downstream.write(data)

    def finish(self) -> None:
        if self._is_chunked:
            self._downstream.write(b"0\r\n\r\n")
        if not self.done.done():
            self.done.set_result(None)

    def abort(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)
