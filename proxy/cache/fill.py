"""Fill: content on its way into the store, and to as many clients as want it.

It belongs to the entry. Each client has a Reader with a pace of its own; a slow one delays nobody, and when all have
left it goes on. What has come is in memory once, whoever still wants it, and counts in the store's budget from the
first byte: content whose length is known has all its room from the start, or is not collected at all. What is too
large for memory goes to a file, where there is a disk tier: at once if its length is known, else when that turns out;
then only what is not written yet is in memory, and the disk sets the pace. What is too large for that too is passed on
to those who read it already, at the pace of the slowest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from errno import EDQUOT
from io import BytesIO
from typing import TYPE_CHECKING, Final

from proxy.cache.content import Content
from proxy.cache.memory_store import MemoryStore
from proxy.cache.reader import Reader
from proxy.core.errors import ErrorKind, ProxyError
from proxy.http.message import Sink, Source

if TYPE_CHECKING:
    from proxy.cache.disk.store import DiskStore, StoredFile
    from proxy.cache.disk.writing import Writing

TOO_LARGE: Final = b"too-large"
NO_ROOM: Final = b"no-room"
DISK_FAILED: Final = b"disk"
_MAX_UNWRITTEN_BYTES: Final = 1024 * 1024  # what a disk, or who reads from it, may be behind before the origin waits
_PIECE_BYTES: Final = 64 * 1024
_FILL_BYTES: Final = 1024  # the fill itself with a reader or two: a flood of empty ones must count


class _Over:
    """The source, once nothing more comes of it.

    It holds its sink, and so the two would keep each other, and all content with them, until the garbage is looked
    through: a flood of large responses took several times its budget.
    """

    length: int | None = None

    def start(self, sink: Sink) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def cancel(self) -> None: ...


_OVER: Final = _Over()


class Fill:
    """A Sink for the upstream's content.

    One of the callbacks is called once: `on_whole` with all content, or `on_lost`, with the error that broke the
    content or with the reason why it is not collected (TOO_LARGE, NO_ROOM, DISK_FAILED). They come before the readers
    hear of it; `on_whole` may come after them where content goes to a file.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_disk",
        "_file",
        "_held_bytes",
        "_is_held_up",
        "_max_bytes",
        "_max_file_bytes",
        "_on_lost",
        "_on_whole",
        "_readers",
        "_reserved_bytes",
        "_source",
        "_store",
        "_window",
        "_writing",
        "error",
        "is_complete",
        "is_open",
        "length",
        "size_bytes",
    )

    def __init__(
        self,
        source: Source,
        store: MemoryStore,
        max_bytes: int,
        on_whole: Callable[[Content], None],
        on_lost: Callable[[BaseException | bytes], None],
        disk: DiskStore | None = None,
        max_file_bytes: int = 0,
    ) -> None:
        self.length = source.length
        self.size_bytes = 0  # that have come
        self.is_complete = False
        self.is_open = True  # all of it is here or will be: others may join. Until it breaks, or turns out too large
        self.error: BaseException | None = None
        self._source = source
        self._store = store
        self._max_bytes = max_bytes
        self._on_whole = on_whole
        self._on_lost = on_lost
        self._disk = disk
        self._max_file_bytes = max_file_bytes  # in a file; in memory `max_bytes`
        self._readers: dict[Reader, None] = {}
        self._reserved_bytes = 0
        self._buffer: BytesIO | None = BytesIO()  # its value is taken without a copy: nothing is in memory twice
        self._body: bytes | None = None  # all of it, when it is complete
        self._writing: Writing | None = None  # while it is collected in a file
        self._file: StoredFile | None = None  # what it has of content, held while somebody may read it
        # once it is not in memory: (offset, bytes) that is not in the file, or some reader has not had yet
        self._window: deque[tuple[int, bytes]] | None = None
        self._held_bytes = 0  # in the window
        self._is_held_up = False

    def reader(self, start: int = 0, end: int | None = None) -> Reader:
        """For one more client. Must be started or cancelled."""
        made = Reader(self, start, end)
        self._readers[made] = None
        return made

    def start(self) -> None:
        """Have the content come. May be over when it returns."""
        length = self.length or 0
        is_large = length > self._max_bytes and self._disk is not None
        if not self._reserve(_FILL_BYTES + (0 if is_large else length)):
            self._stop_collecting(NO_ROOM)
        elif is_large and (reason := self._move_to_disk()) is not None:
            self._stop_collecting(reason)
        if not self.is_complete:
            self._source.start(self)

    # -- a Sink for the upstream's content --

    def feed(self, data: bytes) -> None:
        if self._buffer is not None or self._writing is not None:
            if (reason := self._objection(len(data))) is not None:
                self._stop_collecting(reason)
        if self._buffer is not None:
            self._buffer.write(data)
        elif self._window is None or self.is_complete:
            return  # nobody wants it any more
        else:
            self._window.append((self.size_bytes, data))
            self._held_bytes += len(data)
            if self._writing is not None:
                self._writing.offer(data)
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
        self._source = _OVER
        if self._buffer is not None:
            self._body = self._buffer.getvalue()
            self._buffer = None
            self._unreserve(self._reserved_bytes)
            self._on_whole(self._body)
        elif self._writing is not None:
            self._writing.finish()
        for reader in tuple(self._readers):
            reader.give()

    def abort(self, error: BaseException) -> None:
        self.error = error
        self.is_open = False
        self._source = _OVER
        was_collecting = self._buffer is not None or self._writing is not None
        self._buffer = None
        self._end_writing()
        if self._window is not None:
            self._window.clear()
        self._unreserve(self._reserved_bytes)
        if was_collecting:
            self._on_lost(error)
        readers, self._readers = self._readers, {}
        for reader in readers:
            reader.broke(error)
        self._let_go()

    # -- for its readers --

    def read(self, reader: Reader, at: int, end: int | None) -> bytes:
        """The next piece from `at` on; empty when there is none yet: then the reader is told when there is."""
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
        if self._file is not None and at < (in_file := self._in_file()):
            return reader.from_file(self._file).take(at, in_file if end is None else min(in_file, end))
        for start, piece in self._window or ():
            if start <= at < start + len(piece):
                return piece[at - start : limit - start]
        return b""

    def left(self, reader: Reader) -> None:
        """It wants no more. Safe to call twice."""
        if self._readers.pop(reader, reader) is reader:
            return  # it had left before
        if self.is_open:
            self._let_go()
        elif self._readers:
            self.paced()
        else:
            self._put_down()

    def paced(self) -> None:
        """Some reader has gone on, or will not for now; or the file has."""
        window = self._window
        if window is None:
            return
        if self._writing is not None:
            behind, spare_bytes = self._writing.readable, 0
        elif self._readers:
            behind, spare_bytes = min([reader.at for reader in self._readers]), self._reserved_bytes - self._held_bytes
        else:
            return
        while window and window[0][0] + len(window[0][1]) <= behind:
            size_bytes = len(window.popleft()[1])
            self._held_bytes -= size_bytes
            spare_bytes += size_bytes
        self._unreserve(spare_bytes)
        if self.is_complete or self.error is not None:
            return
        is_held_up = self._held_bytes > _MAX_UNWRITTEN_BYTES and self._file is not None
        if self._writing is None and not is_held_up:
            is_held_up = not all([reader.wants_more for reader in self._readers])
        if is_held_up != self._is_held_up:
            self._is_held_up = is_held_up
            if is_held_up:
                self._source.pause()
            else:
                self._source.resume()

    # -- private --

    def _objection(self, size_bytes: int) -> bytes | None:
        """Why no more of it is collected, if `size_bytes` more come. May have it go to a file instead."""
        if self._buffer is not None:
            if self.size_bytes + size_bytes <= self._max_bytes:
                return None if self.length is not None or self._reserve(size_bytes) else NO_ROOM
            if (reason := self._move_to_disk()) is not None:
                return reason
        if self.size_bytes + size_bytes > self._max_file_bytes:
            return TOO_LARGE
        return None if self._reserve(size_bytes) else NO_ROOM

    def _move_to_disk(self) -> bytes | None:
        """From here on it is collected in a file; or why not."""
        if self._disk is None or (self.length or self.size_bytes) > self._max_file_bytes:
            return TOO_LARGE
        writing = self._disk.begin(self.length, self._moved, self._failed)
        if writing is None:
            return NO_ROOM if self._disk.is_ready else DISK_FAILED
        assert self._buffer is not None
        so_far, self._buffer = self._buffer.getvalue(), None
        self._window = deque([(0, so_far)] if so_far else ())
        self._held_bytes = len(so_far)
        self._writing, self._file = writing, writing.file
        if so_far:
            writing.offer(so_far)
        return None

    def _moved(self) -> None:
        """More of it is in the file, or all."""
        self.paced()
        writing = self._writing
        if writing is not None and writing.is_over:
            self._writing = None
            self._unreserve(self._reserved_bytes)
            self._on_whole(writing.file)
            self._let_go()

    def _failed(self, error: OSError) -> None:
        if self._writing is not None:
            self._stop_collecting(NO_ROOM if error.errno == EDQUOT else DISK_FAILED)

    def _in_file(self) -> int:
        """How much of it can be read from the file."""
        if self._writing is not None:
            return self._writing.readable
        window = self._window
        return window[0][0] if window else self.size_bytes

    def _end_writing(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.abandon()

    def _let_go(self) -> None:
        """Of the file, once nobody reads it here."""
        if self._file is not None and self._writing is None and not self._readers:
            file, self._file = self._file, None
            self.is_open = False
            file.release()

    def _stop_collecting(self, reason: bytes) -> None:
        """From here on only for those who read it already."""
        self.is_open = False
        if self._buffer is not None:
            so_far, self._buffer = self._buffer.getvalue(), None
            self._window = deque([(0, so_far)] if so_far else ())
            self._held_bytes = len(so_far)
        self._end_writing()
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
        self._let_go()
        if not self.is_complete and self.error is None:
            self.is_complete = True
            source, self._source = self._source, _OVER
            source.cancel()

    def _reserve(self, size_bytes: int) -> bool:
        if not self._store.reserve(size_bytes):
            return False
        self._reserved_bytes += size_bytes
        return True

    def _unreserve(self, size_bytes: int) -> None:
        if size_bytes > 0:
            self._store.unreserve(size_bytes)
            self._reserved_bytes -= size_bytes
