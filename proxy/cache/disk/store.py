"""DiskStore: content that is too large for memory, in files, within a hard budget of bytes.

What counts is every file, from the byte at which it is begun to the moment when it is removed: those that are being
written, and those that were ended and are still being read. What has to go is chosen in the order in which it came;
what was used since it was last looked at is passed over once, and what is being read is not touched. The index is in
memory and counts there: an entry goes with its file, and a file with its entry.

A disk that fails fails no request. It is said once, nothing new is written, and from time to time it is tried again.
"""

from __future__ import annotations

import asyncio
import os
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

from proxy.cache.disk.folder import Folder
from proxy.cache.disk.handle import BLOCK_BYTES, Handle
from proxy.cache.disk.stream import FileStream
from proxy.cache.disk.threads import PATIENCE_S, DiskThreads
from proxy.cache.disk.writing import Writing

if TYPE_CHECKING:
    from proxy.cache.entry import Entry
    from proxy.cache.settings import DiskSettings

_CLUSTER_BYTES: Final = 4096  # what file systems give out at least
_FILE_BYTES: Final = 1200  # of memory: the file and its places in tables: an estimate, for memory has its own bound
_CHECKSUM_BYTES: Final = 4
_FIRST_RETRY_S: Final = 5.0
_LAST_RETRY_S: Final = 300.0
LOST, BACK, DAMAGED = "lost", "back", "damaged"


class StoredFile:
    """Content in a file (`content.Kept`)."""

    __slots__ = ("_disk", "_holds", "checksums", "entry", "handle", "length", "name", "room_bytes", "seen_uses")

    def __init__(self, disk: DiskStore, name: str, room_bytes: int) -> None:
        self._disk = disk
        self._holds = 1  # of whoever made it
        self.name = name
        self.handle = Handle(os.path.join(disk.path, name))
        self.length: int | None = None  # once it is whole
        self.room_bytes = room_bytes  # that it has of the budget
        self.checksums = array("I")  # of its blocks
        self.entry: Entry | None = None
        self.seen_uses = 0  # of its entry, when eviction last looked

    def __repr__(self) -> str:
        return f"<StoredFile {self.name}, {self.length} bytes, {self._holds} holds>"

    def __len__(self) -> int:
        return self.length or 0

    @property
    def memory_bytes(self) -> int:
        return _FILE_BYTES + _CHECKSUM_BYTES * len(self.checksums)

    @property
    def is_gone(self) -> bool:
        return self._holds == 0

    @property
    def is_evictable(self) -> bool:
        """It is stored, and nobody reads it."""
        return self.entry is not None and self._holds == 1

    def hold(self) -> bool:
        if self._holds == 0:
            return False
        self._holds += 1
        return True

    def release(self) -> None:
        self._holds -= 1
        if self._holds == 0:
            self._disk.remove(self)
        elif self._holds == 1 and self.entry is not None:
            self._disk.threads.run(self.handle.rest, _ignore)

    def stream(self, start: int, end: int) -> FileStream:
        return FileStream(self, start, end)

    def read_block(self, number: int, done: Callable[[bytes | OSError], None]) -> None:
        """One that is written, whole or the last one. The caller holds the file until `done`."""
        at = number * BLOCK_BYTES
        length, handle, checksum = self.length, self.handle, self.checksums[number]
        size = BLOCK_BYTES if length is None else min(BLOCK_BYTES, length - at)
        self._disk.threads.run(lambda: handle.read(at, size, checksum, length), done)

    def damaged(self, error: OSError) -> None:
        """It cannot be read: nobody shall be sent to it any more."""
        if self.entry is not None:
            self._disk.damaged(error)
            self._disk.evict(self.entry)


class DiskStore:
    """Owned by the cache. Nothing here waits: what may block is done in threads.

    `evict` has an entry forgotten; `tell` hears of what the operator should know, as one of LOST, BACK and DAMAGED with
    the reason.
    """

    def __init__(self, settings: DiskSettings, evict: Callable[[Entry], None], patience_s: float = PATIENCE_S) -> None:
        self.path = settings.path
        self.size_bytes = settings.size
        self.max_entry_bytes = settings.largest_bytes
        self.evict = evict
        self.tell: Callable[[str, str | None], object] = _ignore
        self.threads = DiskThreads(settings.threads, self._stalled, patience_s)
        self.used_bytes = 0  # of the budget: files that are written, stored, or still read
        self.leaving_bytes = 0  # of files that are no more, and whose room the file system may not have yet
        self.errors = 0
        self.evicted = 0
        self.error: str | None = "it has not started"  # why nothing is written now
        self._folder = Folder(settings.path)
        self._files: OrderedDict[StoredFile, None] = OrderedDict()  # all that have room, in the order of eviction
        self._unremoved: dict[str, int] = {}  # name -> bytes: the system would not remove them
        self._waiting: deque[Callable[[], None]] = deque()  # for room that the file system does not have yet
        self._retry_s = _FIRST_RETRY_S
        self._retry: asyncio.TimerHandle | None = None
        self._is_suspect = False  # it failed, and nothing has been stored since: that it failed was said

    def __len__(self) -> int:
        return len(self._files)

    @property
    def is_ready(self) -> bool:
        return self.error is None

    @property
    def is_over(self) -> bool:
        """The budget is kept only once files that are no more have left the file system."""
        return self.leaving_bytes > 0 and self.used_bytes + self.leaving_bytes > self.size_bytes

    @property
    def unstored_bytes(self) -> int:
        """Of `used_bytes`: content that is being written, or that no entry has any more."""
        return sum([file.room_bytes for file in self._files if file.entry is None])

    def status(self) -> dict[str, Any]:
        """For /healthz."""
        return {
            "path": self.path,
            "used_bytes": self.used_bytes,
            "budget_bytes": self.size_bytes,
            "files": len(self._files),
            "errors": self.errors,
            "error": self.error,
        }

    async def start(self) -> None:
        """Take the directory, or say why not: then it is tried again later. Waits for that, some seconds at most."""
        self.threads.start()
        tried: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._try(lambda: None if tried.done() else tried.set_result(None))
        await tried

    def stop(self) -> None:
        """Files that are there stay; they are removed at the next start."""
        self.error = "it has stopped"
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self.threads.stop()
        self._folder.leave()

    def resize(self, size_bytes: int, max_entry_bytes: int) -> None:
        """Take over another budget; what is too much goes at once, unless it is being read."""
        self.size_bytes, self.max_entry_bytes = size_bytes, max_entry_bytes
        self._evict_for(0)

    def begin(self, length: int | None, moved: Callable[[], None], failed: Callable[[OSError], None]) -> Writing | None:
        """A new file, held by the caller; None when there is no room for `length` bytes, or no disk."""
        room_bytes = _rounded(length or 0)
        if self.error is not None or not self._evict_for(room_bytes):
            return None
        file = StoredFile(self, f"{token_hex(8)}.body", room_bytes)
        self._files[file] = None
        self.used_bytes += room_bytes
        return Writing(self, file, moved, failed)

    def grow(self, file: StoredFile, length: int) -> bool:
        """Have room for `length` bytes of `file` in all; False when there is none."""
        more = _rounded(length) - file.room_bytes
        if more > 0:
            if not self._evict_for(more):
                return False
            file.room_bytes += more
            self.used_bytes += more
        return True

    def when_there_is_room(self, go_on: Callable[[], None]) -> None:
        self._waiting.append(go_on)

    def remove(self, file: StoredFile) -> None:
        """Nobody holds it any more. Its room is somebody else's now, and used once it has left the file system."""
        del self._files[file]
        self.used_bytes -= file.room_bytes
        self.leaving_bytes += file.room_bytes
        self.threads.run(file.handle.remove, lambda error: self._removed(file, error))

    def worked(self) -> None:
        """Something was written to its end."""
        self._retry_s = _FIRST_RETRY_S
        if self._is_suspect:
            self._is_suspect = False
            self.tell(BACK, None)

    def damaged(self, error: OSError) -> None:
        self.errors += 1
        self.tell(DAMAGED, _text(error))

    def failed(self, error: OSError) -> None:
        """It cannot be written: from now on nothing is, until it was tried again."""
        self.errors += 1
        if self.error is not None:
            return
        self.error = _text(error)
        if not self._is_suspect:
            self._is_suspect = True
            self.tell(LOST, self.error)
        waiting, self._waiting = self._waiting, deque()
        for go_on in waiting:
            go_on()  # and fail
        self._try_later()

    def _stalled(self, error: OSError) -> None:
        """It hangs: whoever wants something of it would wait in vain."""
        self.failed(error)
        for file in list(self._files):
            if file.entry is not None:
                self.evict(file.entry)

    def _try_later(self) -> None:
        self._retry = asyncio.get_running_loop().call_later(self._retry_s, self._try)
        self._retry_s = min(self._retry_s * 2, _LAST_RETRY_S)

    def _try(self, then: Callable[[], object] = lambda: None) -> None:
        self._retry = None
        kept = {file.name for file in self._files}
        unremoved = list(self._unremoved)  # they are not kept

        def tried(error: OSError | None) -> None:
            if error is None:
                self.error = None
                self.leaving_bytes -= sum([self._unremoved.pop(name) for name in unremoved])
            else:
                first = self.error is None or not self._is_suspect
                self.error = _text(error)
                self.errors += 1
                if first:
                    self._is_suspect = True
                    self.tell(LOST, self.error)
                self._try_later()
            then()

        self.threads.run(lambda: self._folder.take(kept), tried)

    def _evict_for(self, size_bytes: int) -> bool:
        """Make room. False, and nothing went, when what could go is not enough."""
        missing = self.used_bytes + size_bytes - self.size_bytes
        if missing <= 0:
            return True
        if missing > sum([file.room_bytes for file in self._files if file.is_evictable]):
            return False
        while self.used_bytes + size_bytes > self.size_bytes:
            file = next(iter(self._files))
            entry = file.entry
            if entry is None or not file.is_evictable:
                self._files.move_to_end(file)
            elif entry.uses > file.seen_uses:
                file.seen_uses = entry.uses
                self._files.move_to_end(file)
            else:
                self.evicted += 1
                self.evict(entry)
        return True

    def _removed(self, file: StoredFile, error: OSError | None) -> None:
        if error is not None:
            self._unremoved[file.name] = file.room_bytes
            self.failed(error)
            return
        self.leaving_bytes -= file.room_bytes
        while self._waiting and not self.is_over:
            self._waiting.popleft()()


def _rounded(size_bytes: int) -> int:
    return -(-size_bytes // _CLUSTER_BYTES) * _CLUSTER_BYTES


def _text(error: OSError) -> str:
    return error.strerror or str(error)


def _ignore(*_: object) -> None:
    pass
