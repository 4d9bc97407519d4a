"""The content of a response that was not whole when its head was read: a Source (http/message.py).

It owns the pieces that wait here, so that the connection can serve another exchange the moment the last byte is in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.wire.limits import HIGH_WATER_BYTES

if TYPE_CHECKING:
    from proxy.http.message import Sink
    from proxy.wire.upstream import UpstreamConnection


class ResponseBody:
    """Filled by its connection, drained into one sink."""

    __slots__ = ("_chunks", "_connection", "_error", "_held_bytes", "_is_complete", "_sink", "length", "received_bytes")

    def __init__(self, connection: UpstreamConnection, length: int | None, chunks: list[bytes]) -> None:
        self._connection: UpstreamConnection | None = connection
        self._chunks = chunks
        self._held_bytes = self.received_bytes = sum(map(len, chunks))
        self._sink: Sink | None = None
        self._is_complete = False
        self._error: BaseException | None = None
        self.length = length

    # -- the connection pushes --

    def feed(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if self._sink is not None:
            self._sink.feed(data)
            return
        self._chunks.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= HIGH_WATER_BYTES:
            self.pause()

    def complete(self) -> None:
        self._is_complete = True
        self._connection = None
        if self._sink is not None:
            self._sink.finish()

    def fail(self, error: BaseException) -> None:
        self._connection = None
        self._error = error
        if self._sink is not None:
            self._sink.abort(error)

    # -- the line pulls --

    def start(self, sink: Sink) -> None:
        self._sink = sink
        held, self._chunks = self._chunks, []
        for chunk in held:
            sink.feed(chunk)
        if self._error is not None:
            sink.abort(self._error)
        elif self._is_complete:
            sink.finish()
        else:
            self.resume()

    def pause(self) -> None:
        if self._connection is not None:
            self._connection.pause_reading()

    def resume(self) -> None:
        if self._connection is not None:
            self._connection.resume_reading()

    def cancel(self) -> None:
        """Nobody wants the rest: the connection is closed, for what it still sends belongs to nobody."""
        connection, self._connection = self._connection, None
        self._sink = None
        self._chunks = []
        if connection is not None:
            connection.close()
