"""Fill: content on its way into the store, and to as many clients as want it.

It belongs to the entry. Each client has a Reader with a pace of its own; a slow one delays nobody, and when all have
left it goes on. What has come is in memory once, whoever still wants it, and counts in the store's budget from the
first byte: content whose length is known has all its room from the start, or is not collected at all. Content that
turns out too large is passed on to those who read it already, at the pace of the slowest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from io import BytesIO
from typing import Final

from proxy.cache.memory_store import MemoryStore
from proxy.cache.reader import Reader
from proxy.core.errors import ErrorKind, ProxyError
from proxy.http.message import Source

TOO_LARGE: Final = b"too-large"
NO_ROOM: Final = b"no-room"
_PIECE_BYTES: Final = 64 * 1024
_FILL_BYTES: Final = 1024  # the fill itself with a reader or two: a flood of empty ones must count


class Fill:
    """A Sink for the upstream's content.

    One of the callbacks is called once: `on_whole` with all content, or `on_lost`, with the error that broke the
    content or with the reason why it is not collected (TOO_LARGE, NO_ROOM). They come before the readers hear of it.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_held_bytes",
        "_is_held_up",
        "_max_bytes",
        "_on_lost",
        "_on_whole",
        "_readers",
        "_reserved_bytes",
        "_source",
        "_store",
        "_window",
        "error",
        "is_complete",
        "length",
        "size_bytes",
    )

    def __init__(
        self,
        source: Source,
        store: MemoryStore,
        max_bytes: int,
        on_whole: Callable[[bytes], None],
        on_lost: Callable[[BaseException | bytes], None],
    ) -> None:
        self.length = source.length
        self.size_bytes = 0  # that have come
        self.is_complete = False
        self.error: BaseException | None = None
        self._source = source
        self._store = store
        self._max_bytes = max_bytes
        self._on_whole = on_whole
        self._on_lost = on_lost
        self._readers: dict[Reader, None] = {}
        self._reserved_bytes = 0
        self._buffer: BytesIO | None = BytesIO()  # its value is taken without a copy: nothing is in memory twice
        self._body: bytes | None = None  # all of it, when it is complete
        # once it is not collected: (offset, bytes) that some reader has not had yet
        self._window: deque[tuple[int, bytes]] | None = None
        self._held_bytes = 0  # in the window
        self._is_held_up = False

    @property
    def is_open(self) -> bool:
        """All of it is here or will be: others may join. Until it breaks, or turns out too large."""
        return self._window is None and self.error is None

    def reader(self, start: int = 0, end: int | None = None) -> Reader:
        """For one more client. Must be started or cancelled."""
        made = Reader(self, start, end)
        self._readers[made] = None
        return made

    def start(self) -> None:
        """Have the content come. May be over when it returns."""
        if not self._reserve(_FILL_BYTES + (self.length or 0)):
            self._stop_collecting(NO_ROOM)
        if not self.is_complete:
            self._source.start(self)

    # -- a Sink for the upstream's content --

    def feed(self, data: bytes) -> None:
        if self._buffer is not None and (reason := self._objection(len(data))) is not None:
            self._stop_collecting(reason)
        if self._buffer is not None:
            self._buffer.write(data)
        elif self._window is None or self.is_complete:
            return  # nobody wants it any more
        else:
            self._window.append((self.size_bytes, data))
            self._held_bytes += len(data)
        before = self.size_bytes
        self.size_bytes += len(data)
        for reader in tuple(self._readers):
            reader.came(before, data)
        self.paced()

    def finish(self) -> None:
        if self.length is not None and self.size_bytes != self.length:  # rule 19, RFC 9111 §3.3: incomplete
            self.abort(ProxyError(ErrorKind.RESPONSE_TRUNCATED, "less content than declared"))
            return
        self.is_complete = True
        if self._buffer is not None:
            self._body = self._buffer.getvalue()
            self._buffer = None
            self._unreserve(self._reserved_bytes)
            self._on_whole(self._body)
        for reader in tuple(self._readers):
            reader.give()

    def abort(self, error: BaseException) -> None:
        self.error = error
        was_collecting = self._buffer is not None
        self._buffer = None
        if self._window is not None:
            self._window.clear()
        self._unreserve(self._reserved_bytes)
        if was_collecting:
            self._on_lost(error)
        readers, self._readers = self._readers, {}
        for reader in readers:
            reader.broke(error)

    # -- for its readers --

    def read(self, at: int, end: int | None) -> bytes:
        """The next piece from `at` on; empty when there is none yet."""
        limit = at + _PIECE_BYTES if end is None else min(at + _PIECE_BYTES, end)
        if self._body is not None:
            return self._body[at:limit]
        if self._buffer is not None:
            if at >= self.size_bytes:
                return b""
            self._buffer.seek(at)
            piece = self._buffer.read(limit - at)
            self._buffer.seek(0, 2)
            return piece
        for start, piece in self._window or ():
            if start <= at < start + len(piece):
                return piece[at - start : limit - start]
        return b""

    def left(self, reader: Reader) -> None:
        """It wants no more. Safe to call twice."""
        if self._readers.pop(reader, reader) is reader or self._window is None:
            return  # it had left before, or the content is collected to its end
        if self._readers:
            self.paced()
        else:
            self._put_down()

    def paced(self) -> None:
        """Some reader has gone on, or will not for now."""
        window = self._window
        if window is None or not self._readers:
            return
        behind = min([reader.at for reader in self._readers])
        while window and window[0][0] + len(window[0][1]) <= behind:
            self._held_bytes -= len(window.popleft()[1])
        self._unreserve(self._reserved_bytes - self._held_bytes)
        if self.is_complete or self.error is not None:
            return
        is_held_up = not all([reader.wants_more for reader in self._readers])
        if is_held_up != self._is_held_up:
            self._is_held_up = is_held_up
            if is_held_up:
                self._source.pause()
            else:
                self._source.resume()

    # -- private --

    def _objection(self, size_bytes: int) -> bytes | None:
        if self.size_bytes + size_bytes > self._max_bytes:
            return TOO_LARGE
        return None if self.length is not None or self._reserve(size_bytes) else NO_ROOM

    def _stop_collecting(self, reason: bytes) -> None:
        """From here on only for those who read it already."""
        assert self._buffer is not None
        so_far, self._buffer = self._buffer.getvalue(), None
        self._window = deque([(0, so_far)] if so_far else ())
        self._held_bytes = len(so_far)
        self._on_lost(reason)
        if self._readers:
            self.paced()
        else:
            self._put_down()

    def _put_down(self) -> None:
        """Nobody wants the rest."""
        if self._window is not None:
            self._window.clear()
        self._unreserve(self._reserved_bytes)
        if not self.is_complete and self.error is None:
            self.is_complete = True
            self._source.cancel()

    def _reserve(self, size_bytes: int) -> bool:
        if not self._store.reserve(size_bytes):
            return False
        self._reserved_bytes += size_bytes
        return True

    def _unreserve(self, size_bytes: int) -> None:
        if size_bytes > 0:
            self._store.unreserve(size_bytes)
            self._reserved_bytes -= size_bytes
