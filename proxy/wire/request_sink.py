"""The content of a request as it is written to an endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.http.message import Source
    from proxy.wire.upstream import UpstreamConnection

_LAST_CHUNK: Final = b"0\r\n\r\n"


class RequestSink:
    """Frames the request's content and writes it (RFC 9112 §6, §7)."""

    __slots__ = ("_connection", "body", "is_done")

    def __init__(self, connection: UpstreamConnection, body: Source) -> None:
        self._connection = connection
        self.body = body
        self.is_done = False

    def feed(self, data: bytes) -> None:
        connection = self._connection
        connection.bytes_sent += len(data)
        if self.body.length is None:
            connection.transport.writelines([b"%x\r\n" % len(data), data, b"\r\n"])
        else:
            connection.transport.write(data)

    def finish(self) -> None:
        self.is_done = True
        if self.body.length is None:
            self._connection.transport.write(_LAST_CHUNK)

    def abort(self, error: BaseException) -> None:
        self._connection.request_failed(error)
