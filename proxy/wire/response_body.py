"""The content of a response that was not whole when its head was read: a Source (http/message.py).

It owns the pieces that wait here, so that the connection can serve another exchange the moment the last byte is in.
Up to HIGH_WATER_BYTES wait in memory while the client takes nothing, and then the connection is not read. Once a
client has turned out to be slow the rest goes to a spool instead: the endpoint delivers at its own pace and is free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxy.core.errors import ErrorKind, ProxyError
from proxy.wire.limits import HIGH_WATER_BYTES

if TYPE_CHECKING:
    from proxy.http.message import Sink
    from proxy.wire.spool import Spool


class Paced(Protocol):
    """The connection that it comes from, as far as it is concerned."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def hold(self) -> None: ...

    def close(self) -> None: ...


class ResponseBody:
    """Filled by its connection, drained into one sink."""

    __slots__ = (
        "_chunks",
        "_connection",
        "_error",
        "_held_bytes",
        "_is_complete",
        "_is_giving",
        "_is_paused",
        "_sink",
        "_spool",
        "length",
        "received_bytes",
    )

    def __init__(self, connection: Paced, length: int | None, chunks: list[bytes]) -> None:
        self._connection: Paced | None = connection
        self._chunks = chunks  # what waits for the sink, behind what is in the spool
        self._held_bytes = self.received_bytes = sum(map(len, chunks))
        self._sink: Sink | None = None
        self._spool: Spool | None = None
        self._is_complete = False
        self._is_paused = False
        self._is_giving = False
        self._error: BaseException | None = None
        self.length = length

    # -- the connection pushes --

    def feed(self, data: bytes) -> None:
        self.received_bytes += len(data)
        spool = self._spool
        if spool is not None and (self._is_paused or spool.held_bytes or self._chunks):
            self._put(spool, data)
        elif self._sink is not None:
            self._sink.feed(data)
        else:
            self._chunks.append(data)
            self._held_bytes += len(data)
            if self._held_bytes >= HIGH_WATER_BYTES and self._connection is not None:
                self._connection.pause_reading()

    def complete(self) -> None:
        self._is_complete = True
        self._connection = None
        if self._sink is not None and not self._has_more:
            self._end()

    def fail(self, error: BaseException) -> None:
        self._connection = None
        self._error = error
        self._drop()
        if self._sink is not None:
            self._sink.abort(error)

    def spool(self, spool: Spool) -> None:
        """The client is slow: go on reading, into `spool`, which is this content's from now on."""
        self._spool = spool
        if self._connection is not None:
            self._connection.resume_reading()

    @property
    def may_spool(self) -> bool:
        """The client holds up the connection, and nothing was done about it yet."""
        return self._is_paused and self._spool is None and self._sink is not None

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
        self._is_paused = True
        if self._connection is not None and self._spool is None:
            self._connection.hold()

    def resume(self) -> None:
        self._is_paused = False
        if self._has_more and not self._give():
            return
        if self._connection is not None:
            self._connection.resume_reading()

    def cancel(self) -> None:
        """Nobody wants the rest: the connection is closed, for what it still sends belongs to nobody."""
        connection, self._connection = self._connection, None
        self._sink = None
        self._drop()
        if connection is not None:
            connection.close()

    # -- private --

    @property
    def _has_more(self) -> bool:
        """Something is held that the sink has to get before anything that comes."""
        return self._spool is not None and bool(self._spool.held_bytes or self._chunks)

    def _put(self, spool: Spool, data: bytes) -> None:
        if self._chunks or not spool.write(data):
            self._chunks.append(data)  # the disk is full: from here on as without a spool
        if self._connection is not None and (self._chunks or not spool.has_room):
            self._connection.pause_reading()

    def _give(self) -> bool:
        """Pass on what is held, until the sink wants a pause. True when all of it is gone and more may come."""
        spool = self._spool
        if spool is None or self._is_giving:  # a sink may resume from within `feed`: the loop below goes on by itself
            return False
        self._is_giving = True
        try:
            while not self._is_paused and self._sink is not None and self._has_more:
                self._sink.feed(spool.read() if spool.held_bytes else self._chunks.pop(0))
        except OSError as error:
            self.cancel_for(ProxyError(ErrorKind.INTERNAL, f"the spool cannot be read: {error.strerror}"))
            return False
        finally:
            self._is_giving = False
        if self._has_more:
            if self._connection is not None and not self._chunks and spool.has_room:
                self._connection.resume_reading()
            return False
        if self._is_complete and self._sink is not None:
            self._end()
        return True

    def cancel_for(self, error: ProxyError) -> None:
        """Our own side failed: the client's content ends broken, and the connection is closed."""
        sink = self._sink
        self.cancel()
        self._error = error
        if sink is not None:
            sink.abort(error)

    def _end(self) -> None:
        self._drop()
        if self._sink is not None:
            self._sink.finish()

    def _drop(self) -> None:
        self._chunks = []
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.close()
