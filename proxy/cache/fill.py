"""Fill: content on its way to a client and into the store at once.

While it is collected, the client's pace does not matter: what it does not take waits in the pieces that are collected
anyway, so a slow client delays nobody who waits for the entry, and one that leaves does not end it. When the content
turns out too large it is only passed on, with the client's own back-pressure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.cache.memory_store import MemoryStore
from proxy.cache.replay import Replay
from proxy.core.errors import ErrorKind, ProxyError
from proxy.http.message import Sink, Source

_PIECE_OVERHEAD_BYTES: Final = 64  # a byte string and its place in a list: a flood of tiny pieces must count


class Fill:
    """A Source for the client, a Sink for the upstream's content.

    One of the callbacks is called once: `on_whole` with all content, or `on_lost`, with the error that broke the
    content, or with None when it is too large to be stored.
    """

    __slots__ = (
        "_collected_bytes",
        "_is_collecting",
        "_is_ended",
        "_is_giving",
        "_is_paused",
        "_is_started",
        "_max_bytes",
        "_on_lost",
        "_on_whole",
        "_pieces",
        "_replay",
        "_reserved_bytes",
        "_sink",
        "_source",
        "_store",
        "_taken",
        "_taken_bytes",
        "length",
    )

    def __init__(
        self,
        source: Source,
        store: MemoryStore,
        max_bytes: int,
        on_whole: Callable[[bytes], None],
        on_lost: Callable[[BaseException | None], None],
    ) -> None:
        self.length = source.length
        self._source = source
        self._store = store
        self._max_bytes = max_bytes
        self._on_whole = on_whole
        self._on_lost = on_lost
        self._sink: Sink | None = None
        self._pieces: list[bytes] = []
        self._taken = 0  # how many of the pieces the client has
        self._taken_bytes = 0
        self._collected_bytes = 0
        self._reserved_bytes = 0
        self._replay: Replay | None = None  # what the client still wants of content that is complete
        self._is_collecting = True
        self._is_started = False
        self._is_paused = False
        self._is_giving = False
        self._is_ended = False

    # -- a Source for the client --

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self._is_started = True
        self._source.start(self)

    def pause(self) -> None:
        self._is_paused = True
        if self._replay is not None:
            self._replay.pause()
        elif not self._is_collecting:
            self._source.pause()

    def resume(self) -> None:
        self._is_paused = False
        if self._replay is not None:
            self._replay.resume()
            return
        self._give()
        if not self._is_collecting and not self._is_paused and not self._is_ended:
            self._source.resume()

    def cancel(self) -> None:
        """The client does not want the rest. What is being collected is collected to its end."""
        self._sink = None
        if self._replay is not None:
            self._replay.cancel()
        if self._is_ended:
            return
        if not self._is_collecting:
            self._pieces.clear()
            self._source.cancel()
        elif not self._is_started:
            self._is_started = True
            self._source.start(self)

    # -- a Sink for the upstream's content --

    def feed(self, data: bytes) -> None:
        if self._is_collecting:
            self._pieces.append(data)
            self._collected_bytes += len(data)
            if self._collected_bytes > self._max_bytes or not self._reserve(len(data) + _PIECE_OVERHEAD_BYTES):
                self._stop_collecting()
                return
        elif self._sink is None:
            return
        elif self._is_paused or self._pieces:
            self._pieces.append(data)
        else:
            self._sink.feed(data)
            return
        self._give()

    def finish(self) -> None:
        self._is_ended = True
        if not self._is_collecting:
            self._end_client()
            return
        self._is_collecting = False
        whole = b"".join(self._pieces)
        self._pieces.clear()
        self._unreserve()
        if self.length is not None and len(whole) != self.length:  # RFC 9111 §3.3: incomplete
            self._lose(ProxyError(ErrorKind.RESPONSE_TRUNCATED, "less content than declared"))
            return
        self._on_whole(whole)
        if self._sink is not None:
            # what it has not taken yet comes from the stored bytes, so that they are in memory once
            self._replay = Replay(whole, self._taken_bytes)
            if self._is_paused and self._taken_bytes < len(whole):
                self._replay.pause()
            self._replay.start(self._sink)

    def abort(self, error: BaseException) -> None:
        self._is_ended = True
        if self._is_collecting:
            self._is_collecting = False
            self._pieces.clear()
            self._unreserve()
            self._lose(error)
        elif self._sink is not None:
            self._sink.abort(error)

    def _lose(self, error: BaseException) -> None:
        self._on_lost(error)
        if self._sink is not None:
            self._sink.abort(error)

    def _stop_collecting(self) -> None:
        """Too large, or no room: from here on only for the client."""
        self._is_collecting = False
        self._unreserve()
        del self._pieces[: self._taken]
        self._taken = 0
        self._on_lost(None)
        if self._sink is None:
            self._pieces.clear()
            self._source.cancel()
            return
        if self._is_paused:
            self._source.pause()
        self._give()

    def _give(self) -> None:
        """Pass on what the client has not had yet, until it wants a pause."""
        if self._is_giving:
            return  # a sink may resume from within `feed`: the loop below goes on by itself
        self._is_giving = True
        try:
            while self._sink is not None and not self._is_paused and self._taken < len(self._pieces):
                piece = self._pieces[self._taken]
                self._taken += 1
                self._taken_bytes += len(piece)
                self._sink.feed(piece)
        finally:
            self._is_giving = False
        if not self._is_collecting:
            del self._pieces[: self._taken]
            self._taken = 0
            if self._is_ended:
                self._end_client()

    def _end_client(self) -> None:
        if self._sink is not None and not self._pieces:
            sink, self._sink = self._sink, None
            sink.finish()

    def _reserve(self, size_bytes: int) -> bool:
        if not self._store.reserve(size_bytes):
            return False
        self._reserved_bytes += size_bytes
        return True

    def _unreserve(self) -> None:
        self._store.unreserve(self._reserved_bytes)
        self._reserved_bytes = 0
