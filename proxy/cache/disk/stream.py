"""What is read of a file for one reader, a block ahead of it: at most two blocks are in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from proxy.cache.disk.handle import BLOCK_BYTES
from proxy.core.errors import ErrorKind, ProxyError

if TYPE_CHECKING:
    from proxy.cache.disk.store import StoredFile
    from proxy.http.message import Sink


class Cursor:
    """Reads ahead. `arrived` is called when `take` has more to give; `broke`, when the file cannot be read."""

    __slots__ = ("_arrived", "_broke", "_data", "_file", "_is_busy", "_is_closed", "_start")

    def __init__(self, file: StoredFile, arrived: Callable[[], None], broke: Callable[[OSError], None]) -> None:
        """The file must not be gone."""
        file.hold()
        self._file = file
        self._arrived = arrived
        self._broke = broke
        self._start = 0
        self._data = b""  # [start:] of the file
        self._is_busy = False
        self._is_closed = False

    def take(self, at: int, end: int) -> bytes:
        """The next piece from `at`, before `end`, of what may be read; empty when it has to be waited for."""
        start = self._start
        if start <= at < start + len(self._data):
            piece = self._data[at - start : end - start]
            if at + len(piece) == start + len(self._data):
                self._data = b""
            self.ask(at + len(piece), end)
            return piece
        self.ask(at, end)
        return b""

    def ask(self, at: int, end: int) -> None:
        """Have the block read that has `at`, unless one is being read, or there already."""
        if self._is_busy or self._is_closed or at >= end or self._start <= at < self._start + len(self._data):
            return
        self._is_busy = True
        number = at // BLOCK_BYTES
        self._file.read_block(number, lambda result: self._came(number * BLOCK_BYTES, result))

    def close(self) -> None:
        """Nothing more is wanted. Safe to call twice."""
        if not self._is_closed:
            self._is_closed = True
            self._data = b""
            if not self._is_busy:
                self._file.release()

    def _came(self, start: int, result: bytes | OSError) -> None:
        self._is_busy = False
        if self._is_closed:
            self._file.release()
        elif isinstance(result, OSError):
            self._file.damaged(result)
            self._broke(result)
        else:
            self._start, self._data = start, result
            self._arrived()


class FileStream:
    """A Source of `file[start:end]`, as fast as it is taken. Until it is started, or prepared, it holds nothing."""

    __slots__ = ("_at", "_cursor", "_end", "_file", "_is_giving", "_is_paused", "_prepared", "_sink", "length")

    def __init__(self, file: StoredFile, start: int, end: int) -> None:
        self.length: int | None = end - start
        self._file = file
        self._at = start
        self._end = end
        self._cursor: Cursor | None = None
        self._prepared: asyncio.Future[bool] | None = None
        self._sink: Sink | None = None
        self._is_paused = False
        self._is_giving = False

    async def prepare(self) -> bool:
        """Read the first of it. False when it cannot be read: nothing has gone out yet. Cancelled, it holds nothing."""
        if not self._open():
            return False
        assert self._cursor is not None
        self._prepared = asyncio.get_running_loop().create_future()
        self._cursor.ask(self._at, self._end)
        try:
            is_there = await self._prepared
        except BaseException:
            self.cancel()
            raise
        finally:
            self._prepared = None
        if not is_there:
            self.cancel()
        return is_there

    def secure(self) -> None:
        """Hold it from now on: whatever happens to its entry before the start. Must be started or cancelled."""
        self._open()

    def start(self, sink: Sink) -> None:
        self._sink = sink
        if self._open():
            self._give()
        else:
            self._broke(FileNotFoundError("it was removed"))

    def pause(self) -> None:
        self._is_paused = True

    def resume(self) -> None:
        self._is_paused = False
        self._give()

    def cancel(self) -> None:
        self._sink = None
        if self._cursor is not None:
            self._cursor.close()

    def _open(self) -> bool:
        if self._cursor is None:
            if self._file.is_gone:
                return False
            self._cursor = Cursor(self._file, self._arrived, self._broke)
        return True

    def _arrived(self) -> None:
        if self._prepared is None:
            self._give()
        elif not self._prepared.done():
            self._prepared.set_result(True)

    def _broke(self, error: OSError) -> None:
        if self._prepared is not None:
            if not self._prepared.done():
                self._prepared.set_result(False)
            return
        sink = self._sink
        self.cancel()
        if sink is not None:
            sink.abort(ProxyError(ErrorKind.INTERNAL, f"stored content cannot be read: {error.strerror or error}"))

    def _give(self) -> None:
        if self._is_giving or self._cursor is None:
            return  # a sink may resume from within `feed`: the loop below goes on by itself
        self._is_giving = True
        try:
            while self._sink is not None and not self._is_paused:
                if self._at >= self._end:
                    sink = self._sink
                    self.cancel()
                    sink.finish()
                    return
                piece = self._cursor.take(self._at, self._end)
                if not piece:
                    return
                self._at += len(piece)
                self._sink.feed(piece)
        finally:
            self._is_giving = False
