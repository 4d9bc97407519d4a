"""Handle: a file of the disk tier as threads use it. It is open while somebody reads or writes, and closed by the last.

A file is only read if it is the one that was written: same inode, same length, and every block with the checksum that
it was written with. Else OSError, and nothing of it is given out.
"""

from __future__ import annotations

import errno
import os
from threading import Lock
from typing import Final
from zlib import crc32

from proxy.cache.disk.folder import write_all

BLOCK_BYTES: Final = 128 * 1024  # what is read, and checked, at once


class Handle:
    """Every method but the constructor blocks, and may be called from any thread."""

    __slots__ = ("_fd", "_identity", "_is_idle", "_is_removed", "_lock", "_path", "_users")

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = Lock()  # for what is below; never held while bytes are read or written
        self._fd = -1
        self._users = 0
        self._identity: tuple[int, int] | None = None  # device and inode, once it was made
        self._is_idle = False  # to be closed by its last user
        self._is_removed = False

    def write(self, data: memoryview, at: int) -> None:
        """Raises OSError, also when the file cannot be made or is there already."""
        fd = self._enter()
        try:
            write_all(fd, data, at)
        finally:
            self._leave()

    def read(self, at: int, size: int, checksum: int, length: int | None) -> bytes:
        """`size` bytes, checked; `length` is what the whole file has, once it is whole."""
        fd = self._enter()
        try:
            if length is not None and os.fstat(fd).st_size != length:
                raise OSError(errno.EIO, "it has another length than was written")
            data = os.pread(fd, size, at)
            while 0 < len(data) < size and (more := os.pread(fd, size - len(data), at + len(data))):
                data += more
        finally:
            self._leave()
        if len(data) != size or crc32(data) != checksum:
            raise OSError(errno.EIO, "it has other content than was written")
        return data

    def rest(self) -> None:
        """Nobody uses it for now."""
        with self._lock:
            self._is_idle = True
            self._close_unless_used()

    def remove(self) -> None:
        """Raises OSError when it is there and cannot be removed. Who is reading reads on."""
        with self._lock:
            self._is_removed = True
            self._close_unless_used()
            was_made = self._identity is not None
        if was_made:
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass

    def _enter(self) -> int:
        with self._lock:
            if self._is_removed:
                raise FileNotFoundError(errno.ENOENT, "it was removed")
            if self._fd < 0:
                self._open()
            self._is_idle = False
            self._users += 1
            return self._fd

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._is_idle or self._is_removed:
                self._close_unless_used()

    def _open(self) -> None:
        if self._identity is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        else:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW)
        found = os.fstat(self._fd)
        identity = found.st_dev, found.st_ino
        if self._identity is None:
            self._identity = identity
        elif self._identity != identity:
            self._close_unless_used()
            raise OSError(errno.EIO, "it is another file than was written")

    def _close_unless_used(self) -> None:
        if self._users == 0 and self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
