"""The content of one request on its way from the client to the endpoint.

It is never held whole: at most HIGH_WATER_BYTES wait here, then the client's connection is not read. What is held
before an endpoint was chosen can be sent a second time, which is what makes a retry possible (W17, W19).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.tasks import Signal
from proxy.wire.limits import HIGH_WATER_BYTES

if TYPE_CHECKING:
    from proxy.http.message import Sink
    from proxy.wire.downstream import DownstreamConnection


class RequestBody:
    """A Source (http/message.py). Bytes are pushed in by the connection's parser."""

    __slots__ = (
        "_connection",
        "_discard",
        "_paused",
        "_sink",
        "_waiting_for",
        "_wake",
        "chunks",
        "error",
        "held_bytes",
        "is_complete",
        "length",
        "limit_bytes",
        "received_bytes",
        "was_streamed",
    )

    def __init__(self, connection: DownstreamConnection, length: int | None) -> None:
        self._connection = connection
        self.length = length
        self.limit_bytes: int | None = None  # the route's max_body, once it is known
        self.received_bytes = 0
        self.chunks: list[bytes] = []
        self.held_bytes = 0
        self.is_complete = False
        self.was_streamed = False  # bytes have gone to a sink, so it cannot be replayed
        self.error: ProxyError | None = None
        self._sink: Sink | None = None
        self._discard = False
        self._paused = False
        self._wake: Signal[None] | None = None
        self._waiting_for = 0

    # -- the connection pushes --

    def feed(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if self._discard:
            return
        if self.limit_bytes is not None and self.received_bytes > self.limit_bytes:
            self.fail(ProxyError(ErrorKind.CONTENT_TOO_LARGE, f"more than {self.limit_bytes} bytes"))
        elif self._sink is not None:
            self._sink.feed(data)
        else:
            self.chunks.append(data)
            self.held_bytes += len(data)
            if self.held_bytes >= self._waiting_for:
                self._notify()
            if self.held_bytes >= HIGH_WATER_BYTES:
                self._connection.pause_reading()

    def complete(self) -> None:
        self.is_complete = True
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.finish()
        self._notify()

    def fail(self, error: ProxyError) -> None:
        """The content will never be complete: too large, too slow, cut, or the client left."""
        if self.is_complete or self.error is not None:
            return
        self.error = error
        self._discard = True
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.abort(error)
        self._notify()

    # -- the line pulls --

    def limit(self, limit_bytes: int | None) -> None:
        """Set the route's limit. Raises ProxyError at once when the declared or received length is above it."""
        self.limit_bytes = limit_bytes
        if limit_bytes is not None and max(self.length or 0, self.received_bytes) > limit_bytes:
            raise ProxyError(ErrorKind.CONTENT_TOO_LARGE, f"more than {limit_bytes} bytes")

    async def prefill(self, wanted_bytes: int) -> None:
        """Wait until the content is complete or `wanted_bytes` of it are here, whichever comes first.

        Asks for the content where the client waits for 100 Continue. Raises ProxyError when it cannot come.
        """
        self._connection.want_content()
        while not self.is_complete and self.held_bytes < wanted_bytes:
            if self.error is not None:
                raise self.error
            self._waiting_for = wanted_bytes
            self._wake = Signal()
            await self._wake
        if self.error is not None:
            raise self.error

    def start(self, sink: Sink) -> None:
        if self.error is not None:
            sink.abort(self.error)
            return
        self.was_streamed = True
        self._sink = sink
        held, self.chunks, self.held_bytes = self.chunks, [], 0
        for chunk in held:
            sink.feed(chunk)
        if self.is_complete:
            sink.finish()
        else:
            self._connection.want_content()
            if not self._paused:
                self._connection.resume_reading()

    def pause(self) -> None:
        self._paused = True
        if not self.is_complete:
            self._connection.pause_reading()

    def resume(self) -> None:
        self._paused = False
        if not self.is_complete:
            self._connection.resume_reading()

    def cancel(self) -> None:
        """Nobody wants the rest. The connection reads a little of it away or closes (W13)."""
        self._sink = None
        self._discard = True
        self.chunks = []
        self.held_bytes = 0
        if not self.is_complete:
            self._connection.resume_reading()

    @property
    def may_replay(self) -> bool:
        """Whether the whole content is held here and can be sent again."""
        return self.is_complete and not self.was_streamed and self.error is None

    def whole(self) -> bytes:
        """The content, when `may_replay`."""
        return self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)

    def _notify(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)
