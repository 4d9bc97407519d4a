"""What slow clients have not taken yet of a response: first in memory, then in files without names.

The endpoint delivers at its own pace and is free for others. Without it a client that reads a large response slowly
would hold a connection, and on the other side of that a worker of the backend, for as long as it likes. Files are
written and read through the page cache, and vanish with the process.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.wire.limits import WireLimits

READ_BYTES: Final = 64 * 1024  # given to the client at a time from a file
MEMORY_SHARE: Final = 16  # of the memory, the most for one response: the first who comes does not get all of it
MARGIN_BYTES: Final = 512 * 1024  # a read that is under way may still bring as much as this (uvloop: 256 KiB)


class SpoolRoom:
    """How much may be held: for one response, for all together, and of that in memory. One per worker; a reload
    changes the numbers. No file is opened before the memory is full."""

    __slots__ = ("each_bytes", "files", "in_memory_bytes", "memory_bytes", "total_bytes", "used_bytes")

    def __init__(self, each_bytes: int, total_bytes: int, memory_bytes: int) -> None:
        self.each_bytes = each_bytes
        self.total_bytes = total_bytes
        self.memory_bytes = memory_bytes
        self.used_bytes = 0  # in memory and in files
        self.in_memory_bytes = 0
        self.files = 0

    def apply(self, limits: WireLimits) -> None:
        self.each_bytes = limits.spool_each_bytes
        self.total_bytes = limits.spool_total_bytes
        self.memory_bytes = limits.spool_memory_bytes

    def open(self) -> Spool | None:
        """An empty spool, or None when there is no room."""
        return None if self.used_bytes + MARGIN_BYTES > self.total_bytes else Spool(self)


class Spool:
    """First in, first out. Whoever opened it closes it. Blocks as the page cache does: not long."""

    __slots__ = ("_fd", "_head", "_pieces", "_room", "_tail", "held_bytes")

    def __init__(self, room: SpoolRoom) -> None:
        self._room = room
        self._pieces: deque[bytes] = deque()  # come before what is in the file
        self._fd = -1  # opened when it is needed
        self._head = 0  # of the file: what is before it was read
        self._tail = 0
        self.held_bytes = 0

    @property
    def has_room(self) -> bool:
        """Another read from the endpoint will fit. Asked before it is made, for what was read must go somewhere."""
        room = self._room
        return self.held_bytes + MARGIN_BYTES <= room.each_bytes and room.used_bytes + MARGIN_BYTES <= room.total_bytes

    def write(self, data: bytes) -> bool:
        """False when the system does not take all of it (a full disk): then none of it is held."""
        if not data:
            return True  # an empty piece would read as "nothing is held"
        room = self._room
        size = len(data)
        if (
            self._head == self._tail
            and room.in_memory_bytes + size <= room.memory_bytes
            and self.held_bytes + size <= room.memory_bytes // MEMORY_SHARE
        ):
            self._pieces.append(data)
            room.in_memory_bytes += size
        elif not self._write_file(data):
            return False
        self.held_bytes += size
        room.used_bytes += size
        return True

    def read(self) -> bytes:
        """The next piece; empty when nothing is held. Raises OSError when the disk fails."""
        room = self._room
        if self._pieces:
            data = self._pieces.popleft()
            room.in_memory_bytes -= len(data)
        else:
            data = os.pread(self._fd, min(READ_BYTES, self._tail - self._head), self._head) if self.held_bytes else b""
            self._head += len(data)
            if self._head == self._tail and self._tail:
                self._head = self._tail = 0
                os.ftruncate(self._fd, 0)
        self.held_bytes -= len(data)
        room.used_bytes -= len(data)
        return data

    def close(self) -> None:
        """Give everything back. Safe to call twice."""
        room = self._room
        room.used_bytes -= self.held_bytes
        room.in_memory_bytes -= sum(map(len, self._pieces))
        self._pieces.clear()
        self.held_bytes = self._head = self._tail = 0
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
            room.files -= 1

    def _write_file(self, data: bytes) -> bool:
        at = self._tail
        rest = memoryview(data)
        try:
            if self._fd < 0:
                self._fd = open_nameless()
                self._room.files += 1
            while rest:
                count = os.pwrite(self._fd, rest, at)
                at += count
                rest = rest[count:]
        except OSError:
            return False
        self._tail = at
        return True


def spool_room(limits: WireLimits) -> SpoolRoom:
    return SpoolRoom(limits.spool_each_bytes, limits.spool_total_bytes, limits.spool_memory_bytes)


def open_nameless() -> int:
    """A file that has no name, or loses it at once, readable by nobody else. It lies where TMPDIR says."""
    folder = tempfile.gettempdir()
    if hasattr(os, "O_TMPFILE"):
        try:
            return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            pass  # not every file system has it
    fd, path = tempfile.mkstemp(prefix="weir-", dir=folder)
    os.unlink(path)
    return fd
