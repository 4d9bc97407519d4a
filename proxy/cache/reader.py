"""Reader: what one client gets of content that is still coming in, as fast as this client takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.cache.disk.stream import Cursor
from proxy.core.errors import ErrorKind, ProxyError

if TYPE_CHECKING:
    from proxy.cache.disk.store import StoredFile
    from proxy.cache.fill import Fill
    from proxy.http.message import Sink


class Reader:
    """A Source for one client of a Fill: `[start:end]` of it, or all that comes. Readers do not know of each other."""

    __slots__ = ("_at", "_cursor", "_end", "_fill", "_is_giving", "_is_paused", "_sink", "length")

    def __init__(self, fill: Fill, start: int, end: int | None) -> None:
        self._fill = fill
        self._at = start
        self._end = end
        self._cursor: Cursor | None = None  # into the file that the content goes to, once it is behind
        self._sink: Sink | None = None
        self._is_paused = False
        self._is_giving = False
        self.length: int | None = fill.length if end is None else end - start

    @property
    def at(self) -> int:
        """How much of the content it has passed on, or left out."""
        return self._at

    @property
    def wants_more(self) -> bool:
        return self._sink is not None and not self._is_paused

    # -- a Source for the client --

    def start(self, sink: Sink) -> None:
        self._sink = sink
        if self._fill.error is not None:
            self.broke(self._fill.error)
        else:
            self.give()

    def pause(self) -> None:
        self._is_paused = True
        self._fill.paced()

    def resume(self) -> None:
        self._is_paused = False
        self.give()

    def cancel(self) -> None:
        self._leave()

    # -- the Fill tells --

    def came(self, before: int, data: bytes) -> None:
        """`data` follows the first `before` bytes. Passed on as it is by who has all of those."""
        if not self.wants_more or self._is_giving:
            return  # `give` comes to it
        if self._at != before:
            self.give()
            return
        end = self._end
        if end is not None and before + len(data) > end:
            data = data[: end - before]
        self._at += len(data)
        sink = self._sink
        if data and sink is not None:
            sink.feed(data)
        if self._at == end:
            self._finish()

    def give(self) -> None:
        """Pass on what is there, until the client wants a pause."""
        if self._is_giving:
            return  # a sink may resume from within `feed`: the loop below goes on by itself
        self._is_giving = True
        fill = self._fill
        try:
            while self._sink is not None and not self._is_paused:
                piece = fill.read(self, self._at, self._end)
                if not piece:
                    break
                self._at += len(piece)
                self._sink.feed(piece)
        finally:
            self._is_giving = False
        if self._at == self._end or (fill.is_complete and self._at == fill.size_bytes):
            self._finish()
        else:
            fill.paced()

    def broke(self, error: BaseException) -> None:
        """The rest will never come."""
        sink = self._sink
        self._leave()
        if sink is not None:
            sink.abort(error)

    def from_file(self, file: StoredFile) -> Cursor:
        """What it reads `file` with."""
        if self._cursor is None:
            self._cursor = Cursor(file, self.give, self._cannot_read)
        return self._cursor

    def _cannot_read(self, error: OSError) -> None:
        self.broke(ProxyError(ErrorKind.INTERNAL, f"stored content cannot be read: {error.strerror or error}"))

    def _finish(self) -> None:
        sink = self._sink
        self._leave()
        if sink is not None:
            sink.finish()

    def _leave(self) -> None:
        self._sink = None
        if self._cursor is not None:
            self._cursor.close()
        self._fill.left(self)
